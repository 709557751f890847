"""The PostgreSQL protocol without sockets: values both ways, statements of one message, and what strangers send."""

import math
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.postgres import wire
from analytics.postgres.conversation import Conversation
from analytics.postgres.statements import split, told
from analytics.postgres.types import SAMPLES, TEXTS, Kind, encoder, kind_of, parameter
from analytics.postgres.wire import Reading, WireError
from contracts.errors import ConfigError, NotReady
from contracts.messages import Json
from contracts.ports import Rows

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
VALUES = {
    "BOOLEAN": st.booleans(),
    "SMALLINT": st.integers(-(2**15), 2**15 - 1),
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "HUGEINT": st.integers(-(2**127), 2**127 - 1).map(Decimal),
    "DECIMAL(38,9)": st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**28), max_value=10**28),
    "DOUBLE": st.floats(allow_nan=False),
    "VARCHAR": _TEXT,
    "BLOB": st.binary(max_size=20),
    "UUID": st.uuids(),
    "DATE": st.dates(),
    "TIMESTAMP": st.datetimes(),
    "VARCHAR[]": st.lists(st.none() | _TEXT.filter(lambda text: text.upper() != "NULL"), min_size=1, max_size=4),
}  # fmt: skip


@given(st.data(), st.sampled_from(sorted(VALUES)), st.integers(0, 1))
def test_what_goes_out_comes_in_again(data: st.DataObject, sql_type: str, form: int) -> None:
    value = data.draw(VALUES[sql_type])
    kind = kind_of(sql_type)
    back = parameter(encoder(kind, form)(value), kind.oid, form)
    if sql_type in ("DATE", "UUID", "TIMESTAMP"):
        assert (
            type(value)(str(back)) == value if sql_type == "UUID" else value.fromisoformat(str(back)) == value
        )
    else:
        assert back == value
        assert type(back) is type(value)


@given(st.datetimes(timezones=st.just(UTC)), st.timedeltas(timedelta(0), timedelta(days=99)))
def test_moments_and_spans_are_written_as_postgresql_does(moment: datetime, span: timedelta) -> None:
    text = encoder(kind_of("TIMESTAMP WITH TIME ZONE"), 0)(moment).decode()
    assert text.endswith("+00")
    assert datetime.fromisoformat(text) == moment
    microseconds, days, months = struct.unpack("!qii", encoder(kind_of("INTERVAL"), 1)(span))
    assert timedelta(days=days, microseconds=microseconds) == span
    assert months == 0


def test_what_has_no_type_there_travels_as_json_or_text() -> None:
    for sql_type, value, out in (
        ("STRUCT(a INTEGER)", {"a": 1}, b'{"a": 1}'), ("INTEGER[]", [1, 2], b"[1, 2]"), ("ENUM('x')", "x", b"x"),
        ("DOUBLE", math.inf, b"Infinity"), ("FLOAT", math.nan, b"NaN"), ("INTERVAL", timedelta(1, 2.5), b"1 days 00:00:02.5"),
        ("VARCHAR[]", ['a"b', None], b'{"a\\"b",NULL}'), ("BLOB", b"\1", b"\\x01"),
    ):  # fmt: skip
        assert encoder(kind_of(sql_type), 0)(value) == out


@given(st.binary(max_size=24), st.sampled_from([*SAMPLES, 17, 1007, 2950, 3802, 0, 99]), st.integers(0, 1))
def test_a_parameter_is_read_or_refused(raw: bytes, oid: int, form: int) -> None:
    try:
        parameter(raw, oid, form)
    except ConfigError as error:
        assert error.fix


def test_a_message_is_cut_into_statements_outside_strings_and_comments() -> None:
    text = "SELECT ';' AS \";\"; -- one; two\n/* ; */ SET x = 1;; SELECT $$;$$, $t$ ; $t$ ;"
    assert [one.sql for one in split(text)] == [
        "SELECT ';' AS \";\"",
        "-- one; two\n/* ; */ SET x = 1",
        "SELECT $$;$$, $t$ ; $t$",
    ]
    assert split(" ; -- nothing\n") == []
    assert [one.about_catalogue for one in split("SELECT 'pg_class'; SELECT * FROM pg_class")] == [
        False,
        True,
    ]
    assert split("show TimeZone")[0].shows == "timezone"
    assert split("SHOW TABLES")[0].for_view
    assert split('FETCH FORWARD 5 FROM "A"')[0].fetches == ("A", 5)


def test_errors_have_codes_that_drivers_know() -> None:
    codes = {
        "Catalog Error: Table with name x does not exist!": "42P01",
        "Parser Error: syntax error": "42601",
        "only SELECT is allowed": "25006",
        "the query took longer than 10 s": "57014",
        "more than 10000 rows": "54000",
        "Conversion Error: Could not": "22P02",
        "something else": "42000",
    }  # fmt: skip
    assert {text: told(ConfigError(text, fix="-")).code for text in codes} == codes
    assert told(NotReady("no", fix="wait")).code == "57P03"


class Echo:
    """Answers with the statement."""

    async def ask(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Rows:
        if "wrong" in sql:
            raise ConfigError("Parser Error: wrong", fix="right")
        if sql.startswith("DESCRIBE"):
            return Rows(("column_name", "column_type"), (("sql", "VARCHAR"),), 0.0, ("VARCHAR", "VARCHAR"))
        return Rows(("sql",), ((sql + str(dict(parameters or {})),),) * 3, 0.0, ("VARCHAR",))


def talk(*messages: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """What is answered, cut into messages again."""
    sent = bytearray()

    async def send(some: bytes) -> None:
        sent.extend(some)

    async def run() -> None:
        conversation = Conversation(Echo(), Echo(), send)
        for kind, body in messages:
            await conversation.answer(kind, body)

    anyio.run(run)
    found, at = [], 0
    while at < len(sent):
        length = int.from_bytes(sent[at + 1 : at + 5], "big")
        found.append((bytes(sent[at : at + 1]), bytes(sent[at + 5 : at + 1 + length])))
        at += 1 + length
    return found


def parse(sql: str, name: str = "") -> tuple[bytes, bytes]:
    return b"P", name.encode() + b"\0" + sql.encode() + b"\0\0\0"


def kinds(*messages: tuple[bytes, bytes]) -> bytes:
    return b"".join(kind for kind, _ in talk(*messages))


BIND = (b"B", b"\0\0" + struct.pack("!hhi", 0, 1, 1) + b"x" + struct.pack("!h", 0))
SYNC = (b"S", b"")


def test_a_portal_gives_its_rows_in_parts() -> None:
    two = (b"E", b"\0" + struct.pack("!i", 2))
    assert kinds(parse("SELECT $1"), BIND, (b"D", b"P\0"), two, two, SYNC) == b"12T" + b"DDs" + b"DC" + b"Z"


def test_a_statement_is_described_before_it_has_parameters() -> None:
    assert (
        kinds(parse("SELECT $1"), (b"D", b"S\0"), parse("SET x = 1", "s"), (b"D", b"Ss\0"), SYNC)
        == b"1tT" + b"1tn" + b"Z"
    )


def test_after_an_error_all_is_left_out_until_the_sync() -> None:
    assert (
        kinds(parse("SELECT wrong"), BIND, (b"D", b"P\0"), (b"E", b"\0\0\0\0\0"), parse("x"), SYNC) == b"12EZ"
    )
    assert (
        kinds((b"Q", b"BEGIN; SELECT wrong\0"), (b"Q", b"SELECT 1\0"), (b"Q", b"ROLLBACK\0"))
        == b"CEZ" + b"EZ" + b"CZ"
    )
    states = [body for kind, body in talk((b"Q", b"BEGIN; SELECT wrong\0"), (b"Q", b"END\0")) if kind == b"Z"]
    assert states == [b"E", b"I"]


def test_one_query_a_message_and_unknown_names_are_refused() -> None:
    for text, code in (
        (b"SELECT 1; SELECT 2", b"42601"),
        (b"FETCH nothing", b"34000"),
        (b";".join([b"SET a=1"] * 21), b"54000"),
    ):
        (_, error), _ = talk((b"Q", text + b"\0"))
        assert b"C" + code in error
    assert kinds((b"D", b"Sno\0"), SYNC, (b"Q", b" \0")) == b"EZ" + b"IZ"


@given(
    st.lists(
        st.tuples(st.sampled_from([bytes([one]) for one in b"PBDECHSQFdc!"]), st.binary(max_size=20)),
        max_size=5,
    )
)
def test_strangers_get_an_error_or_are_told_off(messages: list[tuple[bytes, bytes]]) -> None:
    try:
        answers = talk(*messages)
    except WireError as error:
        assert str(error)
    else:
        assert all(kind in b"123CDEIKNRSTZnst" for kind, _ in answers)


@given(
    st.binary(max_size=30),
    st.lists(st.sampled_from(["text", "short", "long", "shorts", "longs", "values"]), max_size=5),
)
def test_a_body_is_read_or_refused(body: bytes, steps: list[str]) -> None:
    reading = Reading(body)
    for step in steps:
        try:
            getattr(reading, step)()
        except WireError:
            break
    assert reading.take(0) == b""
    with pytest.raises(WireError, match="ends early"):
        reading.take(len(body) + 1)


def test_the_description_of_columns_holds_type_numbers() -> None:
    told_columns: Any = wire.columns(["a"], [Kind(23, "integer", 4)], [1])
    assert told_columns.endswith(b"a\0" + struct.pack("!ihIhih", 0, 0, 23, 4, -1, 1))
    assert kind_of("VARCHAR[]") is TEXTS
