"""The PostgreSQL port with clients that people use: psql, psycopg, SQLAlchemy; limits, cancel, the token."""

import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import anyio
import psutil
import psycopg
import pytest
import sqlalchemy as sa
from anyio import to_thread
from view_changes import telemetry

from analytics.postgres.server import MAX_SESSIONS, PostgresServer
from analytics.view.duckdb import DuckDBView
from analytics.view.kept import PostgresCatalogue
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

T = TypeVar("T")
ROWS = 30
SLEEPY = "SELECT count(*) FROM range(100000000) a, range(1000000) b"
COLUMNS = """
SELECT $1::INTEGER + 1 a, 1.50::DECIMAL(10,2) q, -12345.678::DECIMAL(12,3) r, ['a', NULL]::VARCHAR[] l, true t, 'x'::BLOB b,
  INTERVAL '1 day 2 seconds' i, 1e300 d, {'a': 1} s, 170141183460469231731687303715884105727::HUGEINT h, DATE '2020-01-02' e,
  TIMESTAMP '1999-01-01 00:00:00.123456' m, TIMESTAMPTZ '2020-01-01 00:00:00+00' z, NULL n
""".replace("$1", "%s")
VALUES = (
    6, Decimal("1.50"), Decimal("-12345.678"), ["a", None], True, b"x", timedelta(days=1, seconds=2), 1e300, {"a": 1},
    Decimal(2**127 - 1), date(2020, 1, 2), datetime(1999, 1, 1, 0, 0, 0, 123456), datetime(2020, 1, 1, tzinfo=UTC), None,
)  # fmt: skip


@asynccontextmanager
async def a_server(token: str = "") -> AsyncIterator[PostgresServer]:
    view = DuckDBView(None)
    server = PostgresServer(
        view=view, catalogue=PostgresCatalogue(view), host="127.0.0.1", port=0, token=token
    )
    async with supervise([view, server], drain_seconds=5):
        await view.apply(
            [telemetry(n, topic="dt/a", payload='{"t": 1}', payload_bytes=8) for n in range(ROWS)]
        )
        yield server


async def on_it(work: Callable[[str], T], token: str = "") -> T:
    """Run a blocking client on a server of its own."""
    async with a_server(token) as server:
        return await to_thread.run_sync(work, f"host=127.0.0.1 port={server.port} user=me dbname=thingstorm")


def psql(address: str, *commands: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("psql")
    if program is None and not os.environ.get("THINGSTORM_NO_SKIP"):
        pytest.skip("no psql here: install postgresql-client")
    assert program, "install postgresql-client"
    flags = [word for command in commands for word in ("-c", command)]
    given = os.environ | {"PAGER": ""} | environment
    return subprocess.run(
        [program, "-X", address, *flags], check=False, capture_output=True, text=True, env=given, timeout=30
    )


async def test_psql_looks_around_and_asks() -> None:
    def look(address: str) -> None:
        done = psql(
            address, r"\d", r"\d telemetry", r"\d+ telemetry_1s", r"\l", r"\dn", r"\du", r"\di", r"\df", r"\dp",
            r"\dx", r"\dT", r"\conninfo", "SELECT count(*) FROM telemetry", r"\dt tele*",
        )  # fmt: skip
        assert done.stderr == ""
        for piece in (
            "main   | telemetry      | table | thingstorm", "received_at   | timestamp without time zone",
            '"telemetry_pkey" PRIMARY KEY, btree (_id)', "   30", "telemetry_1s   | view",
        ):  # fmt: skip
            assert piece in done.stdout, piece
        wrong = psql(address, "SELECT nope FROM telemetry")
        assert wrong.returncode == 1
        assert "ERROR:" in wrong.stderr
        assert "HINT:" in wrong.stderr

    await on_it(look)


async def test_psycopg_gets_values_of_the_right_types_as_text_and_as_binary() -> None:
    def ask(address: str) -> None:
        with psycopg.connect(address) as connection:
            for binary in (False, True):
                cursor = connection.cursor(binary=binary)
                assert cursor.execute(COLUMNS, (5,)).fetchone() == VALUES
                found = cursor.execute(
                    "SELECT count(*) FROM telemetry WHERE topic = ANY(%s) AND payload_bytes = ANY(%s) AND received_at > %s"
                    " AND received_at < %b AND topic <> %b",
                    (["dt/a", "b"], [8, 9], datetime(2020, 1, 1), datetime.now(UTC), "x"),
                )
                assert found.fetchone() == (ROWS,)
            for _ in range(8):  # from the fifth on it is prepared on the server
                row = connection.execute("SELECT %s::VARCHAR, count(*) FROM telemetry", ("x",)).fetchone()
                assert row == ("x", ROWS)
            with connection.cursor(name="some") as cursor:
                cursor.itersize = 7
                assert (
                    len(list(cursor.execute("SELECT _id FROM telemetry WHERE topic = %s", ("dt/a",)))) == ROWS
                )
            with connection.pipeline():
                answers = [connection.execute("SELECT %s::INTEGER", (number,)) for number in range(20)]
                assert [one.fetchone() for one in answers] == [(number,) for number in range(20)]

    await on_it(ask)


async def test_refusals_have_the_codes_of_postgresql() -> None:
    def ask(address: str) -> None:
        for statement, kind in (
            ("SELECT * FROM nope", psycopg.errors.UndefinedTable),
            ("SELECT nope FROM telemetry", psycopg.errors.UndefinedColumn),
            ("SELEC 1", psycopg.errors.SyntaxError),
            ("DROP TABLE telemetry", psycopg.errors.ReadOnlySqlTransaction),
            ("INSERT INTO telemetry (_id) VALUES ('x')", psycopg.errors.ReadOnlySqlTransaction),
            ("COPY telemetry TO '/tmp/evil.csv'", psycopg.errors.ReadOnlySqlTransaction),
            ("SELECT 'x'::INTEGER", psycopg.errors.InvalidTextRepresentation),
            ("SELECT 1; SELECT 2", psycopg.errors.SyntaxError),
        ):
            with psycopg.connect(address) as connection, pytest.raises(kind):
                connection.execute(statement.encode())
        with psycopg.connect(address) as connection:
            with pytest.raises(psycopg.Error):
                connection.execute("SELECT nope")
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                connection.execute("SELECT 1")
            connection.rollback()
            assert connection.execute("SELECT 1").fetchone() == (1,)

    await on_it(ask)


async def test_sqlalchemy_reflects_the_collections() -> None:
    def reflect(address: str) -> None:
        port = dict(pair.split("=") for pair in address.split())["port"]
        engine = sa.create_engine(f"postgresql+psycopg://me@127.0.0.1:{port}/thingstorm")
        looking = sa.inspect(engine)
        assert looking.default_schema_name == "main"
        assert looking.get_pk_constraint("telemetry")["constrained_columns"] == ["_id"]
        assert "telemetry_1s" in looking.get_view_names()
        metadata = sa.MetaData()
        metadata.reflect(engine)
        table = metadata.tables["telemetry"]
        kinds = {
            name: type(table.c[name].type) for name in ("_id", "received_at", "payload", "payload_bytes")
        }
        assert kinds == {
            "_id": sa.TEXT, "received_at": sa.dialects.postgresql.TIMESTAMP, "payload": sa.dialects.postgresql.JSON,
            "payload_bytes": sa.BIGINT,
        }  # fmt: skip
        with engine.connect() as connection:
            where = (table.c.topic == "dt/a") & (table.c.received_at > datetime(2020, 1, 1))
            query = (
                sa.select(table.c.device_id, sa.func.count())
                .where(where)
                .group_by(table.c.device_id)
                .limit(5)
            )
            assert sum(row[1] for row in connection.execute(query)) == ROWS
        engine.dispose()

    await on_it(reflect)


async def test_a_query_is_cancelled_by_its_client_or_by_its_leaving() -> None:
    def cancel(address: str) -> None:
        with psycopg.connect(address) as connection:
            threading.Timer(0.5, connection.cancel_safe).start()
            began = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute(SLEEPY)
            assert time.monotonic() - began < 5
            connection.rollback()
            assert connection.execute("SELECT 1").fetchone() == (1,)
        leaving = _raw(address)
        leaving.sendall(b"Q" + struct.pack("!i", len(SLEEPY) + 5) + SLEEPY.encode() + b"\0")
        _until(lambda: any(map(_confined, psutil.Process().children())))
        leaving.close()
        _until(lambda: not any(map(_confined, psutil.Process().children())))

    await on_it(cancel)


def _confined(child: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "analytics.view.confined" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE
    return False


def _until(true: Callable[[], bool]) -> None:
    for _ in range(400):
        if true():
            return
        time.sleep(0.02)
    pytest.fail("it did not happen within 8 s")


def _raw(address: str) -> socket.socket:
    port = dict(pair.split("=") for pair in address.split())["port"]
    connection = socket.create_connection(("127.0.0.1", int(port)), timeout=10)
    body = struct.pack("!i", 196_608) + b"user\0me\0\0"
    connection.sendall(struct.pack("!i", len(body) + 4) + body)
    return connection


async def test_the_token_is_the_password_and_connections_are_bounded() -> None:
    def knock(address: str) -> None:
        for wrong in ("", " password=wrong"):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(address + wrong)
        with psycopg.connect(f"{address} password=secret") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert connection.info.server_version == 150000

    await on_it(knock, token="secret")

    def crowd(address: str) -> None:
        many: list[Any] = [_raw(address) for _ in range(MAX_SESSIONS)]
        with pytest.raises(psycopg.OperationalError, match="more than 50 connections"):
            _until(lambda: not psycopg.connect(address).close())
        for one in many:
            one.close()

    await on_it(crowd)


async def test_strangers_do_no_harm() -> None:
    async with a_server() as server:
        for said in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\0\0\0\4",
            b"\xff" * 40,
            struct.pack("!ii", 8, 80_877_103) + b"\0\0\0\1",
        ):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(said)
        raw = await to_thread.run_sync(_raw, f"port={server.port}")
        raw.sendall(b"Q\x7f\xff\xff\xff")
        with anyio.fail_after(5):
            while server.health().buffers[0].used:
                await anyio.sleep(0.02)
        raw.close()
        assert server.health().state == "ready"
        good = f"host=127.0.0.1 port={server.port} user=me dbname=thingstorm"
        assert await to_thread.run_sync(_one, good) == (1,)


def _one(address: str) -> Any:
    with psycopg.connect(address) as connection:
        return connection.execute("SELECT 1").fetchone()


async def test_the_catalogue_survives_a_bomb() -> None:
    def bomb(address: str) -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            for statement in (
                b"SELECT len(range(500000000)) FROM pg_class",
                b"SELECT repeat('x', 1000000000), version()",
            ):
                with pytest.raises(psycopg.Error):
                    connection.execute(statement)
            assert connection.execute("SELECT version()").fetchone()[0].startswith("PostgreSQL")

    await on_it(bomb)
