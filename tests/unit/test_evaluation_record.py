"""The recorded result: from report seeds, the figures of the page, and something for the gate to compare with."""

import json
import re
from pathlib import Path

from thingstorm.evaluation.gate import load
from thingstorm.evaluation.playing import plan
from thingstorm.evaluation.seeds import REPORT

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "benchmarks" / "detection-baseline.json"


def test_the_record_is_of_report_seeds_alone() -> None:
    runs = load(RECORD, "knn")
    assert {run.seed for run in runs} <= REPORT
    assert len({run.scenario for run in runs}) > 40


def test_what_the_page_says_of_each_kind_is_what_was_recorded() -> None:
    told = json.loads(RECORD.read_text())
    page = (ROOT / "docs" / "evaluation.md").read_text()
    rows = re.findall(r"^\| `((?:attack|benign|fault)\.[a-z0-9_]+)` \|(.*)\|$", page, re.MULTILINE)
    assert {kind for kind, _ in rows} == set(told["kinds"])
    for kind, cells in rows:
        one = told["kinds"][kind]
        rate = "" if one["verdict_recall"] is None else f"{one['verdict_recall']:.3f}"
        cell = [text.strip() for text in cells.split("|")]
        assert cell[:2] == [str(one["runs"]), rate], kind
        assert cell[5:8] == [
            str(one[key]) for key in ("false_verdicts", "undecided", "innocents_quarantined")
        ], kind


def test_every_scenario_of_the_gate_has_a_recorded_run_beside_it() -> None:
    named = re.search(r"^GATED := (.*?[^\\])\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    assert named is not None
    files = [ROOT / "scenarios" / f"{name}.yaml" for name in named[1].replace("\\\n", " ").split()]
    known = {(run.scenario, run.seed, run.content) for run in load(RECORD, "knn")}
    jobs = plan(files, [201])
    assert len(jobs) >= 6
    missing = {(job.scenario.name, job.scenario.seed, job.content) for job in jobs} - known
    assert not missing, "changed since: record again with thingstorm evaluate --save"
