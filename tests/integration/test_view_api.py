"""Collections over HTTP, and the commands `thingstorm view ...` and `sql --explain`, on a real server and a real file."""

import json
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from test_view_files import filled
from test_view_queries import an_api
from typer.testing import CliRunner

from analytics.view.duckdb import DuckDBView
from contracts.errors import ConfigError, ExpectationFailed, ThingstormError
from thingstorm.cli import app

pytestmark = pytest.mark.anyio

PEOPLE: dict[str, Any] = {"name": "people", "columns": {"age": "BIGINT"}, "indexes": ["age"], "search": ["*"]}


async def test_a_collection_is_made_written_described_and_emptied_over_http() -> None:
    async with an_api() as (client, view, _):
        made = (await client.post("/collections", json=PEOPLE)).json()
        assert (made["name"], made["rows"], made["indexes"]) == ("people", 0, ["_id", "age"])
        assert "people" in (await client.get("/collections")).json()["collections"]
        documents = [{"_id": "a", "age": 7, "at": {"city": "Köln", "zip": 1}}, {"age": "old"}]
        ids = (await client.post("/collections/people/documents", json={"documents": documents})).json()[
            "ids"
        ]
        assert (ids[0], len(ids)) == ("a", 2)
        patch = {"documents": [{"_id": "a", "at": {"zip": None}}], "patch": True}
        assert (await client.post("/collections/people/documents", json=patch)).json() == {"ids": ["a"]}
        await view._write(lambda writer: writer.settle())
        told = (await client.get("/collections/people")).json()
        assert told["rows"] == 2
        assert told["fields"] == [{"field": "at", "kind": "object", "seen": 2, "share": 0.6667}]
        found = await client.post(
            "/query", json={"sql": "SELECT age, extra FROM people_search('at.city', 'köln')"}
        )
        ((age, extra),) = found.json()["rows"]
        assert (age, json.loads(extra)) == (7, {"at": {"city": "Köln"}})
        reads = await client.post(
            "/explain", json={"sql": "SELECT * FROM people WHERE _id = $i", "parameters": {"i": "a"}}
        )
        assert [(one["table"], one["used"]) for one in reads.json()["reads"]] == [("people", "key index")]
        gone = await client.request("DELETE", "/collections/people/documents", json={"ids": ["a", "nobody"]})
        assert gone.json() == {"removed": 1}


async def test_over_http_what_cannot_be_done_is_told_with_its_status_and_a_fix() -> None:
    async with an_api() as (client, _, _):
        for path, body, status, told in (
            ("/collections", {"name": "A b"}, 400, "cannot be a collection's name"),
            ("/collections", {"name": "devices"}, 400, "already"),
            ("/collections", [1], 422, "body: input should be a valid dictionary"),
            ("/collections/nobody/documents", {"documents": [{}]}, 404, "unknown collection"),
            ("/collections/devices/documents", {"documents": [{}]}, 400, "follows a table"),
            (
                "/collections/devices/documents",
                {"documents": ["x"]},
                422,
                "body.documents.0: input should be",
            ),
            ("/collections/a/documents", {"documents": list(range(9))}, 422, "; and 6 more"),
            ("/nowhere", {}, 404, "POST /nowhere: not found"),
            ("/devices/nobody", {}, 405, "method not allowed"),
            ("/explain", {"sql": "DROP TABLE devices"}, 400, ""),
            ("/explain", {"sql": "SELECT list(device_id) FROM devices"}, 400, "is not explained"),
        ):
            answer = await client.post(path, json=body)
            assert (answer.status_code, told in answer.text) == (status, True), answer.text
            assert answer.json()["fix"]
        assert (await client.get("/collections/nobody")).status_code == 404


async def command(*arguments: str) -> str:
    done = await to_thread.run_sync(lambda: CliRunner().invoke(app, list(arguments)))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


async def refused(*arguments: str, kind: type[ThingstormError] = ConfigError) -> str:
    done = await to_thread.run_sync(lambda: CliRunner().invoke(app, list(arguments)))
    assert isinstance(done.exception, kind), done.output
    assert done.exception.fix
    return done.exception.what


async def test_the_commands_of_collections_on_a_running_stack(tmp_path: Path) -> None:
    definition, documents = tmp_path / "people.json", tmp_path / "people.ndjson"
    definition.write_text(json.dumps(PEOPLE))
    documents.write_text("\n".join(json.dumps({"_id": str(n), "age": n}) for n in range(600)) + "\n\n")
    async with an_api() as (client, view, _):
        api = ("--api", str(client.base_url).rstrip("/"))
        assert "people is made" in await command("view", "create", str(definition), *api)
        assert "600 documents" in await command("view", "write", "people", str(documents), *api)
        documents.write_text('{"_id": "7", "word": "x"}\n')
        assert "1 document\n" in await command("view", "write", "people", str(documents), "--patch", *api)
        assert (await view.query("SELECT age, extra->>'$.word' FROM people WHERE _id = '7'")).rows == (
            (7, "x"),
        )
        assert "people" in await command("view", "list", *api)
        told = json.loads(await command("view", "describe", "people", "--format", "json", *api))
        assert {one["what"]: one["value"] for one in told}["rows"] == "600"
        reads = await command("sql", "--explain", "SELECT * FROM people WHERE age = 7", *api)
        assert "index on age" in reads
        await refused("view", "describe", "nobody", *api)
        for body, what in (
            ("{}\n\n{", ":3: "),
            ('{"_id": "new"}\n[1]', ":2: list is no document"),
            ("\udcff", ""),
        ):
            documents.write_bytes(body.encode("utf-8", "surrogateescape"))
            assert what in await refused("view", "write", "people", str(documents), *api)
        assert (await view.query("SELECT count(*) FROM people")).rows == ((600,),)  # nothing of a wrong file
        await refused("view", "create", str(documents), *api)


async def test_the_commands_of_a_stored_file(tmp_path: Path) -> None:
    file, copy, folder = (str(tmp_path / name) for name in ("view.db", "copy.db", "out"))
    await filled(Path(file))
    assert " MB after" in await command("view", "compact", file)
    assert "telemetry" in await command("view", "export", file, folder)
    assert "telemetry" in await command("view", "import", folder, copy)
    found = json.loads(await command("view", "verify", copy, "--format", "json"))
    assert {one["collection"]: one["rows"] for one in found}["telemetry"] == 500
    view = DuckDBView(Path(copy))
    view.open()
    assert view._connection is not None
    view._connection.execute("UPDATE _rollup_telemetry_1m SET messages = messages + 1")
    view.close()
    await refused("view", "verify", copy, kind=ExpectationFailed)
    await refused("view", "compact", str(tmp_path / "nothing.db"))
