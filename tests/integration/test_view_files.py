"""The view's file: killed under ingest, compacted, exported, imported, verified."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_view_duckdb import a_view, rows
from view_changes import device, telemetry

from analytics.view.duckdb import DuckDBView
from analytics.view.files import compact, export, restore, verify
from contracts.errors import ConfigError

pytestmark = pytest.mark.anyio

KILLS = int(os.environ.get("THINGSTORM_KILLS", "4"))
"""Twenty by hand: each costs the start of a process."""

WRITER = """
import sys, pathlib
sys.path.insert(0, sys.argv[2])
from view_changes import telemetry
from analytics.view.duckdb import DuckDBView
view = DuckDBView(pathlib.Path(sys.argv[1]))
view.open()
start = int(sys.argv[3])
for first in range(start, 10**9, 20):
    late = [telemetry(n, device_id=f"d{n % 7}", received_at=1_700_000_000_000 + n % 90_000, topic="t", payload_bytes=n)
            for n in range(first, first + 20)]
    view._writer.apply([*late, *late[:3]])
    print("one more", flush=True)
"""


@pytest.mark.timeout(60 + 15 * KILLS)
async def test_a_writer_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "view.db"
    chance = random.Random(4)
    resumed = 0
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parents[1]), str(resumed)],
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"one more\n"
        time.sleep(chance.uniform(0.05, 0.5))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        view = DuckDBView(path)
        view.open()
        assert view._connection is not None
        (place,) = (
            view._connection.execute("SELECT coalesce(max(sequence), 999) FROM _checkpoints").fetchone() or ()
        )
        (count,) = view._connection.execute("SELECT count(*) FROM telemetry").fetchone() or ()
        view.close()
        assert int(place) == 1000 + int(count) - 1, "all rows up to the checkpoint, once"
        # what a reader that resumes sends again from before the checkpoint
        resumed = max(0, int(count) - 40) // 20 * 20
    assert all(one.right for one in verify(path)), "and rollups equal a recount"


async def filled(path: Path) -> None:
    async with a_view(path) as view:
        await view.create({"name": "docs", "columns": {"n": "BIGINT"}, "indexes": ["n"], "search": ["*"]})
        await view.write("docs", [{"_id": str(n), "n": n, "word": f"w{n}"} for n in range(50)])
        await view.apply(
            [telemetry(n, received_at=1_700_000_000_000 - n * 1000, topic="t") for n in range(500)]
        )
        await view.apply([device("a", 5), device("b", 6, kind="REMOVE")])


async def looks(path: Path) -> list[object]:
    async with a_view(path) as view:
        return [
            await rows(view, "SELECT * FROM docs ORDER BY _id"),
            await rows(view, "SELECT _id FROM docs_search('word', 'w7')"),
            await rows(view, "SELECT count(*), min(received_at) FROM telemetry"),
            await rows(view, "SELECT sum(messages) FROM telemetry_10s"),
            dict(await view.checkpoints()),
            await view.apply([device("b", 6), device("a", 5)]),
            [one.used for one in await view.explain("SELECT * FROM docs WHERE n = 7")],
        ]


async def test_a_compacted_an_exported_and_an_imported_file_are_the_same_view(tmp_path: Path) -> None:
    path, copy = tmp_path / "view.db", tmp_path / "copy.db"
    await filled(path)
    before = await looks(path)
    assert compact(path).after > 0
    assert await looks(path) == before
    counts = export(path, tmp_path / "out")
    assert (counts["telemetry"], counts["docs"]) == (500, 50)
    assert restore(tmp_path / "out", copy) == counts
    assert await looks(copy) == before
    assert all(one.right for one in verify(copy))
    assert not list(tmp_path.glob("*.compacting*"))
    for wrong in (
        lambda: restore(tmp_path / "out", copy),
        lambda: restore(tmp_path, tmp_path / "x.db"),
        lambda: export(path, tmp_path / "out"),
        lambda: compact(tmp_path / "nothing.db"),
    ):
        with pytest.raises(ConfigError) as caught:
            wrong()
        assert caught.value.fix
    (tmp_path / "out" / "telemetry.parquet").unlink()
    with pytest.raises(Exception, match="cannot be made"):
        restore(tmp_path / "out", tmp_path / "x.db")
    assert not (tmp_path / "x.db").exists()


async def test_verify_finds_a_rollup_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "view.db"
    await filled(path)
    view = DuckDBView(path)
    view.open()
    assert view._connection is not None
    view._connection.execute("UPDATE _rollup_telemetry_10s SET messages = messages + 1")
    view.close()
    assert [one.collection for one in verify(path) if not one.right] == ["telemetry"]
    compact(path)
    assert all(one.right for one in verify(path))
