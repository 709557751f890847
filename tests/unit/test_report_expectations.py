from pathlib import Path

import pytest
from report_records import action, labels, phase, record, verdict
from simulator_files import BASE, timeline

from simulator.scenario import Scenario, load
from thingstorm.report.expectations import conclude
from thingstorm.report.record import Ledger, Losses, Record, Result, SqlAnswer
from thingstorm.report.story import tell
from thingstorm.runtime.ledger import losses, settle

FLOOD = phase("flood", "attack.publish_flood", 20, 30)
ENTRY = "id: flood, at: 20s, for: 10s, kind: attack.publish_flood, targets: {group: meter, count: 2}"
EXPECT = """\
expect:
  phases:
    flood:
      verdict: attack
      alerts: {gte: 1}
      flagged: {recall: {gte: 0.95}, false_positives: 0}
      detect_within: {max: {lte: 5s}}
      actions: [{do: quarantine, within: 1s, of: flagged}]
  overall: {lost: 0}
  sql: [{name: nobody, query: "select 0 as n", rows: [{n: 0}]}]
"""
GOOD = [verdict(23, "attack", "a", "b", late=0.2)]
DONE = [action("quarantine", "a", 23.3), action("quarantine", "b", 23.4), action("alert", "people", 23.4)]


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    (tmp_path / "s.yaml").write_text(BASE + timeline(ENTRY) + EXPECT)
    return load(tmp_path / "s.yaml")


def with_answer(seen: Record, *rows: dict[str, object], error: str = "") -> Record:
    from dataclasses import replace

    return replace(seen, answers=(SqlAnswer("nobody", rows, error),))


def failed(result: Result) -> list[str]:
    return [expectation.name for expectation in result.expectations if not expectation.passed]


def test_everything_as_expected(scenario: Scenario) -> None:
    seen = with_answer(record([FLOOD], labels(FLOOD, "a", "b"), GOOD, DONE), {"n": 0})
    result = conclude(scenario, seen, path="aws", clock="wall")
    assert failed(result) == []
    assert result.passed
    assert [e.name for e in result.expectations] == [
        "flood.verdict",
        "flood.alerts",
        "flood.flagged.recall",
        "flood.flagged.false_positives",
        "flood.detect_within.max",
        "flood.actions.quarantine",
        "overall.false_positives",
        "overall.lost",
        "sql.nobody",
    ]
    detect = next(e for e in result.expectations if e.name == "flood.detect_within.max")
    assert (detect.expected, detect.seen) == ("<= 5s", "3s")


@pytest.mark.parametrize(
    ("path", "hops"),
    [
        ("aws", ("through SNS to SQS", "rows in DynamoDB", "read back from S3")),
        ("direct", ("a queue in memory", "the table in memory", "counted only")),
    ],
)
def test_what_is_told_names_the_hops_of_the_path_that_was_played(
    scenario: Scenario, path: str, hops: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    seen = with_answer(record([FLOOD], labels(FLOOD, "a", "b"), GOOD, DONE), {"n": 0})
    tell(conclude(scenario, seen, path=path, clock="wall"), seen)
    told = capsys.readouterr().out
    assert [hop in told for hop in hops] == [True] * 3
    assert ("DynamoDB" in told) is (path == "aws")
    assert "2 of 2 hostile devices named, 0 innocent; quarantined: a, b" in told
    assert told.rstrip().endswith("passed")


def test_a_missed_attack_fails_everything_that_depends_on_it(scenario: Scenario) -> None:
    seen = with_answer(record([FLOOD], labels(FLOOD, "a", "b"), [verdict(23, "benign_uptick")]), {"n": 0})
    result = conclude(scenario, seen, path="aws", clock="wall")
    assert not result.passed
    assert failed(result) == [
        "flood.verdict",
        "flood.alerts",
        "flood.flagged.recall",
        "flood.detect_within.max",
        "flood.actions.quarantine",
    ]


def test_an_innocent_device_fails_the_run_even_if_nobody_asked(scenario: Scenario) -> None:
    seen = record([FLOOD], labels(FLOOD, "a", "b"), [*GOOD, verdict(5, "attack", "c")], DONE)
    result = conclude(scenario, with_answer(seen, {"n": 0}), path="aws", clock="wall")
    assert failed(result) == ["overall.false_positives"]


def test_a_slow_or_missing_quarantine_fails(scenario: Scenario) -> None:
    late = [action("quarantine", "a", 23.3), action("quarantine", "b", 29), DONE[2]]
    for actions in (late, [DONE[0], DONE[2]]):
        seen = with_answer(record([FLOOD], labels(FLOOD, "a", "b"), GOOD, actions), {"n": 0})
        assert failed(conclude(scenario, seen, path="aws", clock="wall")) == ["flood.actions.quarantine"]


def test_sql_that_answers_otherwise_or_not_at_all_fails(scenario: Scenario) -> None:
    base = record([FLOOD], labels(FLOOD, "a", "b"), GOOD, DONE)
    for seen in (with_answer(base, {"n": 1}), with_answer(base), with_answer(base, error="no such table")):
        assert failed(conclude(scenario, seen, path="aws", clock="wall")) == ["sql.nobody"]


def test_losses_are_what_the_ledger_says() -> None:
    ledger = Ledger(routed=100, viewed=97)
    assert losses(ledger, distinct=95, dead_letters=1) == Losses(lost=5, duplicates=2, dead_letters=1)


@pytest.mark.anyio
async def test_the_path_is_quiet_when_every_hop_is_twice_running() -> None:
    states = iter(["busy", "", "busy", "", ""])
    asked: list[str] = []

    async def hop() -> str:
        asked.append(next(states))
        return asked[-1]

    await settle([hop], within=10)
    assert asked == ["busy", "", "busy", "", ""]


@pytest.mark.anyio
async def test_a_path_that_does_not_become_quiet_is_said() -> None:
    from contracts.errors import NotReady

    async def hop() -> str:
        return "7 messages wait"

    with pytest.raises(NotReady, match="7 messages wait"):
        await settle([hop], within=0.3)
