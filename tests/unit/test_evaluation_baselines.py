"""The dumb baselines: what they flag, what they miss, and that the model's response does not blind them."""

from dataclasses import replace

from model_fleet import START as FLEET_START
from model_fleet import Fleet
from report_records import labels, record

from analytics.windows import Second
from contracts.messages import SECOND, ActionTaken
from thingstorm.evaluation.baselines import played_by, seen
from thingstorm.report.record import PhaseSpan, Record

TRAINED = 30
ONSET, LAST = 40, 30
ZERO = FLEET_START * SECOND
FLOOD = PhaseSpan("flood", "attack.publish_flood", ZERO + ONSET * SECOND, ZERO + (ONSET + LAST) * SECOND)


def _fleet() -> Fleet:
    return Fleet(12, seed=7)


def _record(*bad: str, shut: dict[str, int] | None = None) -> Record:
    actions = [
        ActionTaken("quarantine", name, ZERO + at * SECOND, "done") for name, at in (shut or {}).items()
    ]
    told = record([FLOOD], labels(FLOOD, *bad), [], actions)
    return replace(told, started_at=ZERO, ended_at=ZERO + 80 * SECOND)


def _flagged(name: str, seconds: list[Second], told: Record) -> set[str]:
    what = seen(seconds, told, train_until=ZERO + TRAINED * SECOND)
    return {device for _, who in played_by(name, what, told)[1] for device in who}


def test_traffic_that_goes_on_as_it_was_flags_nobody() -> None:
    four = Fleet(12, seed=8).seconds(8)[4:]  # after the connects
    seconds = [Second(FLEET_START + n, four[n % 4].rows) for n in range(80)]
    for name in ("static", "max_z"):
        assert _flagged(name, seconds, _record()) == set()


def test_a_flood_is_found_by_the_largest_z_at_once_and_by_five_minutes_late_or_never() -> None:
    fleet = _fleet()
    fleet.flood(ONSET, LAST, (3,), 20.0)
    seconds, told = fleet.seconds(80), _record("dev-0003")
    what = seen(seconds, told, train_until=ZERO + TRAINED * SECOND)
    judged, flags = played_by("max_z", what, told)
    first = next(at for at, who in flags if who)
    assert ONSET < (first - ZERO) / SECOND <= ONSET + 4
    assert judged.actions[0].target == "dev-0003"
    assert {verdict.kind for verdict in judged.verdicts} == {"normal", "attack"}
    # 20 x for 30 s is 600 messages, and the limit for five minutes is twice 300: it just misses or just finds
    assert _flagged("static", seconds, told) <= {"dev-0003"}


def test_refused_messages_are_found_by_static_thresholds() -> None:
    fleet = _fleet()
    fleet.extras(ONSET, LAST, (2,), "num_authorization_failures", 1.0)
    assert _flagged("static", fleet.seconds(80), _record("dev-0002")) == {"dev-0002"}


def test_an_uptick_of_everybody_is_taken_for_an_attack_by_the_largest_z() -> None:
    fleet = _fleet()
    fleet.rollout(ONSET, LAST, factor=6.0)
    assert len(_flagged("max_z", fleet.seconds(80), _record())) >= 6


def test_what_the_model_shut_out_goes_on_for_the_baselines() -> None:
    fleet = _fleet()
    fleet.flood(ONSET, LAST, (3,), 20.0)
    shut_at = ONSET + 5
    told = _record("dev-0003", shut={"dev-0003": shut_at})
    silent = [
        replace(one, rows=tuple(row for row in one.rows if row.device_id != "dev-0003"))
        if one.start >= FLEET_START + shut_at
        else one
        for one in fleet.seconds(80)
    ]
    counts = seen(silent, told, train_until=ZERO + TRAINED * SECOND)
    line = counts.counts[counts.ids.index("dev-0003"), :, 0]
    assert line[ONSET + 6 : ONSET + LAST].min() > 5.0
    assert line[ONSET + LAST + 1 :].max() == 0.0, "the attack is over, the device is still shut out"


def test_a_run_of_nobody_is_survived() -> None:
    for name in ("static", "max_z"):
        assert _flagged(name, [Second(FLEET_START + n) for n in range(5)], _record()) == set()
