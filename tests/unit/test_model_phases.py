"""What the verdicts said about a phase."""

from analytics.phases import flagged_since, outcome_of
from contracts.messages import SECOND, ActionTaken, Verdict, VerdictKind


def _verdict(t: int, kind: VerdictKind, *devices: str) -> Verdict:
    return Verdict(kind, t * SECOND, t * SECOND + 500, 0.9, 1.0, devices)


VERDICTS = [
    _verdict(1, "normal"),
    _verdict(2, "benign_uptick"),
    _verdict(3, "benign_uptick"),
    _verdict(4, "undecided"),
    _verdict(5, "attack", "b"),
    _verdict(6, "attack", "a", "b"),
    _verdict(7, "normal"),
]


def test_devices_in_order_of_appearance() -> None:
    assert flagged_since(VERDICTS, 0, 10 * SECOND) == ("b", "a")
    assert flagged_since(VERDICTS, 6 * SECOND, 10 * SECOND) == ()


def test_an_attack_at_any_tick_names_the_phase() -> None:
    actions = [
        ActionTaken("quarantine", "b", 5 * SECOND + 900, "done"),
        ActionTaken("quarantine", "a", 6 * SECOND, "failed: x"),
        ActionTaken("quarantine", "elsewhere", 6 * SECOND, "done"),
    ]
    outcome = outcome_of(VERDICTS, actions, start=0, end=10 * SECOND, onset=3 * SECOND)
    assert outcome.verdict == "attack"
    assert outcome.detect_seconds == 2.0
    assert outcome.quarantined == {"b": 5 * SECOND + 900}
    assert outcome.quarantine_seconds == 400 / SECOND


def test_upticks_and_doubt_by_majority_of_two_ticks() -> None:
    assert outcome_of(VERDICTS, [], start=0, end=4 * SECOND).verdict == "benign_uptick"
    assert outcome_of(VERDICTS, [], start=0, end=2 * SECOND).verdict == "normal"
    doubt = [_verdict(1, "undecided"), _verdict(2, "undecided"), _verdict(3, "benign_uptick")]
    outcome = outcome_of(doubt, [], start=0, end=9 * SECOND)
    assert (outcome.verdict, outcome.detect_seconds, outcome.quarantine_seconds) == ("undecided", None, None)
