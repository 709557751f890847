"""Build as a release does (sdist, then the wheel from it), install it elsewhere, run it from `/`."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"contracts", "thingstorm", "simulator", "broker", "pipeline", "analytics"}

pytestmark = pytest.mark.timeout(240)


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    } | more
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel."""
    home = empty(tmp_path_factory.mktemp("installed"))
    install(wheel, home)
    return home


def empty(home: Path) -> Path:
    """An environment without the wheel, whose dependencies are those of the environment that runs the tests."""
    venv.create(home, with_pip=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home


def install(wheel: Path, home: Path) -> None:
    run(home / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)


def files(*folders: Path) -> set[Path]:
    """What is in the folders; compiled modules come and go with those that they are of."""
    return {file for folder in folders for file in folder.rglob("*") if "__pycache__" not in file.parts}


def test_the_same_source_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("thingstorm-*")
    for number, file in enumerate(
        sorted(source.rglob("*.py"))
    ):  # another machine, another day, another umask
        os.utime(file, (1_000_000_000 + number, 1_000_000_000 + number))
        file.chmod(0o600)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=source)
    (again,) = tmp_path.glob("*.whl")
    assert again.read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_exactly_the_six_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert not [name for name in names if "/tests/" in name or name.startswith("tests/")]


def test_the_wheel_ships_what_is_not_python(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"thingstorm/scenarios/demo.yaml", "pipeline/rules.yaml", "pipeline/rules/grammar.lark"} <= names
    assert [name for name in names if name.startswith("analytics/queries/") and name.endswith(".sql")]


def test_the_console_script_runs_from_the_root_folder(installed: Path) -> None:
    told = run(installed / "bin/thingstorm", "--version", cwd=Path("/"))
    assert told.startswith("thingstorm 0.")


def test_the_installed_packages_are_those_of_the_wheel(installed: Path) -> None:
    code = "import simulator, broker, pipeline, analytics, thingstorm; print(broker.__file__)"
    assert str(installed) in run(installed / "bin/python", "-c", code, cwd=Path("/"))


def test_the_installed_demo_scenario_is_found_and_valid(installed: Path) -> None:
    code = (
        "from thingstorm.runtime.scenarios import shipped; from simulator.scenario import load;"
        "path = shipped('demo'); print(path, load(path).name)"
    )
    told = run(installed / "bin/python", "-c", code, cwd=Path("/"))
    assert told.split() == [
        str(next(installed.glob("lib/python*/site-packages")) / "thingstorm/scenarios/demo.yaml"),
        "demo",
    ]


@pytest.mark.install
def test_the_demo_runs_from_the_root_folder_and_uninstalling_leaves_nothing(
    wheel: Path, tmp_path: Path
) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    environment = empty(tmp_path / "environment")
    (environment / "bin/ministack").symlink_to(Path(sys.executable).with_name("ministack"))
    before, root = files(tmp_path), set(Path("/").iterdir())
    install(wheel, environment)
    told = run(
        environment / "bin/thingstorm", "demo", cwd=Path("/"), HOME=str(home), TMPDIR=str(temporary),
        XDG_STATE_HOME="", XDG_CACHE_HOME="", XDG_CONFIG_HOME="",
    )  # fmt: skip
    assert "passed" in told
    assert "lost 0, duplicates 0, dead letters 0" in told
    assert files(home, temporary) == {temporary / "thingstorm-demo.html"}, "only the report that it names"
    run(environment / "bin/python", "-m", "pip", "uninstall", "--quiet", "--yes", "thingstorm", cwd=tmp_path)
    assert files(tmp_path) - before == {temporary / "thingstorm-demo.html"}
    assert before <= files(tmp_path)
    assert set(Path("/").iterdir()) == root


def test_the_installed_library_is_played_by_name(installed: Path) -> None:
    code = (
        "from pathlib import Path; from thingstorm.runtime.scenarios import scenario_files;"
        "names = 'demo', 'mixed/botnet-inside-rollout', 'base';"
        "print(*scenario_files([Path(name) for name in names]))"
    )
    told = run(installed / "bin/python", "-c", code, cwd=Path("/"))
    library = next(installed.glob("lib/python*/site-packages")) / "thingstorm/scenarios"
    assert told.split() == [
        str(library / "demo.yaml"),
        str(library / "mixed/botnet-inside-rollout.yaml"),
    ]


def test_help_is_quick_to_import() -> None:
    """`--help` imports none of the heavy libraries."""
    code = (
        "import sys, thingstorm.cli;"
        "heavy = {'duckdb', 'pyod', 'sklearn', 'boto3', 'amqtt', 'paho', 'pyarrow', 'fastapi'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    assert run(sys.executable, "-c", code, cwd=ROOT).strip() == "[]"
