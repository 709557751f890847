"""`bench detector` on a few devices: the fleet is labelled truly, and every subject scores the same rows well."""

import pytest

from analytics.windows import COUNTS
from contracts.errors import UnknownName
from thingstorm.bench import detector
from thingstorm.bench.detector_fleet import START, BenchFleet
from thingstorm.bench.detector_load import measure


def test_only_hostile_devices_change_and_only_after_the_onset() -> None:
    fleet = BenchFleet(160, seed=3)
    bad = {fleet.ids[number] for number in fleet.hostile}
    failures = COUNTS.index("num_authorization_failures")
    odd: set[str] = set()
    for second in fleet.seconds(12, onset=6):
        now = {
            row.device_id
            for row in second.rows
            if row.counts[failures] or len(row.topics) > 1 or row.counts[1] > 250 * max(row.counts[0], 1)
        }
        assert not now or second.start >= START + 6
        odd |= now
    assert len(bad) == 8
    assert odd <= bad
    assert len(odd) >= 5


@pytest.mark.parametrize("subject", ["robust", "river"])
def test_a_subject_tells_hostile_windows_from_clean_ones(subject: str) -> None:
    figures = measure(subject, devices=60, ticks=2, seed=5)
    assert figures["auc_pct"] > 90.0
    assert figures["false_pct"] <= 5.0
    assert figures["tick_p50_ms"] >= max(figures["scores_p50_ms"], figures["features_p50_ms"]) > 0.0


def test_an_unknown_case_is_told() -> None:
    with pytest.raises(UnknownName, match="fleet-7"):
        detector.run(peers=False, quick=True, only=["fleet-7"], tell=lambda _line: None)
