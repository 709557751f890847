from report_records import action, labels, phase, record, verdict

from thingstorm.report.judge import alerts_of, false_devices, judge

ROLLOUT = phase("rollout", "benign.firmware_rollout", 10, 20)
FLOOD = phase("flood", "attack.publish_flood", 30, 40)


def test_an_attack_is_found_with_its_devices_and_times() -> None:
    seen = record(
        [FLOOD],
        labels(FLOOD, "a", "b", after=1),
        [
            verdict(33, "normal"),
            verdict(34, "attack", "a", late=0.5),
            verdict(36, "attack", "a", "b", late=0.5),
        ],
        [action("quarantine", "a", 34.75), action("quarantine", "b", 36.7)],
    )
    (result,) = judge(seen)
    assert (result.verdict, result.flagged, result.recall, result.false_positives) == (
        "attack",
        ("a", "b"),
        1.0,
        0,
    )
    assert result.detect_seconds == 3.0  # the first hostile message came at 31 s, the window ended at 34 s
    assert (result.quarantined, result.quarantine_seconds) == (("a", "b"), 0.25)


def test_a_missed_attack_has_no_time_and_no_recall() -> None:
    (result,) = judge(record([FLOOD], labels(FLOOD, "a"), [verdict(35, "benign_uptick")]))
    assert (result.verdict, result.recall, result.detect_seconds) == ("benign_uptick", 0.0, None)
    assert result.quarantine_seconds is None


def test_innocent_devices_count_as_false_positives_once() -> None:
    seen = record(
        [FLOOD],
        labels(FLOOD, "a"),
        [verdict(34, "attack", "a", "innocent"), verdict(35, "attack", "innocent")],
    )
    (result,) = judge(seen)
    assert (result.false_positives, result.flagged) == (1, ("a", "innocent"))
    assert false_devices(seen) == {"innocent"}


def test_an_attack_verdict_in_a_benign_phase_is_held_against_it() -> None:
    seen = record([ROLLOUT], labels(ROLLOUT, "a"), [verdict(12, "benign_uptick"), verdict(15, "attack", "a")])
    (result,) = judge(seen)
    assert result.verdict == "attack"
    assert false_devices(seen) == {"a"}


def test_an_attack_inside_a_benign_phase_belongs_to_the_attack() -> None:
    inside = phase("flood", "attack.publish_flood", 12, 18)
    seen = record(
        [ROLLOUT, inside],
        labels(ROLLOUT, "a", "b") + labels(inside, "b"),
        [verdict(11, "benign_uptick"), verdict(15, "attack", "b"), verdict(20, "benign_uptick")],
        [action("alert", "people", 15.2)],
    )
    rollout, flood = judge(seen)
    assert (rollout.verdict, flood.verdict) == ("benign_uptick", "attack")
    assert (alerts_of(rollout, seen), alerts_of(flood, seen)) == (0, 1)


def test_verdicts_shortly_after_a_phase_still_belong_to_it_and_later_ones_do_not() -> None:
    seen = record([FLOOD], labels(FLOOD, "a"), [verdict(49, "attack", "a"), verdict(51, "attack", "a")])
    (result,) = judge(seen)
    assert result.verdict == "attack"
    assert false_devices(seen) == {"a"}  # at 51 s the device had been quiet for longer than any window


def test_an_attack_verdict_without_devices_outside_any_attack_is_false() -> None:
    assert false_devices(record([ROLLOUT], [], [verdict(15, "attack")])) == {"?"}


def test_a_quarantine_that_failed_is_not_counted() -> None:
    seen = record(
        [FLOOD],
        labels(FLOOD, "a"),
        [verdict(34, "attack", "a")],
        [action("quarantine", "a", 34.2, outcome="over the cap")],
    )
    assert judge(seen)[0].quarantined == ()


def test_where_nobody_knows_who_was_hostile_no_device_is_named_wrongly() -> None:
    unknown = phase("unknown", "attack.recorded", 30, 40)
    seen = record(
        [ROLLOUT, unknown], labels(unknown, "*"), [verdict(33, "attack", "a"), verdict(60, "attack", "late")]
    )
    _, result = judge(seen)
    assert (result.verdict, result.expected_devices, result.flagged) == ("attack", (), ("a",))
    assert (result.recall, result.false_positives, result.detect_seconds) == (1.0, 0, 3.0)
    assert false_devices(seen) == {"late"}
