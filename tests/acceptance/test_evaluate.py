"""`thingstorm evaluate` as a person runs it: figures, and the gate."""

import json
from pathlib import Path

import pytest
from conftest import thingstorm

from thingstorm.evaluation.evaluated import Evaluated
from thingstorm.evaluation.events import Event, Run
from thingstorm.evaluation.gate import save
from thingstorm.evaluation.playing import plan

pytestmark = pytest.mark.timeout(120)

SCENARIO = """scenario: v1
name: flood
tags: [obvious]
path: direct
duration: 32s
fleet:
  - {group: meter, count: 8, topic: "dt/meter/{device}/telemetry", every: 1s, payload: {v: {const: 1}}}
train: {until: 14s}
timeline:
  - {id: flood, at: 18s, for: 10s, kind: attack.publish_flood, targets: {group: meter, count: 1}, with: {rate_factor: 40}}
"""
KEYS = {
    "runs", "verdict_recall", "device_precision", "device_recall", "false_verdicts", "undecided", "innocents_quarantined",
    "detect_p50_s", "detect_p95_s",
}  # fmt: skip


def test_figures_are_told_and_held_against_the_record(tmp_path: Path) -> None:
    file = tmp_path / "flood.yaml"
    file.write_text(SCENARIO)
    (job,) = plan([file], [201])
    best = Event("attack.publish_flood", "attack", "obvious", hostile=1, found=1, verdict_seconds=0.5)
    runs = [Run("flood", 201, job.content, (best,))]
    save(tmp_path / "best.json", Evaluated("robust", (201,), (), {"model": runs}, []))
    done = thingstorm(
        "evaluate", "flood.yaml", "--model", "robust", "--seeds", "201", "--json", "f.json", "--baseline", "best.json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 1, done.err
    assert "gate: 1 runs compared" in done.out
    assert "worse: attack.publish_flood detect_p95_s" in done.out
    assert "verdict_recall" not in done.out
    assert "fix: mend the model" in done.err
    told = json.loads((tmp_path / "f.json").read_text())
    assert set(told["kinds"]) == {"attack.publish_flood"}
    assert all(set(one) == KEYS for one in (told["kinds"]["attack.publish_flood"], told["overall"]))
    assert (told["overall"]["runs"], told["overall"]["verdict_recall"]) == (1, 1.0)
    assert {"attack.publish_flood", "static 5 min", "max |z|"} <= {
        line[:20].strip() for line in done.out.splitlines()
    }
    assert "1/1" in done.out, "progress"
