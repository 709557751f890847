"""Checks a scenario's `expect:` against what was seen. Pure; every expectation yields one named result."""

from collections.abc import Iterator
from typing import Any

from simulator.scenario import Comparison, Expect, PhaseExpect, Scenario, SqlExpect
from thingstorm.report.judge import alerts_of, false_devices, judge
from thingstorm.report.record import (
    ExpectationResult,
    Overall,
    PhaseResult,
    Record,
    Result,
)


def conclude(scenario: Scenario, record: Record, *, path: str, clock: str) -> Result:
    """The result of a played scenario: phases judged, expectations checked."""
    phases = judge(record)
    overall = Overall(
        false_positives=len(false_devices(record)),
        undecided=sum(phase.verdict == "undecided" for phase in phases),
        lost=record.losses.lost,
        duplicates=record.losses.duplicates,
        dead_letters=record.losses.dead_letters,
    )
    expectations = tuple(_check(scenario.expect, phases, overall, record))
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


def _check(
    expect: Expect, phases: tuple[PhaseResult, ...], overall: Overall, record: Record
) -> Iterator[ExpectationResult]:
    by_id = {phase.id: phase for phase in phases}
    for name, wanted in expect.phases.items():
        yield from _check_phase(by_id[name], wanted, record)
    wanted_overall = {"false_positives": Comparison.equal(0), **expect.overall}
    for key, comparison in wanted_overall.items():
        yield _compare(f"overall.{key}", comparison, getattr(overall, key))
    answers = {answer.name: answer for answer in record.answers}
    for query in expect.sql:
        yield _check_sql(query, answers[query.name].rows, answers[query.name].error)
