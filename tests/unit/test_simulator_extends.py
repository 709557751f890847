"""Files that extend files, and files that make several scenarios."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import BadScenario
from contracts.messages import SECOND
from simulator import extends, matrix
from simulator.extends import read_all
from simulator.scenario import load, load_all

FILES = Path(__file__).parent / "simulator_scenarios"
FULL = FILES / "full.yaml"

Write = Callable[[str, str], Path]

PLAIN = """\
scenario: v1
name: plain
vars: {meters: 4, rate: 1s}
duration: 30s
fleet:
  - group: m
    count: $meters
    topic: t
    every: $rate
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    return written


def refused(file: Path, **options: Any) -> BadScenario:
    with pytest.raises(BadScenario) as caught:
        load_all(file, **options)
    return caught.value


def place(error: BadScenario) -> tuple[str, int]:
    return Path(error.file).name, error.line


class TestExtends:
    def test_mappings_are_merged_and_lists_replaced(self, write: Write) -> None:
        write("base.yaml", "a: {b: {c: 1, d: 2}, l: [1, 2]}\nx: 1\ny: 1\n")
        file = write("x.yaml", "extends: base.yaml\na: {b: {d: 3, e: 4}, l: [9]}\ny: {z: 1}\n")
        assert read_all(file).values == {
            "a": {"b": {"c": 1, "d": 3, "e": 4}, "l": [9]},
            "x": 1,
            "y": {"z": 1},
        }

    def test_a_whole_scenario_is_built_on_another(self) -> None:
        scenario = load(FULL, overrides={"bad": "1", "mean": "1s"}, seed=1)
        assert (scenario.name, scenario.clock.mode, scenario.clock.start) == (
            "full",
            "virtual",
            "2026-03-01T06:00:00Z",
        )
        assert [group.group for group in scenario.fleet] == ["meter", "cell"]
        assert (scenario.duration, scenario.train_until) == (240 * SECOND, 60 * SECOND)
        assert set(scenario.expect.overall) == {"false_positives", "lost"}
        assert set(scenario.expect.phases) == {"flood"}

    def test_chains_and_folders_are_followed(self, write: Write) -> None:
        write("a/one.yaml", PLAIN)
        write("b/two.yaml", "extends: ../a/one.yaml\nvars: {meters: 5}\nseed: 2\n")
        scenario = load(write("three.yaml", "extends: b/two.yaml\nname: three\nseed: 3\n"))
        assert (scenario.name, scenario.seed, scenario.device_count) == ("three", 3, 5)

    def test_recorded_files_lie_beside_the_file_that_names_them(self, write: Write) -> None:
        payload = "    payload: {v: {recorded: {file: data/v.csv, column: v}}}\n"
        write("a/base.yaml", PLAIN + payload)
        file = write("x.yaml", "extends: a/base.yaml\n")
        assert f"there is no file '{file.parent}/a/data/v.csv'" in str(refused(file))
        write("a/data/v.csv", "v\n7\n")
        recorded = load(file).fleet[0].payload["v"].recorded
        assert recorded is not None
        assert recorded.values == (7,)

    @pytest.mark.parametrize(
        ("base", "top", "where", "told"),
        [
            (PLAIN.replace("topic: t", "topic: +"), "name: x\n", ("base.yaml", 8), "wildcard"),
            (PLAIN.replace("topic", "topik"), "name: x\n", ("base.yaml", 8), "unknown key 'topik'"),
            (PLAIN.replace("$rate", "$raet"), "name: x\n", ("base.yaml", 9), "unknown variable $raet"),
            (PLAIN.replace("duration: 30s\n", ""), "name: x\n", ("x.yaml", 1), "'duration' is missing"),
            (PLAIN, "duration: 1\n", ("x.yaml", 2), "no duration"),
            (PLAIN, "\n\nvars: {rate: 0s}\n", ("base.yaml", 9), "longer than nothing"),
            (PLAIN, "clock: {mode: sundial}\n", ("x.yaml", 2), "'wall' or 'virtual'"),
            (PLAIN + "clock:\n  mode: sundial\n", "clock: {speed: 2}\n", ("base.yaml", 11), "'wall' or 'virtual'"),
            (PLAIN + "train: {until: 5m}\n", "name: x\n", ("base.yaml", 10), "train.until"),
            ("a: [\n", "name: x\n", ("base.yaml", 2), "not valid YAML"),
            ("- 1\n", "name: x\n", ("base.yaml", 1), "is no scenario"),
        ],
    )  # fmt: skip
    def test_an_error_stands_in_the_file_of_the_value(
        self, write: Write, base: str, top: str, where: tuple[str, int], told: str
    ) -> None:
        write("base.yaml", base)
        error = refused(write("x.yaml", f"extends: base.yaml\n{top}"))
        assert place(error) == where
        assert told in str(error)
        assert error.fix

    def test_what_replaces_a_list_hides_the_places_of_the_base(self, write: Write) -> None:
        write("base.yaml", PLAIN.replace("every: $rate", "every: {mean: $rate}"))
        fleet = "\n\nfleet:\n  - group: m\n    count: 1\n    topic: t\n    every: 0s\n"
        error = refused(write("x.yaml", f"extends: base.yaml\n{fleet}"))
        assert (place(error), "longer than nothing" in str(error)) == (("x.yaml", 8), True)

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("none.yaml", "there is no such file"),
            (".", "there is no such file"),
            ("''", "names no file"),
            ("[a.yaml]", "names no file"),
            ("3", "names no file"),
            ("n" * 300, "extends"),
            ("x.yaml", "a cycle: x.yaml extends x.yaml"),
            ("../{folder}/x.yaml", "a cycle"),
            ("y.yaml", "a cycle: x.yaml extends y.yaml extends z.yaml extends x.yaml"),
        ],
    )
    def test_what_cannot_be_extended_is_refused(self, write: Write, name: str, told: str) -> None:
        write("y.yaml", "extends: z.yaml\n")
        write("z.yaml", "extends: x.yaml\n")
        file = write("x.yaml", "")
        file.write_text(f"name: x\nextends: {name.format(folder=file.parent.name)}\n")
        error = refused(file)
        assert told in str(error)
        assert error.fix
        assert place(error) == (("z.yaml", 1) if name == "y.yaml" else ("x.yaml", 2))

    def test_a_chain_has_an_end(self, write: Write) -> None:
        for number in range(extends.MAX_CHAIN + 1):
            write(f"{number}.yaml", f"extends: {number + 1}.yaml\n")
        file = write("x.yaml", "extends: 0.yaml\n")
        assert "files that extend each other" in str(refused(file))

    def test_seed_and_seeds_replace_each_other(self, write: Write) -> None:
        write("one.yaml", PLAIN + "seed: 1\n")
        write("many.yaml", PLAIN + "seeds: [1, 2]\n")
        assert [s.seed for s in load_all(write("x.yaml", "extends: one.yaml\nseeds: [4, 5]\n"))] == [4, 5]
        assert load(write("x.yaml", "extends: many.yaml\nseed: 7\n")).seed == 7


class TestMatrix:
    def test_every_combination_with_every_seed_is_a_scenario(self, write: Write) -> None:
        file = write("x.yaml", PLAIN + "matrix: {meters: [1, 2], rate: [1s, 2s]}\nseeds: [7, 8]\n")
        scenarios = load_all(file)
        assert [(s.name, s.seed) for s in scenarios] == [
            (f"plain[meters={meters},rate={rate}]", seed)
            for meters in (1, 2)
            for rate in ("1s", "2s")
            for seed in (7, 8)
        ]
        assert [s.device_count for s in scenarios] == [1, 1, 1, 1, 2, 2, 2, 2]
        assert [s.fleet[0].every.mean // SECOND for s in scenarios] == [1, 1, 2, 2] * 2
        assert scenarios[0].vars == {"meters": 1, "rate": "1s"}

    def test_a_list_names_its_cells(self, write: Write) -> None:
        file = write("x.yaml", PLAIN + "matrix: [{meters: 1}, {meters: 3, rate: 5s}]\n")
        assert [(s.name, s.device_count) for s in load_all(file)] == [
            ("plain[meters=1]", 1),
            ("plain[meters=3,rate=5s]", 3),
        ]

    def test_a_variable_may_use_one_of_the_matrix(self, write: Write) -> None:
        text = PLAIN.replace("rate: 1s}", "rate: 1s, what: $meters of them}")
        file = write("x.yaml", text + "description: just $what\nmatrix: {meters: [6, 7]}\n")
        assert [s.description for s in load_all(file)] == ["just 6 of them", "just 7 of them"]

    @pytest.mark.parametrize(
        ("overrides", "names"),
        [
            ({"meters": "9"}, ["plain[rate=1s]", "plain[rate=2s]"]),
            ({"meters": "9", "rate": "4s"}, ["plain"]),
        ],
    )
    def test_set_pins_a_variable(self, write: Write, overrides: dict[str, str], names: list[str]) -> None:
        for cells in ("{meters: [1, 2], rate: [1s, 2s]}", "[{meters: 1, rate: 1s}, {meters: 2, rate: 2s}]"):
            scenarios = load_all(write("x.yaml", PLAIN + f"matrix: {cells}\n"), overrides=overrides)
            assert [s.name for s in scenarios] == names
            assert {s.device_count for s in scenarios} == {9}

    def test_one_seed_overrides_all(self, write: Write) -> None:
        file = write("x.yaml", PLAIN + "seeds: [1, 2, 3]\n")
        assert [s.seed for s in load_all(file, seed=0)] == [0]
        assert load(file, seed=9).seed == 9

    def test_load_wants_exactly_one(self, write: Write) -> None:
        for text, line in (("matrix: {meters: [1, 2]}\n", 10), ("seeds: [1, 2]\n", 10)):
            with pytest.raises(BadScenario, match="makes 2 scenarios, and one is wanted") as caught:
                load(write("x.yaml", PLAIN + text))
            assert caught.value.line == line
            assert "--seed" in caught.value.fix
        assert load(write("x.yaml", PLAIN + "matrix: {meters: [3]}\n")).name == "plain[meters=3]"

    def test_an_error_says_in_which_cell(self, write: Write) -> None:
        error = refused(write("x.yaml", PLAIN + "matrix: {meters: [1, 0]}\n"))
        assert place(error) == ("x.yaml", 7)
        assert "greater than 0" in str(error)
        assert "(where the matrix has meters=0)" in str(error)

    @pytest.mark.parametrize(
        ("words", "line", "told", "fix"),
        [
            ("matrix: {metres: [1]}", 10, "no variable 'metres'", "did you mean 'meters'?"),
            ("matrix:\n- {meters: 1}\n- {metres: 1}", 12, "no variable 'metres'", "did you mean 'meters'?"),
            ("matrix: {meters: 1}", 10, "has no list", "matrix: {bad: [1, 5]}"),
            ("matrix: {meters: []}", 10, "has no list", "matrix: {bad: [1, 5]}"),
            ("matrix: {}", 10, "empty or no matrix", "matrix:"),
            ("matrix: 3", 10, "empty or no matrix", "matrix:"),
            ("matrix: [3]", 10, "is no mapping", "matrix:"),
            ("matrix:\n  meters:\n  - 1\n  - [2]", 13, "empty, a list or a mapping", "number"),
            ("matrix: {meters: [null]}", 10, "empty, a list or a mapping", "number"),
            ("seeds: []", 10, "no list of 1 to", "seeds: [1, 2, 3]"),
            ("seeds: 3", 10, "no list of 1 to", "seeds: [1, 2, 3]"),
            ("seeds: [1, x]", 10, "'x' is no whole number", "seeds: [1, 2, 3]"),
            ("seeds: [true]", 10, "True is no whole number", "seeds: [1, 2, 3]"),
            ("seeds: [1, 2, 1]", 10, "the seed 1 stands twice", "leave"),
            ("seed: 1\nseeds: [1]", 11, "seed and seeds", "leave"),
            ("sedes: [1]", 10, "unknown key 'sedes'", "did you mean 'seeds'?"),
            ("matrx: {meters: [1]}", 10, "unknown key 'matrx'", "did you mean 'matrix'?"),
        ],
    )
    def test_what_is_no_matrix_is_refused(
        self, write: Write, words: str, line: int, told: str, fix: str
    ) -> None:
        error = refused(write("x.yaml", f"{PLAIN}{words}\n"))
        assert error.line == line
        assert told in str(error)
        assert fix in error.fix

    def test_a_matrix_is_bounded(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        many = ", ".join(map(str, range(1, 1_001)))
        error = refused(write("x.yaml", f"{PLAIN}matrix: {{meters: [{many}], rate: [1s, 2s]}}\n"))
        assert "the matrix has 2000 cells" in str(error)
        monkeypatch.setattr("simulator.scenario.MAX_SCENARIOS", 5)
        error = refused(write("x.yaml", PLAIN + "matrix: {meters: [1, 2]}\nseeds: [1, 2, 3]\n"))
        assert "more than 5 scenarios" in str(error)
        monkeypatch.setattr(matrix, "MAX_SCENARIOS", 2)
        listed = "matrix: [{meters: 1}, {meters: 2}, {meters: 3}]\n"
        assert "too many cells" in str(refused(write("x.yaml", PLAIN + listed)))

    def test_variables_that_double_without_end_are_refused(self, write: Write) -> None:
        doubling = ", ".join(f"v{n}: '{f'$v{n - 1}' * 10}'" for n in range(1, 12))
        error = refused(write("x.yaml", PLAIN.replace("meters: 4", f"meters: 4, v0: aaaaaaaaaa, {doubling}")))
        assert "at most 100,000" in error.fix
