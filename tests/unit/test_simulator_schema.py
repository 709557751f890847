"""The JSON Schema: up to date, true of every scenario file, and as strict as the models where it can be."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from jsonschema import Draft202012Validator

from simulator import reference
from simulator import schema as schema_module
from simulator.behaviours import BEHAVIOURS
from simulator.behaviours.base import Behaviour, Span, Step
from simulator.device import Device
from simulator.payloads import KNOWN
from simulator.schema import schema

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PUBLISHED = ROOT / "scenarios" / "schema.json"
SCENARIOS = sorted(one for one in (ROOT / "scenarios").rglob("*.yaml") if one.name != "known-gaps.yaml")
OURS = [HERE / "simulator_scenarios" / name for name in ("small.yaml", "full.yaml", "base/meters.yaml")]
SMALL = (HERE / "simulator_scenarios" / "small.yaml").read_text()
VALIDATOR = Draft202012Validator(schema())


def wrong(text: str) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def test_the_published_file_is_up_to_date() -> None:
    command = "run: python -m simulator.schema > scenarios/schema.json"
    assert json.loads(PUBLISHED.read_text()) == schema(), command


def test_the_command_writes_it() -> None:
    written = subprocess.run(
        [sys.executable, "-m", "simulator.schema"], capture_output=True, check=True, cwd=ROOT, text=True
    )
    assert written.stdout == PUBLISHED.read_text()


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("file", [*SCENARIOS, *OURS], ids=lambda file: file.name)
def test_every_scenario_is_valid(file: Path) -> None:
    assert wrong(file.read_text()) == []


def test_it_knows_every_kind_and_generator() -> None:
    made = schema()
    assert made["$defs"]["Phase"]["properties"]["kind"]["anyOf"][0]["enum"] == sorted(BEHAVIOURS)
    assert set(made["$defs"]["Field"]["properties"]) == set(KNOWN)
    assert made["$defs"]["Walk"]["description"].startswith("A random walk")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    count: $meters", "    count: 12"),
        ("qos: 0", "qos: $qos"),
        ("duration: 2m", "duration: $long"),
        ("{lte: 60s}", "{lte: $limit}"),
        ("{gte: 0.95}", "0.95"),
        ("jitter: 20%", "jitter: 0.2"),
        ("ramp: 4s", "ramp: $ramp"),
        ("    with: {rate_factor: 10, ramp: 4s}", "    with:"),
        ("train: {until: 20s}", "train:"),
        ("{dist: poisson, mean: 2s}", "2s"),
        ("seed: 7", "seeds: [1, 2]\nmatrix: [{bad: 1}]"),
        ('{const: "1.4.2"}', "{series: [1, 2]}"),
        ('{const: "1.4.2"}', "{expression: 2 * power_w}"),
        ('{const: "1.4.2"}', "{const: null}"),
    ],
)
def test_what_may_be_written_is_valid(old: str, new: str) -> None:
    assert old in SMALL
    assert wrong(SMALL.replace(old, new, 1)) == []


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("tags: [unit]", "tgas: [unit]", "$"),
        ("duration: 2m", "duration: 120", "$.duration"),
        ("name: small\n", "", "$"),
        ("seed: 7", "seed: 7\nseeds: [1]", "$"),
        ("seed: 7", "seeds: []", "$.seeds"),
        ("    count: $meters", "    count: 0", "$.fleet[0].count"),
        ("    count: $meters", "    count: meters", "$.fleet[0].count"),
        ("    count: $meters", "    cuont: 5", "$.fleet[0]"),
        ("    qos: 1", "    qos: 2", "$.fleet[0].qos"),
        ("jitter: 20%", "jitter: much", "$.fleet[0].every"),
        ("dt/meter/{device}/telemetry", "dt/+/x", "$.fleet[0].topic"),
        ('{const: "1.4.2"}', "{const: 1, choice: [2]}", "$.fleet[0].payload.fw"),
        ('{const: "1.4.2"}', "{counter: 1}", "$.fleet[0].payload.fw"),
        ('{const: "1.4.2"}', "{walk: null}", "$.fleet[0].payload.fw.walk"),
        ("attack.publish_flood", "attack.publish_flod", "$.timeline[2].kind"),
        ("ramp: 4s", "rmap: 4s", "$.timeline[2].with"),
        ("rate_factor: 10,", "rate_factor: 0,", "$.timeline[2].with.rate_factor"),
        ("rate_factor: 10,", "odd_rate: 1,", "$.timeline[2].with"),
        ("verdict: attack", "verdict: bad", "$.expect.phases.flood.verdict"),
        ("{lte: 60s}", "{below: 60s}", "$.expect.phases.flood.detect_within.max"),
        ("lost: 0}", "losst: 0}", "$.expect.overall"),
    ],
)
def test_what_is_wrong_is_marked_where_it_stands(old: str, new: str, where: str) -> None:
    assert old in SMALL
    assert where in wrong(SMALL.replace(old, new, 1))


def test_a_file_that_extends_another_may_leave_out_what_that_one_has() -> None:
    assert wrong("extends: base/meters.yaml\nname: x\n") == []
    assert wrong("name: x\n") == ["$"] * 3


class Every(Behaviour):
    """A behaviour with the name of another model, and a parameter that JSON Schema has no word for."""

    kind: ClassVar[str] = "attack.odd"
    share: float = 0.5
    of: complex = 1j

    def steps(self, span: Span, device: Device, place: int) -> list[Step]:
        return []


def test_a_new_behaviour_is_in_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = {**BEHAVIOURS, "attack.odd": Every}
    monkeypatch.setattr(schema_module, "BEHAVIOURS", known)
    validator = Draft202012Validator(schema())
    values = yaml.safe_load(SMALL.replace("attack.publish_flood", "attack.odd"))
    values["timeline"][2]["with"] = {"share": "half"}
    assert [error.json_path for error in validator.iter_errors(values)] == ["$.timeline[2].with.share"]
    values["timeline"][2]["with"] = {"share": 0.25}
    assert list(validator.iter_errors(values)) == []


def test_the_page_of_behaviours_is_up_to_date() -> None:
    command = "run: python -m simulator.reference > docs/behaviours.md"
    assert (ROOT / "docs" / "behaviours.md").read_text() == reference.page(), command
    assert all(f"### {kind}\n" in reference.page() for kind in BEHAVIOURS)
