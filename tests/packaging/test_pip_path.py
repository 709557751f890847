"""The third way in: no make, no uv, only venv and pip. Needs a package index; run by CI (`pytest -m install`)."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.install, pytest.mark.timeout(600)]


def test_an_editable_install_by_pip_runs_from_the_root_folder(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "-e", tmp_path / "source"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert installed.returncode == 0, installed.stderr
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    told = subprocess.run(
        [tmp_path / "venv/bin/thingstorm", "--version"],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.startswith("thingstorm 0.")
    code = "from pathlib import Path; from simulator.scenario import load; from thingstorm.runtime.scenarios import shipped;"
    loaded = subprocess.run(
        [python, "-c", f"{code} print(load(shipped('demo')).name)"],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout == "demo\n"
