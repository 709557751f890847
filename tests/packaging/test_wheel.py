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


def run(*command: str | Path, cwd: Path) -> str:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
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
    """An environment with the wheel; its dependencies are those of the environment that runs the tests."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=True)
    run(home / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home


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


def test_help_is_quick_to_import() -> None:
    """`--help` imports none of the heavy libraries."""
    code = (
        "import sys, thingstorm.cli;"
        "heavy = {'duckdb', 'pyod', 'sklearn', 'boto3', 'amqtt', 'paho', 'pyarrow', 'fastapi'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    assert run(sys.executable, "-c", code, cwd=ROOT).strip() == "[]"
