"""Incidents: spans of verdicts with one cause."""

from dataclasses import replace

import pytest

from analytics.incidents import IncidentBook
from contracts.messages import SECOND, ActionTaken, Evidence, Verdict, VerdictKind


def _verdict(t: int, kind: VerdictKind = "attack", *devices: str, confidence: float = 0.9) -> Verdict:
    return Verdict(kind, t * SECOND, t * SECOND, confidence, 1.0, devices, summary=f"{kind} at {t}")


def test_normal_opens_nothing() -> None:
    book = IncidentBook()
    assert book.update(_verdict(1, "normal")) == []
    assert book.incidents == ()


def test_verdicts_that_follow_are_one_incident_with_all_devices() -> None:
    book = IncidentBook(quiet_seconds=10)
    book.update(_verdict(1, "attack", "a"))
    book.update(_verdict(2, "normal"))
    (incident,) = book.update(_verdict(8, "attack", "b", "a"))
    assert incident.devices == ("a", "b")
    assert (incident.opened_at, incident.updated_at, incident.closed_at) == (SECOND, 8 * SECOND, None)
    assert len(book.incidents) == 1


def test_quiet_closes_and_the_next_is_another() -> None:
    book = IncidentBook(quiet_seconds=10)
    book.update(_verdict(1, "attack", "a"))
    (closed,) = book.update(_verdict(11, "normal"))
    assert closed.closed_at == 11 * SECOND
    assert book.security is None
    (second,) = book.update(_verdict(12, "attack", "b"))
    assert second.incident_id != closed.incident_id
    assert [item.incident_id for item in book.incidents] == [closed.incident_id, second.incident_id]


def test_doubt_that_becomes_an_attack_keeps_its_id_and_an_attack_stays_one() -> None:
    book = IncidentBook()
    (doubt,) = book.update(_verdict(1, "undecided"))
    (attack,) = book.update(_verdict(2, "attack", "a"))
    (after,) = book.update(_verdict(3, "undecided"))
    assert doubt.incident_id == attack.incident_id == after.incident_id
    assert (doubt.kind, attack.kind, after.kind) == ("undecided", "attack", "attack")
    assert after.verdict.summary == "attack at 2"


def test_an_uptick_runs_beside_an_attack() -> None:
    book = IncidentBook()
    book.update(_verdict(1, "benign_uptick"))
    book.update(_verdict(2, "attack", "a"))
    assert {item.kind for item in book.incidents} == {"benign_uptick", "attack"}
    assert book.security is not None
    assert book.security.kind == "attack"


def test_ids_follow_from_event_time_alone() -> None:
    ids = []
    for _ in range(2):
        book = IncidentBook()
        book.update(_verdict(5, "attack", "a"))
        ids.append(book.incidents[0].incident_id)
    assert ids[0] == ids[1] == "security-0000000005000"


def test_the_surest_verdict_speaks_for_the_incident() -> None:
    book = IncidentBook()
    book.update(_verdict(1, "attack", "a", confidence=0.9))
    (incident,) = book.update(_verdict(2, "attack", "a", confidence=0.6))
    assert incident.verdict.confidence == 0.9


def test_actions_are_kept_with_their_incident() -> None:
    book = IncidentBook()
    (incident,) = book.update(_verdict(1, "attack", "a"))
    action = ActionTaken("quarantine", "a", 1, "done", incident.incident_id)
    other = ActionTaken("quarantine", "b", 1, "done", "another")
    (changed,) = book.record([action, other])
    assert changed.actions == (action,)


def _evidence(feature: str, device: str = "x") -> tuple[Evidence, ...]:
    return (Evidence(device, feature, 5.0, 0.0, 0.0, 4.0, "security"),)


@pytest.mark.parametrize(
    ("then", "same"),
    [
        (_verdict(40, "attack", "a", "b"), True),
        (replace(_verdict(40, "attack", "c"), evidence=_evidence("novel")), True),
        (replace(_verdict(40, "undecided"), evidence=_evidence("novel")), True),
        (replace(_verdict(40, "attack", "c"), evidence=_evidence("throttled")), False),
        (_verdict(40, "benign_uptick"), False),
        (_verdict(90, "attack", "a"), False),
    ],
)
def test_the_same_trouble_soon_after_the_close_is_the_same_incident(then: Verdict, *, same: bool) -> None:
    book = IncidentBook(quiet_seconds=10, merge_seconds=60)
    book.update(replace(_verdict(1, "attack", "a"), evidence=_evidence("novel")))
    (closed,) = book.update(_verdict(12, "normal"))
    (again,) = book.update(then)
    assert (again.incident_id == closed.incident_id) == same
    assert again.closed_at is None
    assert len(book.incidents) == (1 if same else 2)
    assert again.opened_at == (closed.opened_at if same else then.at)


def test_an_incident_is_settled_once_it_cannot_come_back() -> None:
    book = IncidentBook(quiet_seconds=10, merge_seconds=60)
    (incident,) = book.update(_verdict(1, "attack", "a"))
    book.update(_verdict(20, "normal"))
    assert book.settled(30 * SECOND) == []
    assert book.settled(81 * SECOND) == [incident.incident_id]
    assert book.settled(82 * SECOND) == []


def test_what_an_analyst_resolved_is_closed_and_stays_so() -> None:
    book = IncidentBook(quiet_seconds=10)
    (incident,) = book.update(_verdict(1, "attack", "a"))
    resolved = book.resolve(incident, "false_positive", by="ann", at=3 * SECOND)
    assert (resolved.closed_at, resolved.resolution, resolved.resolved_by) == (
        3 * SECOND,
        "false_positive",
        "ann",
    )
    assert book.find(incident.incident_id) == resolved
    assert book.open == ()
    (fresh,) = book.update(_verdict(4, "attack", "a"))
    assert fresh.incident_id != incident.incident_id
    assert book.settled(5 * SECOND) == [incident.incident_id]


def test_only_a_confirmed_attack_counts_as_never_over() -> None:
    book = IncidentBook(quiet_seconds=10)
    (incident,) = book.update(_verdict(1, "attack", "a"))
    assert book.closed_at(incident.incident_id) is None
    book.update(_verdict(20, "normal"))
    assert book.closed_at(incident.incident_id) == 20 * SECOND
    book.resolve(book.incidents[0], "true_positive", by="ann", at=30 * SECOND)
    assert book.closed_at(incident.incident_id) is None
    assert book.closed_at("long ago") == 0


def test_what_is_closed_for_good_is_not_opened_again() -> None:
    book = IncidentBook()
    (incident,) = book.update(_verdict(1, "attack", "a"))
    book.close(2 * SECOND)
    (fresh,) = book.update(_verdict(3, "attack", "a"))
    assert fresh.incident_id != incident.incident_id


def test_actions_reach_a_closed_incident_too() -> None:
    book = IncidentBook(quiet_seconds=10)
    (incident,) = book.update(_verdict(1, "attack", "a"))
    book.update(_verdict(20, "normal"))
    action = ActionTaken("release", "a", 1, "done", incident.incident_id)
    (changed,) = book.record([action])
    assert changed.actions == (action,)
    assert book.find(incident.incident_id) == changed


def test_closed_incidents_are_bounded() -> None:
    book = IncidentBook(quiet_seconds=1, keep=5)
    for t in range(0, 100, 2):
        book.update(_verdict(t, "attack", "a"))
    assert len(book.incidents) <= 6
