from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator_files import BASE, scenario, timeline

from contracts.errors import BadScenario
from contracts.messages import SECOND
from simulator.scenario import load
from simulator.values import Comparison, duration

FLOOD = "id: flood, at: 20s, for: 5s, kind: attack.publish_flood, targets: {group: meter, count: 2}"


def refused(folder: Path, text: str, **options: str) -> BadScenario:
    path = folder / "bad.yaml"
    path.write_text(text)
    with pytest.raises(BadScenario) as caught:
        load(path, overrides=options)
    assert caught.value.fix
    assert caught.value.exit_code == 2
    return caught.value


def test_the_demo_is_valid() -> None:
    demo = load(Path(__file__).parents[2] / "scenarios/demo.yaml")
    assert (demo.name, demo.device_count, demo.train_until) == ("demo", 50, 20 * SECOND)


def test_variables_are_filled_in_and_overridden(tmp_path: Path) -> None:
    assert scenario(tmp_path).device_count == 6
    assert scenario(tmp_path, meters="9").device_count == 9
    assert load(tmp_path / "s.yaml", seed=11).seed == 11


def test_the_sql_of_expectations_keeps_its_dollars(tmp_path: Path) -> None:
    text = BASE + 'expect: {sql: [{name: a, query: "select $$x$$", rows: []}]}\n'
    (tmp_path / "s.yaml").write_text(text)
    assert load(tmp_path / "s.yaml").expect.sql[0].query == "select $$x$$"


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("count: $meters", "count: -1", 8, "count"),
        ("count: $meters", "count: $metres", 8, "$metres"),
        ("count: $meters", "cuont: 6", 8, "did you mean 'count'"),
        ("name: small", "nmae: small", 2, "did you mean 'name'"),
        ("duration: 40s", "duration: 40", 5, "duration"),
        ("duration: 40s", "duration: 0s", 5, "longer than nothing"),
        ("duration: 40s", "duration: 40s\nduration: 50s", 6, "stands twice"),
        ("dist: lognormal", "dist: lognormel", 10, "lognormal"),
        ('peak: "15:00"', "peak: 15:00", 13, "peak"),
        ("choice: [running, idle]", "choice: []", 15, "choice"),
        ("choice: [running, idle]", "chioce: [running]", 15, "choice"),
        ("scenario: v1", "scenario: v1\nmatrix: {a: [1]}", 2, "not supported yet"),
        ("scenario: v1", "scenario: v1\nextends: base.yaml", 2, "not supported yet"),
        ("seed: 3", "seed: three", 4, "seed"),
        ("fleet:", "fleet: []\nfloot:", 7, "did you mean 'fleet'"),
    ],
)
def test_a_wrong_field_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, told: str
) -> None:
    assert old in BASE
    error = refused(tmp_path, BASE.replace(old, new, 1))
    assert error.line == line, error
    assert told in str(error) + error.fix


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (FLOOD.replace("at: 20s", "at: 38s"), "after the end"),
        (FLOOD.replace("count: 2", "count: 7"), "7 targets of 6"),
        (FLOOD.replace("group: meter", "group: metre"), "groups: meter"),
        (FLOOD.replace("publish_flood", "publish_floods"), "did you mean 'attack.publish_flood'"),
        (FLOOD + ", with: {rate_facter: 3}", "did you mean 'rate_factor'"),
        (FLOOD + ", with: {rate_factor: -3}", "rate_factor"),
        (FLOOD.replace("kind: attack", "kind: fault"), "known:"),
    ],
)
def test_a_wrong_phase_is_told_with_its_line(tmp_path: Path, entry: str, told: str) -> None:
    error = refused(tmp_path, BASE + timeline(entry))
    assert error.line == BASE.count("\n") + 2
    assert told in str(error) + error.fix


def test_phases_and_expectations_must_fit_together(tmp_path: Path) -> None:
    assert "two phases" in str(refused(tmp_path, BASE + timeline(FLOOD, FLOOD)))
    unknown = BASE + timeline(FLOOD) + "expect: {phases: {flod: {verdict: attack}}}\n"
    assert "flood" in refused(tmp_path, unknown).fix
    learns_attack = BASE + "train: {until: 25s}\n" + timeline(FLOOD)
    assert "learn" in str(refused(tmp_path, learns_attack))
    doubled = BASE + BASE[BASE.index("  - group") :]
    assert "two groups" in str(refused(tmp_path, doubled))
    assert "no variable" in str(refused(tmp_path, BASE, metres="3"))


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [\n", "\tx: 1\n", "just words\n", "scenario: v1\n"])
def test_what_is_no_scenario_is_refused(tmp_path: Path, text: str) -> None:
    assert "bad.yaml:" in str(refused(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadScenario, match="cannot be read"):
        load(tmp_path / "none.yaml")


@given(st.data())
def test_a_mangled_file_is_refused_or_valid_never_a_traceback(data: st.DataObject) -> None:
    import tempfile

    text = BASE + timeline(FLOOD)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    put = data.draw(st.text(alphabet="abz019:{}[]$-'\"# \n,", max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.yaml"
        path.write_text(text[:start] + put + text[end:])
        try:
            load(path)
        except BadScenario as error:
            assert error.line >= 1
            assert error.fix


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7200), ("1.5s", 1.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds * SECOND


@pytest.mark.parametrize("text", ["30", "s", "5 m", "-1s", "1d", 30, None, ""])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="no duration"):
        duration(text)


@pytest.mark.parametrize(
    ("given_value", "holds", "fails", "text"),
    [
        ({"lte": "60s"}, 60, 60.1, "<= 60s"),
        ({"gte": 0.95}, 0.95, 0.9, ">= 0.95"),
        ({"gt": 1}, 2, 1, "> 1"),
        ({"ne": 0}, 1, 0, "!= 0"),
        (0, 0, 1, "= 0"),
    ],
)
def test_comparisons(given_value: object, holds: float, fails: float, text: str) -> None:
    comparison = Comparison.of(given_value)
    assert comparison.holds(holds)
    assert not comparison.holds(fails)
    assert str(comparison) == text


@pytest.mark.parametrize("value", [{"lte": 1, "gte": 0}, {"about": 1}, {}, "soon", True])
def test_what_is_no_comparison(value: object) -> None:
    with pytest.raises(ValueError, match=r"comparison|duration|number"):
        Comparison.of(value)
