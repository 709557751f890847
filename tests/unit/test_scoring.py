"""`thingstorm score`: files in, files out, and what is told of bad ones."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from analytics.series import QUIET_ROWS, score_series, seconds_of
from contracts.errors import ConfigError
from thingstorm.cli import app
from thingstorm.runtime.scoring import Scored, score_file

ROWS = 400
SPIKE = 300


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a spike, a value that is missing and one that is none."""
    values = [str(50 + (row * 7) % 11) for row in range(ROWS)]
    values[SPIKE], values[40], values[41] = "900", "", "broken"
    lines = [
        f"2026-11-{1 + row // 24:02d} {row % 24:02d}:00:00,x,{value}" for row, value in enumerate(values)
    ]
    path = tmp_path_factory.mktemp("series") / "requests.csv"
    path.write_text("at,other,requests\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def _score(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, arguments), "--time", "at", "--value", "requests"])


def test_each_row_stands_in_the_result_with_its_score(series: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    done = _score(series, "--out", out)
    assert done.exit_code == 0
    assert "1 alarms at 0.5: 2026-11-13 12:00:00" in done.stderr
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["timestamp", "value", "anomaly_score"]
    times = [seconds_of(row["timestamp"]) for row in rows]
    values = [float(row["value"]) if row["value"] not in ("", "broken") else float("nan") for row in rows]
    assert len(rows) == ROWS
    assert [float(row["anomaly_score"]) for row in rows] == score_series(times, values).tolist()
    assert rows[41]["value"] == "broken"


def test_without_a_file_the_scores_are_printed_and_a_threshold_adds_alarms(series: Path) -> None:
    rows = list(csv.DictReader(_score(series, "--threshold", "0.5").stdout.splitlines()))
    assert [number for number, row in enumerate(rows) if row["alarm"] == "1"] == [SPIKE]


def test_an_event_that_grows_is_one_alarm() -> None:
    scores = (0.6,) + (0.0,) * 9 + (0.9,) + (0.0,) * QUIET_ROWS + (0.7,)
    scored = Scored(("",) * len(scores), ("",) * len(scores), scores, missing=0, learning=0)
    assert scored.alarms(0.5) == [0, len(scores) - 1]


def test_json_tells_the_alarms(series: Path) -> None:
    told = json.loads(_score(series, "--json").stdout)
    assert (told["rows"], told["missing"], told["learning_rows"]) == (ROWS, 2, 60)
    (alarm,) = told["alarms"]
    assert (alarm["row"], alarm["value"]) == (SPIKE, "900")


def test_nothing_alarms_in_the_learning_time(series: Path) -> None:
    assert json.loads(_score(series, "--json", "--learning", str(SPIKE + 1)).stdout)["alarms"] == []


def test_a_header_alone_is_a_series_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    path.write_text("at,requests\n", encoding="utf-8")
    assert _score(path).stdout == "timestamp,value,anomaly_score\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "is empty"), ("at,request\n1,2\n", "unknown column 'requests'"), (None, "cannot read")],
)
def test_a_file_that_cannot_be_scored_is_told(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=told) as caught:
        score_file(path, time="at", value="requests")
    assert caught.value.fix


def test_short_rows_and_bytes_that_are_no_text_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(b"\xef\xbb\xbfat,requests\n1\n2,\xff\n\n3,4\n")
    scored = score_file(path, time="at", value="requests")
    assert scored.values == ("", "�", "4")
    assert scored.missing == 2
