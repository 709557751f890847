"""What is shipped may be shipped, and a failed look-up is not taken for a clean one."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAW = {"id": "PYSEC-2020-1", "fix_versions": ["2.0"]}


def test_every_dependency_stands_in_the_table_with_a_licence_that_may_be_shipped() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/licences.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    flaws = done.stderr.splitlines()
    if sys.version_info[:2] != (3, 11):  # the table is that of 3.11: other versions need other packages
        flaws = [flaw for flaw in flaws if "not as docs/licences.md" not in flaw and "fix:" not in flaw]
    assert not flaws


def test_every_action_of_the_workflows_is_pinned_to_a_commit_and_says_which_version_that_is() -> None:
    files = [*(ROOT / ".github/workflows").glob("*.yml"), ROOT / "action.yml"]
    used = [line for file in files for line in file.read_text().splitlines() if "uses:" in line]
    assert len(used) > 10
    assert not [
        line for line in used if not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)
    ]


@pytest.mark.parametrize(
    ("expression", "may"),
    [
        ("MIT", True),
        ("GPL-3.0-only OR BSD-3-Clause", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-3.0-only", False),
        ("MIT AND AGPL-3.0-only", False),
        ("", False),
    ],
)
def test_a_licence_that_binds_the_whole_is_refused(*, expression: str, may: bool) -> None:
    assert runpy.run_path(str(ROOT / ".ci/licences.py"))["may_ship"](expression) is may


@pytest.mark.parametrize(
    ("packages", "code"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0),
        ([{"name": "a", "version": "1", "vulns": [FLAW]}, {"name": "b", "skip_reason": "?"}], 1),
        ([{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "?"}], 3),
        (None, 3),
    ],
)
def test_the_audit_says_what_it_does_not_know(
    packages: list[dict[str, Any]] | None, code: int, tmp_path: Path
) -> None:
    told = json.dumps({"dependencies": packages}) if packages is not None else "no route to host"
    stand_in = tmp_path / "pip-audit"
    stand_in.write_text(f"#!{sys.executable}\nprint({told!r})\n")
    stand_in.chmod(0o755)
    done = subprocess.run(
        [sys.executable, ".ci/audit.py"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("PYSEC-2020-1, mended in 2.0" in done.stdout) is (code == 1)
    assert ("could not be asked" in done.stderr) is (code == 3)
