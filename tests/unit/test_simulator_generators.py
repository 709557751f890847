"""Generators of payload values: what they give, that they repeat, and what they refuse."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.messages import SECOND
from simulator import recorded
from simulator.generators import HOUR
from simulator.payloads import Field, Generator


def make(kind: str, spec: Any, seed: int = 1) -> Generator:
    return Field.model_validate({kind: spec}).generator(random.Random(seed))


def refused(kind: str, spec: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Field.model_validate({kind: spec})
    return str(caught.value)


class TestDecay:
    def test_it_halves_until_its_minimum(self) -> None:
        level = make("decay", {"start": 80, "min": 15, "half_life": "12h"})
        assert [level(5 * HOUR + h * HOUR) for h in (0, 12, 24, 36, 1000)] == [80, 40, 20, 15, 15]

    def test_it_loses_a_rate_an_hour(self) -> None:
        level = make("decay", {"start": 100, "min": 40, "rate": 20})
        assert [level(h * HOUR) for h in (0, 1, 3, 4)] == [100, 80, 40, 40]

    def test_it_is_charged_and_falls_anew(self) -> None:
        level = make("decay", {"start": 100, "min": 40, "rate": 20, "recharge": "1h"})
        seen = [level(hour * HOUR // 2) for hour in range(11)]
        assert seen == [100, 90, 80, 70, 60, 50, 40, 70, 100, 90, 80]

    def test_a_minimum_of_zero_is_never_reached_by_halving(self) -> None:
        level = make("decay", {"start": 8, "half_life": "1h"})
        assert level(0) == 8
        assert 0 < level(9 * HOUR) < 0.02

    def test_spread_makes_devices_differ_and_not_their_repetition(self) -> None:
        spec = {"start": 100, "rate": 10, "spread": "20%"}
        ends = []
        for seed in (1, 2, 1):
            level = make("decay", spec, seed)
            level(0)
            ends.append(level(2 * HOUR))
        assert ends[0] == ends[2] != ends[1]
        assert all(76 <= end <= 84 for end in ends)

    @pytest.mark.parametrize(
        ("spec", "told"),
        [
            ({"start": 1}, "one of them"),
            ({"start": 1, "rate": 1, "half_life": "1h"}, "one of them"),
            ({"start": 1, "min": 1, "rate": 1}, "starts above min"),
            ({"start": 1, "half_life": "1h", "recharge": "1h"}, "never reaches 0"),
            ({"start": 1, "min": -5, "half_life": "1h"}, "never reaches 0"),
            ({"start": 1, "rate": 0}, "greater than 0"),
        ],
    )
    def test_what_cannot_fall_is_refused(self, spec: dict[str, Any], told: str) -> None:
        assert told in refused("decay", spec)

    @given(
        st.floats(1, 1e6),
        st.floats(0.01, 0.99),
        st.sampled_from([{"half_life": "7m"}, {"rate": 13}]),
        st.lists(st.integers(0, 10**18), min_size=1),
    )
    def test_it_stays_between_its_bounds(
        self, start: float, part: float, how: dict[str, Any], times: list[int]
    ) -> None:
        level = make("decay", {"start": start, "min": start * part, "recharge": "3m", **how})
        assert all(start * part - 0.001 <= level(now) <= start + 0.001 for now in times)


class TestSeries:
    def test_values_come_in_order_and_again(self) -> None:
        following = make("series", [1, "b", None])
        assert [following(0) for _ in range(7)] == [1, "b", None, 1, "b", None, 1]

    def test_the_last_one_can_be_held(self) -> None:
        following = make("series", {"values": [1, 2], "at_end": "hold"})
        assert [following(0) for _ in range(4)] == [1, 2, 2, 2]

    @pytest.mark.parametrize(("at_end", "last"), [("repeat", 1), ("hold", 2)])
    def test_each_can_last_a_while_from_the_first_reading(self, at_end: str, last: int) -> None:
        following = make("series", {"values": [1, 2], "every": "10s", "at_end": at_end})
        seen = [following((1000 + second) * SECOND) for second in (0, 9, 10, 19, 20, 29)]
        assert seen == [1, 1, 2, 2, last, last]

    def test_nothing_to_play_is_refused(self) -> None:
        assert "series is empty" in refused("series", [])
        assert "at least 1 item" in refused("series", {"values": []})


class TestRecorded:
    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, Path]:
        rows = [{"t": 0, "v": 1}, {"t": 1, "v": 2.5}, {"t": 2, "v": None}, {"t": 3, "v": 4}]
        kinds = {kind: tmp_path / f"data.{kind}" for kind in ("csv", "ndjson", "jsonl", "parquet")}
        kinds["csv"].write_text("t,v\n0,1\n1,2.5\n2,\n3,4\n")
        for kind in ("ndjson", "jsonl"):
            kinds[kind].write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
        pq.write_table(pa.Table.from_pylist(rows), kinds["parquet"])
        return kinds

    @pytest.mark.parametrize("kind", ["csv", "ndjson", "jsonl", "parquet"])
    def test_a_column_is_played_and_looped(self, files: dict[str, Path], kind: str) -> None:
        following = make("recorded", {"file": str(files[kind]), "column": "v"})
        assert [following(0) for _ in range(5)] == [1, 2.5, None, 4, 1]

    def test_devices_can_begin_at_places_of_their_own(self, files: dict[str, Path]) -> None:
        spec = {"file": str(files["csv"]), "column": "t", "start": "random"}
        firsts = [make("recorded", spec, seed)(0) for seed in range(40)]
        assert set(firsts) == {0, 1, 2, 3}
        assert firsts == [make("recorded", spec, seed)(0) for seed in range(40)]

    def test_a_value_can_last_a_while(self, files: dict[str, Path]) -> None:
        following = make("recorded", {"file": str(files["csv"]), "column": "t", "every": "1m"})
        assert [following(second * SECOND) for second in (7, 66, 67, 187, 247)] == [0, 0, 1, 3, 0]

    def test_it_is_read_once_and_again_when_it_has_changed(self, tmp_path: Path) -> None:
        file = tmp_path / "x.csv"
        file.write_text("v\n1\n")
        spec = Field.model_validate({"recorded": {"file": str(file), "column": "v"}})
        file.write_text("v\n2000\n")
        assert spec.generator(random.Random(1))(0) == 1
        assert make("recorded", {"file": str(file), "column": "v"})(0) == 2000

    def test_cells_are_numbers_only_if_they_look_like_it(self, tmp_path: Path) -> None:
        file = tmp_path / "x.csv"
        file.write_text("v\n007\n1e3\n-2\nnan\n1_000\nidle\n" + "9" * 5000 + "\n")
        following = make("recorded", {"file": str(file), "column": "v"})
        assert [following(0) for _ in range(7)] == [7, 1000.0, -2, None, "1_000", "idle", None]

    @pytest.mark.parametrize(
        ("name", "content", "told"),
        [
            ("none.csv", None, "there is no file"),
            ("x.txt", b"v\n1\n", "of no known kind"),
            ("x.csv", b"a,b\n1,2\n", "has no column 'v'; it has: a, b"),
            ("x.csv", b"", "has no column 'v'; it has: none"),
            ("x.csv", b"v\n", "has no rows"),
            ("x.csv", b"v\n\xff\xfe\n", "is no CSV file"),
            ("x.ndjson", b'{"v": 1}\n{"v": \n', "line 2, is no JSON"),
            ("x.ndjson", b'{"v": 1}\n[1]\n', "line 2, is no JSON object"),
            ("x.ndjson", b'{"v": 1}\n\n{"w": 1}\n', "no column 'v' in line 3; it has: w"),
            ("x.parquet", b"PAR1 or not", "is no Parquet file"),
            ("x" * 300 + ".csv", None, "cannot be read"),
        ],
    )
    def test_what_cannot_be_read_is_refused(
        self, tmp_path: Path, name: str, content: bytes | None, told: str
    ) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert told in refused("recorded", {"file": str(tmp_path / name), "column": "v"})

    def test_values_that_are_no_json_are_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "x.parquet"
        pq.write_table(pa.table({"v": [b"\x00\x01"]}), file)
        assert "no JSON value" in refused("recorded", {"file": str(file), "column": "v"})

    def test_what_is_too_large_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "x.csv"
        file.write_text("v\n1\n2\n3\n")
        monkeypatch.setattr(recorded, "MAX_ROWS", 2)
        assert "more than 2 rows" in refused("recorded", {"file": str(file), "column": "v"})
        monkeypatch.setattr(recorded, "MAX_BYTES", 3)
        assert "larger than" in refused("recorded", {"file": str(file), "column": "v"})


@pytest.mark.parametrize(
    ("spec", "numeric"),
    [
        ({"walk": {"start": 1, "step": 1, "min": 0, "max": 2}}, True),
        ({"expression": "1"}, True),
        ({"const": 3}, True),
        ({"const": "3"}, False),
        ({"const": True}, False),
        ({"choice": [1, 2.5]}, True),
        ({"choice": [1, "b"]}, False),
        ({"series": [1, None]}, True),
        ({"series": [[1]]}, False),
    ],
)
def test_a_field_knows_whether_an_expression_can_use_it(spec: dict[str, Any], *, numeric: bool) -> None:
    assert Field.model_validate(spec).numeric is numeric


SPECS: tuple[tuple[str, Any], ...] = (
    ("walk", {"start": 5, "step": 1, "min": 0, "max": 9}),
    ("daily", {"mean": 21, "amplitude": 4}),
    ("sine", {"mean": 0, "amplitude": 1, "period": "7s"}),
    ("decay", {"start": 9, "min": 1, "half_life": "10s", "recharge": "3s", "spread": 0.5}),
    ("series", {"values": [1, 2, 3], "every": "2s"}),
    ("expression", "sin(t) + age * noise()"),
    ("choice", [1, 2, 3]),
    ("const", 1),
)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SPECS), st.integers(), st.lists(st.integers(0, 10**18), max_size=30))
def test_the_same_seed_gives_the_same_values(spec: tuple[str, Any], seed: int, times: list[int]) -> None:
    first, second = make(*spec, seed=seed), make(*spec, seed=seed)
    values = [first(now) for now in times]
    assert values == [second(now) for now in times]
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in values)
