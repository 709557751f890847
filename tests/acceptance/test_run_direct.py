"""`thingstorm run` on folders: several at a time, with gaps, reports, data sets, and what is refused."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest
from conftest import ROOT, here, thingstorm

pytestmark = pytest.mark.timeout(120)

BASE = """scenario: v1
name: {name}
path: direct
clock: {{mode: virtual}}
duration: 30s
fleet:
  - {{group: meter, count: 8, topic: "dt/meter/{{device}}/telemetry", every: 1s, payload: {{v: {{const: 1}}}}}}
train: {{until: 12s}}
"""
FLOOD = """timeline:
  - {id: flood, at: 15s, for: 12s, kind: attack.publish_flood, targets: {group: meter, count: 1}, with: {rate_factor: 40}}
expect: {phases: {flood: {verdict: attack, flagged: {recall: {gte: 1}}}}}
"""
WRONG = "expect: {sql: [{name: none, query: select count(*) as n from telemetry, rows: [{n: 0}]}]}\n"


def folder(path: Path) -> Path:
    """Two seeds that pass, one scenario that fails, and a base that is none."""
    made = path / "mine"
    (made / "base").mkdir(parents=True)
    (made / "base" / "part.yaml").write_text("scenario: v1\nname: part\n")
    (made / "flood.yaml").write_text(BASE.format(name="flood") + "seeds: [1, 2]\n" + FLOOD)
    (made / "wrong.yaml").write_text(BASE.format(name="wrong") + WRONG)
    return made


@pytest.mark.usefixtures("without_pyod")
def test_a_folder_is_played_reported_and_fails_for_what_nobody_knew(tmp_path: Path) -> None:
    folder(tmp_path)
    done = thingstorm(
        "run", "mine", "--json", "out.json", "--junit", "out.xml", "--html", "out.html", "--dataset",
        "out.parquet", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 1
    assert "FAILED wrong: sql.none" in done.out
    assert "3/3" in done.out, "progress"
    assert "2 passed, 1 failed, 0 known gaps" in done.out
    results = json.loads((tmp_path / "out.json").read_text())
    assert [(one["scenario"], one["seed"], one["passed"]) for one in results] == [
        ("flood", 1, True), ("flood", 2, True), ("wrong", 1, False),
    ]  # fmt: skip
    assert len({one["hash"] for one in results}) == 3
    suites = ET.parse(tmp_path / "out.xml").getroot().findall("testsuite")
    assert [suite.get("failures") for suite in suites] == ["0", "0", "1"]
    page = (tmp_path / "out.html").read_text()
    assert page.count("<svg") >= 6
    assert "2 of 3 scenarios passed" in page
    table = pq.read_table(tmp_path / "out.parquet")
    assert set(table["label"].to_pylist()) == {"normal", "attack"}
    flooding = {row["client_id"] for row in table.to_pylist() if row["label"] == "attack"}
    expected = {device for one in results for phase in one["phases"] for device in phase["expected_devices"]}
    assert flooding == expected
    provenance = json.loads(table.schema.metadata[b"thingstorm"])
    assert [one["hash"] for one in provenance] == [one["hash"] for one in results]


def test_known_gaps_are_told_and_fail_nothing(tmp_path: Path) -> None:
    made = folder(tmp_path)
    guide = (ROOT / "docs/first-scenario.md").read_text(encoding="utf-8")
    (made / "flood.yaml").write_text(guide.partition("```yaml\n")[2].partition("```")[0])
    (made / "known-gaps.yaml").write_text(
        "- {scenario: wrong, expectations: [sql.none], reason: a table is never empty}\n"
    )
    done = thingstorm("run", "mine", "--junit", "out.xml", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "gap    wrong: sql.none" in done.out
    assert "a table is never empty" in done.out
    assert "2 passed, 0 failed, 1 known gaps" in done.out, (
        "the guide's first scenario, and the one with a gap"
    )
    assert "known gap: a table is never empty" in (tmp_path / "out.xml").read_text()
    (made / "known-gaps.yaml").write_text("- {scenario: wrong}\n")
    broken = here("run", "mine", cwd=tmp_path)
    assert (broken.code, "known-gaps.yaml is no list of known gaps" in broken.err) == (2, True)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    for arguments, told in (
        (("--path", "aws", "--clock", "virtual"), "do not go together"),
        (("--attach", "--path", "direct"), "--attach plays against running stages"),
    ):
        done = here("run", "mine/flood.yaml", *arguments, cwd=tmp_path)
        assert done.code == 2
        assert told in done.err
        assert "fix:" in done.err


@pytest.mark.usefixtures("without_pyod")
def test_the_direct_path_on_the_wall_clock_takes_its_time_divided_by_the_speed(tmp_path: Path) -> None:
    folder(tmp_path)
    done = thingstorm(
        "run", "mine/wrong.yaml", "--clock", "wall", "--speed", "15", "--json", "out.json", cwd=tmp_path
    )
    assert done.code == 1
    (result,) = json.loads((tmp_path / "out.json").read_text())
    assert (result["path"], result["clock"]) == ("direct", "wall")
    assert result["wall_seconds"] >= 2.0
