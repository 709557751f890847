"""From rows to signs: what the gateway tells of payloads, topics and connections becomes features."""

from collections.abc import Sequence

import numpy as np
import pytest

from analytics.baseline import learn_baseline
from analytics.features import measure
from analytics.history import History
from analytics.windows import COUNTS, DeviceRow, Second
from contracts.messages import Window

TRAIN, START = 60, 1_767_600_000
SHAPES = ("0 {bar:n,fw:s}", "1 {bar:n}", "2 {bar:n,fw:s,x:s}")
IDS = [f"p{number}" for number in range(8)]


class _Site:
    """Eight pumps with a reading a second, learnt for a minute; then what the test makes of them."""

    def __init__(self, prefix: str = "p") -> None:
        self.rng = np.random.default_rng(1)
        self.ids = [f"{prefix}{number}" for number in range(8)]
        self.values = dict.fromkeys(self.ids, 6.0)
        self.now = START
        seconds = [self.second() for _ in range(TRAIN)]
        self.baseline = learn_baseline(seconds)
        self.history = History()
        for second in seconds:
            self.history.advance(second, self.baseline)

    def row(
        self, name: str, *, shape: int = 0, size: int = 60, value: float | None = None, **counts: int
    ) -> DeviceRow:
        self.values[name] += 0.1 * self.rng.normal()
        told = {"num_messages_received": 1, "message_bytes_received": size, "message_byte_size_max": size}
        values = dict.fromkeys(COUNTS, 0) | told | counts
        reading = self.values[name] if value is None else value
        return DeviceRow(
            name,
            tuple(values.values()),
            (f"dt/pump/{name}/telemetry",),
            (f"0 {shape} {told['num_messages_received']}",),
            (f"0 {reading!r} bar",),
        )

    def second(self, odd: Sequence[DeviceRow] = (), *, half_open: int = 0) -> Second:
        named = {row.device_id for row in odd}
        rows = [self.row(name) for name in self.ids if name not in named]
        self.now += 1
        return Second(self.now - 1, (*rows, *odd), shapes=SHAPES, half_open=half_open)

    def measure(self) -> tuple[dict[str, Window], Window]:
        windows, fleet = measure(self.history, self.baseline)
        return {window.device_id: window for window in windows}, fleet

    def play(self, seconds: int, **odd: object) -> dict[str, Window]:
        for _ in range(seconds):
            row = [self.row(self.ids[0], **odd)] if odd else []  # type: ignore[arg-type]  # keywords of `row`
            self.history.advance(self.second(row), self.baseline)
        return self.measure()[0]


@pytest.fixture
def site() -> _Site:
    return _Site()


def test_a_quiet_site_shows_nothing(site: _Site) -> None:
    for window in site.play(10).values():
        features = window.features
        names = (
            "malformed",
            "replayed",
            "takeovers",
            "rejected",
            "size_jump",
            "changed",
            "value_frozen",
            "visits",
        )
        assert {name: features[name] for name in names} == dict.fromkeys(names, 0.0)
        assert features["value_shift"] < 4.0
        assert features["known"] == 1.0


def test_payloads_that_lack_a_field_are_malformed(site: _Site) -> None:
    windows = site.play(4, shape=1)
    assert windows["p0"].features["malformed_events"] == 4.0
    assert windows["p0"].features["malformed"] > 2.0
    assert windows["p1"].features["malformed"] == 0.0


def test_new_fields_in_the_middle_of_a_session_are_a_change(site: _Site) -> None:
    windows = site.play(5, shape=2)
    assert windows["p0"].features["changed_events"] == 5.0
    assert windows["p0"].features["changed_share"] == pytest.approx(1 / 8)
    assert windows["p0"].features["malformed"] == 0.0


def test_after_a_reconnect_they_are_a_new_firmware(site: _Site) -> None:
    site.play(1, shape=2, num_connects=1)
    assert site.play(5, shape=2)["p0"].features["changed_events"] == 0.0


def test_repeats_beyond_what_the_type_does_anyway_are_replays(site: _Site) -> None:
    features = site.play(4, num_replayed=1)["p0"].features
    assert (features["replayed_events"], features["replayed_seconds"]) == (4.0, 4.0)
    assert features["replayed"] > 2.0


def test_takeovers_and_rejections_count_for_a_minute(site: _Site) -> None:
    features = site.play(4, num_takeovers=1, num_foreign_takeovers=1, num_rejected=1)["p0"].features
    assert features["takeovers"] > 2.4
    assert features["takeovers_foreign"] == features["rejected_events"] == 4.0
    quiet = site.play(20)["p0"].features
    assert (quiet["takeovers"], quiet["takeover_events"]) == (0.0, 4.0), "nothing of it is recent any more"


def test_a_payload_larger_than_any_learnt_jumps_in_doublings(site: _Site) -> None:
    features = site.play(3, size=60 * 16)["p0"].features
    assert features["size_jump"] == pytest.approx(4.0, abs=0.1)
    assert features["large_seconds"] == 3.0


def test_a_value_that_leaps_shifts_and_one_that_stops_is_frozen(site: _Site) -> None:
    assert site.play(3, value=60.0)["p0"].features["value_shift"] > 20.0
    frozen = _Site().play(12, value=6.0)["p0"].features
    assert frozen["value_same"] >= 10.0
    assert frozen["value_frozen"] >= 20.0


def test_what_all_pumps_measure_is_no_shift_of_one(site: _Site) -> None:
    for _ in range(4):
        rows = [site.row(name, value=site.values[name] + 30.0) for name in IDS]
        site.history.advance(site.second(rows), site.baseline)
    assert max(window.features["value_shift"] for window in site.measure()[0].values()) < 5.0


def test_strangers_that_connect_and_say_nothing_are_visits(site: _Site) -> None:
    counts = dict.fromkeys(COUNTS, 0) | {"num_connects": 1}
    for number in range(12):
        guest = DeviceRow(f"guest{number % 4}", tuple(counts.values()))
        site.history.advance(site.second([guest]), site.baseline)
    windows, fleet = site.measure()
    assert (fleet.features["visits"], fleet.features["visitors"]) == (12.0, 4.0)
    assert windows["guest0"].features["known"] == 0.0
    site.play(6)
    assert site.measure()[1].features["visits"] == 0.0, "they stopped coming: nobody is accused again"


def test_half_open_connections_count_when_they_last(site: _Site) -> None:
    seen = []
    for waiting in (9, 9, 9, 0):
        site.history.advance(site.second(half_open=waiting), site.baseline)
        seen.append(site.measure()[1].features["half_open"])
    assert seen == [0.0, 0.0, 9.0, 0.0]


def test_changed_devices_are_held_against_those_that_did_not_change(site: _Site) -> None:
    for _ in range(20):
        rows = [replace_count(site.row(name, shape=2), 3) for name in IDS[:3]]
        site.history.advance(site.second(rows), site.baseline)
    windows = site.measure()[0]
    assert windows["p0"].features["ratio_peers"] == pytest.approx(1.0, abs=0.1), "not 1.6: they excuse nobody"
    assert windows["p0"].features["steady_ratio"] == pytest.approx(3.0, abs=0.3)
    assert windows["p5"].features["steady_ratio"] == pytest.approx(1.0, abs=0.2)


def test_names_do_not_matter() -> None:
    found = []
    for prefix in ("p", "a-much-longer-name-"):
        windows = _Site(prefix).play(5, shape=1).values()
        found.append([window.features for window in windows])
    assert found[0] == found[1]


def replace_count(row: DeviceRow, messages: int) -> DeviceRow:
    values = dict(zip(COUNTS, row.counts, strict=True))
    values |= {"num_messages_received": messages, "message_bytes_received": messages * 60}
    place, shape, _ = row.shapes[0].split(" ")
    return row._replace(counts=tuple(values.values()), shapes=(f"{place} {shape} {messages}",))


def test_values_walk_farther_while_all_peers_take_more_readings(site: _Site) -> None:
    alone, together = _Site(), site
    for _ in range(6):
        leap = alone.row("p0", value=8.0)
        alone.history.advance(alone.second([leap]), alone.baseline)
        rows = [together.row(name, num_messages_received=9) for name in IDS[1:]]
        leap = together.row("p0", value=8.0, num_messages_received=9)
        together.history.advance(together.second([leap, *rows]), together.baseline)
    usual = alone.measure()[0]["p0"].features["value_shift"]
    more = together.measure()[0]["p0"].features["value_shift"]
    assert 1.5 < usual / more < 3.2, "nine times the steps go three times as far, over 15 s not yet so far"
