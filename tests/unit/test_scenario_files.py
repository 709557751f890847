"""Which scenario files a person means: what is here, what thingstorm brings, and what is played of a folder."""

from pathlib import Path

import pytest

from contracts.errors import ConfigError
from simulator.scenario import load
from thingstorm.runtime.batch import ClockName, PathName, plan
from thingstorm.runtime.scenarios import library, scenario_file, scenario_files

PLAYED = "scenario: v1\nname: x\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in; one above it is called as those of bases are."""
    folder = tmp_path / "base" / "project"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def write(name: str, text: str = PLAYED) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("absolute", [False, True])
def test_of_a_folder_the_files_are_played_that_say_they_are_scenarios(here: Path, *, absolute: bool) -> None:
    folder = here if absolute else Path()
    wanted = [write("b.yaml"), write("deep/c.yaml", "name: c\nextends: ../b.yaml\n")]
    write("rules.yaml", "Resources:\n  scenario: {Type: x}\n")
    write("known-gaps.yaml", "- scenario: x\n  expectations: []\n")
    write("base/fleet.yaml")
    write(".venv/lib/d.yaml")
    assert scenario_files([folder]) == [folder / file for file in wanted]


@pytest.mark.parametrize(
    "text", ["scenaro: v1\nfleet: []\n", "\ufeffscenario: v1\n", "'scenario': v1\n", '{"scenario": "v1"}']
)
@pytest.mark.usefixtures("here")
def test_a_scenario_with_a_mistake_or_in_other_clothes_is_not_passed_over(text: str) -> None:
    file = write("x.yaml", text)
    assert scenario_files([Path()]) == [file]


@pytest.mark.usefixtures("here")
def test_names_of_the_library_are_known_with_and_without_their_ending() -> None:
    write("demo/x.yaml")
    assert (
        scenario_file(Path("mixed/botnet-inside-rollout")) == library() / "mixed/botnet-inside-rollout.yaml"
    )
    assert scenario_files([Path("demo.yaml")]) == [library() / "demo.yaml"]
    assert scenario_files([Path("demo")]) == [Path("demo/x.yaml")], "what is here comes first"
    assert len(scenario_files([library()])) == 77


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("demoo", "demo"),
        ("botnet-inside-rolout", "mixed/botnet-inside-rollout"),
        ("hostile/mimik.yaml", "hostile/mimic"),
        ("frist.yaml", "first.yaml"),
        ("first", "first.yaml"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_name_that_nothing_has_is_told_with_the_nearest_one(name: str, meant: str) -> None:
    write("first.yaml")
    with pytest.raises(ConfigError, match=f"^there is no scenario file {name}$") as caught:
        scenario_file(Path(name))
    assert caught.value.fix.startswith(f"did you mean {meant}? ")


@pytest.mark.parametrize("name", ["zzzz", "no/such/folder.yaml", "x" * 300, "a\0b"])
@pytest.mark.usefixtures("here")
def test_a_name_like_no_other_is_told_how_names_look(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        scenario_files([Path(name)])
    assert caught.value.fix.startswith("name a file, a folder, or a scenario of thingstorm's own")


@pytest.mark.usefixtures("here")
def test_a_folder_is_no_scenario_and_may_hold_none() -> None:
    write("empty/rules.yaml", "rules: []\n")
    with pytest.raises(ConfigError, match="no scenario in empty"):
        scenario_files([Path("empty")])
    with pytest.raises(ConfigError, match="empty is a folder, and one scenario is wanted"):
        scenario_file(Path("empty"))


@pytest.mark.parametrize(
    ("path", "clock", "speed", "expected"),
    [
        (None, None, None, ("aws", "wall", 1.0)),  # as the demo's file says
        ("direct", None, None, ("direct", "virtual", 1.0)),
        ("direct", None, 5.0, ("direct", "wall", 5.0)),  # as in replay: who names a speed wants real time
        ("aws", None, 2.0, ("aws", "wall", 2.0)),
        ("direct", "wall", None, ("direct", "wall", 1.0)),
    ],
)
def test_flags_bring_the_clock_that_goes_with_them(
    path: PathName | None, clock: ClockName | None, speed: float | None, expected: tuple[str, str, float]
) -> None:
    file = library() / "demo.yaml"
    job = plan(file, load(file), path=path, clock=clock, speed=speed, gaps={})
    assert (job.path, job.clock, job.speed) == expected


@pytest.mark.parametrize(("path", "speed"), [("aws", None), ("direct", 2.0)])
def test_a_virtual_clock_with_services_or_a_speed_is_refused(path: PathName, speed: float | None) -> None:
    file = library() / "demo.yaml"
    with pytest.raises(ConfigError, match="virtual clock"):
        plan(file, load(file), path=path, clock="virtual", speed=speed, gaps={})
