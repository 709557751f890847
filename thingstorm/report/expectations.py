"""Checks a scenario's `expect:` against what was seen. Pure; every expectation yields one named result."""

from collections.abc import Iterator

from contracts.messages import SECOND
from simulator.scenario import ActionExpect, Comparison, Expect, PhaseExpect, Scenario, SqlExpect
from simulator.story import Story
from thingstorm.report.judge import alerts_of, false_devices, judge
from thingstorm.report.record import (
    ExpectationResult,
    Overall,
    PhaseResult,
    Record,
    Result,
    SqlAnswer,
)


def conclude(
    scenario: Scenario | Story, record: Record, *, path: str, clock: str, labelled: bool = True
) -> Result:
    """The result of a played scenario: phases judged, expectations checked.

    Where the ground truth is not known (`labelled` is False) no device counts as named wrongly.
    """
    phases = judge(record)
    overall = Overall(
        false_positives=len(false_devices(record)) if labelled else 0,
        undecided=sum(phase.verdict == "undecided" for phase in phases),
        lost=record.losses.lost,
        duplicates=record.losses.duplicates,
        dead_letters=record.losses.dead_letters,
    )
    expectations = tuple(_check(_expected(scenario.expect, labelled=labelled), phases, overall, record))
    return Result(
        scenario=scenario.name,
        seed=scenario.seed,
        path=path,
        clock=clock,
        passed=all(expectation.passed for expectation in expectations),
        wall_seconds=record.wall_seconds,
        phases=phases,
        overall=overall,
        ledger=record.ledger,
        latency=record.latency,
        expectations=expectations,
    )


def _expected(expect: Expect, *, labelled: bool) -> Expect:
    """No device may be named wrongly, unless the file says otherwise or nobody knows."""
    if not labelled:
        return expect
    return expect.model_copy(update={"overall": {"false_positives": Comparison.equal(0), **expect.overall}})


def _check(
    expect: Expect, phases: tuple[PhaseResult, ...], overall: Overall, record: Record
) -> Iterator[ExpectationResult]:
    by_id = {phase.id: phase for phase in phases}
    for name, wanted in expect.phases.items():
        yield from _check_phase(by_id[name], wanted, record)
    for key, comparison in expect.overall.items():
        yield _compare(f"overall.{key}", comparison, getattr(overall, key))
    answers = {answer.name: answer for answer in record.answers}
    for query in expect.sql:
        yield _check_sql(query, answers[query.name])


def _check_phase(phase: PhaseResult, wanted: PhaseExpect, record: Record) -> Iterator[ExpectationResult]:
    name = phase.id
    if wanted.verdict is not None:
        yield _result(f"{name}.verdict", phase.verdict == wanted.verdict, wanted.verdict, phase.verdict)
    if wanted.alerts is not None:
        yield _compare(f"{name}.alerts", wanted.alerts, alerts_of(phase, record))
    if wanted.flagged is not None and wanted.flagged.recall is not None:
        yield _compare(f"{name}.flagged.recall", wanted.flagged.recall, phase.recall)
    if wanted.flagged is not None and wanted.flagged.false_positives is not None:
        yield _compare(
            f"{name}.flagged.false_positives", wanted.flagged.false_positives, phase.false_positives
        )
    if wanted.detect_within is not None:
        yield _compare(f"{name}.detect_within.max", wanted.detect_within.max, phase.detect_seconds, unit="s")
    for action in wanted.actions:
        yield _check_action(phase, action)


def _check_action(phase: PhaseResult, wanted: ActionExpect) -> ExpectationResult:
    """Every device named by `of` is in quarantine, the slowest of them in time."""
    targets = set(phase.flagged if wanted.of == "flagged" else phase.expected_devices)
    missing = targets - set(phase.quarantined)
    seconds = phase.quarantine_seconds
    in_time = seconds is not None and seconds <= wanted.within / SECOND
    seen = f"{len(phase.quarantined)} in {seconds} s" if seconds is not None else "none"
    if missing:
        seen += f", missing {', '.join(sorted(missing))}"
    expected = f"all of {wanted.of} within {wanted.within / SECOND:g}s"
    return _result(
        f"{phase.id}.actions.{wanted.do}", bool(targets) and not missing and in_time, expected, seen
    )


def _check_sql(wanted: SqlExpect, answer: SqlAnswer) -> ExpectationResult:
    expected = [dict(row) for row in wanted.rows]
    seen = answer.error or str(list(answer.rows))
    return _result(
        f"sql.{wanted.name}", not answer.error and list(answer.rows) == expected, str(expected), seen
    )


def _compare(name: str, comparison: Comparison, value: float | None, *, unit: str = "") -> ExpectationResult:
    seen = "never" if value is None else f"{value:g}{unit}"
    return _result(name, value is not None and comparison.holds(value), str(comparison), seen)


def _result(name: str, passed: bool, expected: str, seen: str) -> ExpectationResult:  # noqa: FBT001 - private
    return ExpectationResult(name=name, passed=passed, expected=expected, seen=seen)
