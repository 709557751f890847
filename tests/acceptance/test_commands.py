"""What commands refuse before they start, and what they ask of a running stack; each mistake is one clear line."""

import json
import time
from pathlib import Path

import pytest
from answering import answering
from conftest import Running, here

CALM = """scenario: v1
name: calm
duration: 5s
fleet: [{group: meter, count: 1, topic: "dt/{device}", every: 1s, payload: {v: {const: 1}}}]
"""
FLAGS = {
    "--json": ["run", "calm.yaml"],
    "--junit": ["run", "calm.yaml"],
    "--html": ["demo"],
    "--dataset": ["run", "calm.yaml"],
    "--calibrate": ["evaluate", "calm.yaml"],
    "--out": ["shrink", "calm.yaml"],
}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_file_that_cannot_be_written_is_told_before_anything_is_played(tmp_path: Path, flag: str) -> None:
    (tmp_path / "calm.yaml").write_text(CALM)
    for file, why in ((tmp_path / "none" / "f", "there is no folder"), (tmp_path, "it is a folder")):
        done = here(*FLAGS[flag], flag, str(file), cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"error: cannot write {file}: {why}")
        assert "fix: name a file" in done.err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["calm.yaml"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["up", "--set", "broker.port=["], "what stands after the '=' is no YAML"),
        (["up", "--set", "api=3", "--set", "api.port=8"], "'api' was given a value of its own"),
        (["up", "--set", "broker.port"], "no '='"),
        (["sql", "--explain"], "--explain without a statement"),
        (["sql", "--explain", "--db", "view.db", "SELECT 1"], "--explain asks a running stack"),
        (["sql", "--db", "none.db", "SELECT 1"], "no stored view at none.db"),
        (["query", "top_talkers", "-p", "seconds"], "no '='"),
        (["devices", "quarantine", "d", "--for", "long"], "'long' is no duration"),
        (["announce", "update", "--for", "1w"], "'1w' is no duration"),
        (["run", "calm.yaml", "--set", "x"], "no '='"),
        (["run", "calm.yaml", "--set", "x=1"], "there is no variable 'x'"),
        (["run", "calm.yaml", "--attach", "--path", "direct"], "--attach plays against running stages"),
        (["run", "."], "no scenario in"),
        (["score", "calm.yaml", "--out", "none/s.csv"], "there is no folder none"),
        (["users", "add", "ana", "--file", "none/users.txt"], "there is no folder none"),
        (["users", "add", "ana"], "the password is too short"),
    ],
)
def test_what_is_wrong_is_one_line_and_its_mend(tmp_path: Path, arguments: list[str], told: str) -> None:
    (tmp_path / ("base" if "." in arguments else "")).mkdir(exist_ok=True)
    where = tmp_path / ("base/calm.yaml" if "." in arguments else "calm.yaml")
    where.write_text(CALM)
    done = here(*arguments, cwd=tmp_path)
    assert done.code == 2, done.err
    error, fix = done.err.strip().splitlines()
    assert told in error
    assert error.startswith("error: ")
    assert fix.startswith("fix: ")


def test_named_queries_and_how_a_statement_reads(shared_up: Running, tmp_path: Path) -> None:
    api = ("--api", shared_up.addresses["api"])
    listed = json.loads(here("query", "--format", "json", *api, cwd=tmp_path).out)
    assert "top_talkers" in {one["name"] for one in listed}
    statement = "SELECT * FROM telemetry WHERE _id = 'nobody/1'"
    reads = here("sql", "--explain", statement, *api, cwd=tmp_path)
    assert (reads.code, reads.out.split()) == (0, ["table", "used", "rows_scanned", "row_groups", "filters"])
    unknown = here("query", "nope", *api, cwd=tmp_path)
    assert unknown.code == 2
    assert "nope" in unknown.err


def test_a_device_is_held_for_a_time(shared_up: Running, unique: str, tmp_path: Path) -> None:
    api = ("--api", shared_up.addresses["api"])
    assert here("devices", "quarantine", unique, "--for", "2h", *api, cwd=tmp_path).code == 0
    deadline = time.monotonic() + 10
    while (
        unique not in (told := here("devices", "list", *api, cwd=tmp_path).out)
        and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    assert unique in told
    assert here("devices", "release", unique, *api, cwd=tmp_path).code == 0


def test_an_announcement_is_made_listed_and_withdrawn(
    shared_up: Running, unique: str, tmp_path: Path
) -> None:
    api = ("--api", shared_up.addresses["api"])
    made = here(
        "announce", "firmware 2", "--device", unique, "--for", "5m", "--rate", "2", *api, cwd=tmp_path
    )
    assert made.code == 0, made.err
    name = made.out.partition(":")[0]
    listed = json.loads(here("announce", "--format", "json", *api, cwd=tmp_path).out)
    assert name in {one["announcement_id"] for one in listed}
    assert here("announce", "--withdraw", name, *api, cwd=tmp_path).out == f"{name} is over\n"
    assert here("announce", "--withdraw", name + "x", *api, cwd=tmp_path).code == 2


def test_an_announcement_for_a_type_that_no_device_has_is_made_and_said(
    shared_up: Running, unique: str, tmp_path: Path
) -> None:
    api = ("--api", shared_up.addresses["api"])
    made = here("announce", "firmware 2", "--group", unique, "--for", "5m", *api, cwd=tmp_path)
    assert made.code == 0, made.err
    assert f"no device of type '{unique}' is known yet" in made.err
    assert here("announce", "--withdraw", made.out.partition(":")[0], *api, cwd=tmp_path).code == 0


def test_doctor_and_alerts_say_what_is_not_well(tmp_path: Path) -> None:
    service = {"name": "view", "state": "failed", "detail": "no space", "last_progress": None, "buffers": {}}
    channel = {
        "name": "mail",
        "kind": "email",
        "state": "failing",
        "detail": "refused",
        "waiting": 0,
        "undelivered": 1,
    }
    answers = {
        "/healthz": {"services": [service], "ready": False},
        "/capabilities": {"backend": "embedded", "capabilities": []},
        "/alerts/test": {"outcomes": [{"channel": "mail", "outcome": "refused"}]},
        "/alerts": {"channels": [channel], "undelivered": []},
    }
    with answering(answers) as stack:
        ill = here("doctor", "--api", stack.url, cwd=tmp_path)
        untold = here("alerts", "test", "--to", "mail", "--api", stack.url, cwd=tmp_path)
    assert ill.code == 3
    assert "not ready: view" in ill.err
    assert "no space" in ill.out
    assert (untold.code, stack.bodies["/alerts/test"]) == (3, {"to": ["mail"]})
    assert "not told: mail" in untold.err
