"""The example project, as its reader would run it: the wheel from pip, no checkout. Needs a package index."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.install, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, what it depends on, and pytest."""
    home = tmp_path_factory.mktemp("own-rules-environment")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", home, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = home.glob("*.whl")
    venv.create(home / "venv", with_pip=True)
    python = home / "venv/bin/python"
    installed = run(python, "-m", "pip", "install", "--quiet", wheel, "pytest", cwd=home)
    assert installed.returncode == 0, installed.stderr
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "examples/own-rules", tmp_path / "own-rules"))


def test_the_example_project_passes_with_nothing_but_the_wheel_and_pytest(
    python: Path, project: Path
) -> None:
    told = run(python, "-m", "pytest", "-W", "error", "-v", cwd=project)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "flood.scenario.yaml::flood PASSED" in told.stdout
    assert "3 passed" in told.stdout


def test_the_example_project_fails_when_its_rule_is_wrong(python: Path, project: Path) -> None:
    rules = project / "rules.yaml"
    rules.write_text(rules.read_text().replace("temp_c > 80", "temp_c > 90"))
    told = run(python, "-m", "pytest", "-k", "hot_pump", cwd=project / "tests")
    assert told.returncode == 1, told.stdout
    assert "1 failed" in told.stdout
