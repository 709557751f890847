"""Recorded traffic through the direct path: gateway, rules, handler, view and model, by the command line's own steps."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from recordings import BEGIN, fleet, flood, write_csv
from typer.testing import CliRunner

from contracts.errors import ConfigError
from contracts.messages import SECOND
from simulator.recorded_labels import RecordedLabel, read_labels
from simulator.recording import read_recording
from thingstorm.cli import app
from thingstorm.runtime.replay import story_of_recording

SECONDS = 60
FLOOD = [*fleet(devices=6, seconds=SECONDS), *flood("press-2", start=40, seconds=10)]


def label(start: int, kind: Any = "attack", *devices: str) -> RecordedLabel:
    return RecordedLabel("one", kind, (BEGIN + start) * SECOND, (BEGIN + start + 10) * SECOND, devices)


def labels_file(folder: Path, *rows: str) -> Path:
    (folder / "labels.csv").write_text("\n".join(["id,start,end,label,devices", *rows, ""]))
    return folder / "labels.csv"


def replay(folder: Path, rows: Sequence[dict[str, Any]], *flags: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the result, what was printed."""
    file, out = write_csv(folder / "traffic.csv", rows), folder / "out.json"
    done = CliRunner().invoke(app, ["replay", str(file), "--json", str(out), *flags])
    if not out.exists():
        raise done.exception or AssertionError(done.output)
    (result,) = json.loads(out.read_text())
    return done.exit_code, result, done.output


def test_a_recorded_flood_is_called_an_attack_and_its_device_is_named_twice_the_same(tmp_path: Path) -> None:
    labels = labels_file(tmp_path, f"flood,{BEGIN + 40},{BEGIN + 50},attack,press-2")
    flags = ("--labels", str(labels), "--junit", str(tmp_path / "j.xml"), "--html", str(tmp_path / "h.html"))
    code, result, printed = replay(tmp_path, FLOOD, *flags)
    assert code == 0
    (phase,) = result["phases"]
    assert (phase["kind"], phase["verdict"], phase["flagged"]) == ("attack.recorded", "attack", ["press-2"])
    assert (phase["recall"], phase["false_positives"], phase["quarantined"]) == (1.0, 0, ["press-2"])
    assert phase["detect_seconds"] <= 10
    assert (result["path"], result["clock"], result["passed"]) == ("direct", "virtual", True)
    ledger = result["ledger"]
    assert ledger["accepted"] == ledger["routed"] == ledger["viewed"] > 6 * 40
    assert "860 rows of 6 clients in 60 s" in printed
    assert "played" in printed
    assert "flood.verdict" in (tmp_path / "j.xml").read_text()
    assert "press-2" in (tmp_path / "h.html").read_text()
    _, again, _ = replay(tmp_path, FLOOD, *flags)
    assert again["hash"] == result["hash"]


def test_a_flood_of_which_nobody_knows_the_devices_has_no_false_positives(tmp_path: Path) -> None:
    labels = labels_file(tmp_path, "flood,2026-01-05T08:00:40Z,2026-01-05T08:00:50Z,attack,")
    code, result, _ = replay(tmp_path, FLOOD, "--labels", str(labels), "--train-until", str(BEGIN + 20))
    assert code == 0
    assert (result["phases"][0]["flagged"], result["overall"]["false_positives"]) == (["press-2"], 0)


def test_quiet_traffic_without_labels_has_no_phases_and_nothing_to_fail(tmp_path: Path) -> None:
    code, result, _ = replay(tmp_path, fleet(devices=4, seconds=40))
    assert (code, result["phases"], result["passed"]) == (0, [], True)
    assert [one["name"] for one in result["expectations"]] == [
        "overall.lost",
        "overall.duplicates",
        "overall.dead_letters",
    ]
    assert result["ledger"]["published"] == result["ledger"]["viewed"] == 160


def test_an_attack_that_was_not_there_fails_the_labels(tmp_path: Path) -> None:
    labels = labels_file(tmp_path, f"ghost,{BEGIN + 25},{BEGIN + 35},attack,press-1")
    code, result, _ = replay(tmp_path, fleet(devices=4, seconds=40), "--labels", str(labels))
    assert code == 1
    assert [one["name"] for one in result["expectations"] if not one["passed"]] == ["ghost.verdict"]


def test_all_kinds_of_events_and_payloads_pass(tmp_path: Path) -> None:
    def one(second: float, client_id: str, event: str, **more: Any) -> dict[str, Any]:
        return {
            **FLOOD[0],
            "topic": "",
            "payload": "",
            **more,
            "ts": BEGIN + second,
            "client_id": client_id,
            "event": event,
        }

    rows = [
        *fleet(devices=4, seconds=40),
        one(5, "visitor", "connect"),
        one(5, "visitor", "subscribe", topic="plant/#"),
        one(5, "visitor", "publish", topic="status", payload="no json"),
        one(5, "visitor", "disconnect"),
        one(6, "stranger", "publish", topic="a/b/c/d/e/f/g/h/i/j/k", payload="42"),
        one(7, "press-1", "connect"),
        one(30, "new-one", "publish", topic="plant/press/new-one/data", payload='{"bar": 5}'),
    ]
    code, result, _ = replay(tmp_path, rows)
    assert code == 0
    assert result["ledger"]["published"] == result["ledger"]["viewed"] == 163
    assert result["overall"] == {
        "false_positives": 0,
        "undecided": 0,
        "lost": 0,
        "duplicates": 0,
        "dead_letters": 0,
    }


def test_refused_connects_count_as_authentication_failures_of_their_client(tmp_path: Path) -> None:
    guesses = [
        {**FLOOD[0], "ts": BEGIN + 30 + number / 4, "client_id": "press-3", "event": "connect", "rc": "5"}
        for number in range(40)
    ]
    labels = labels_file(tmp_path, f"guesses,{BEGIN + 30},{BEGIN + 40},attack,press-3")
    code, result, _ = replay(
        tmp_path, [*fleet(devices=6, seconds=SECONDS), *guesses], "--labels", str(labels)
    )
    assert code == 0
    assert (result["phases"][0]["verdict"], result["phases"][0]["flagged"]) == ("attack", ["press-3"])


@pytest.mark.parametrize(
    ("labels", "train", "told"),
    [
        ((), str(BEGIN + 3), r"learn from 3 s of .*needs 8 s"),
        ((), str(BEGIN + 600), "600 s after the start, and the recording has 60 s"),
        ((), "later", "--train-until: 'later' is no time"),
        ((label(15),), str(BEGIN + 20), "'one' begins before --train-until"),
        ((label(15),), None, "learn from 5 s"),
    ],
)
def test_training_that_cannot_be_is_refused(
    tmp_path: Path, labels: Sequence[RecordedLabel], train: str | None, told: str
) -> None:
    recording = read_recording(write_csv(tmp_path / "t.csv", FLOOD))
    with pytest.raises(ConfigError, match=told):
        story_of_recording(recording, labels, train_until=train)


def test_a_story_says_what_the_labels_promise(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "My Traffic.csv", FLOOD)
    recording = read_recording(file)
    text = (f"a,{BEGIN + 40},{BEGIN + 50},attack,press-2", f"b,{BEGIN + 30},{BEGIN + 35},benign,")
    labels = read_labels(labels_file(tmp_path, *text), recording)
    story, _ = story_of_recording(recording, labels, train_until=None)
    assert (story.name, story.clock_start) == ("my-traffic", BEGIN * SECOND)
    assert (story.train_until, story.duration) == (10 * SECOND, 60 * SECOND)
    assert story.expect.phases["a"].verdict == "attack"
    assert str(story.expect.phases["b"].alerts) == "= 0"
