"""The examples in the documents that no command runs: settings are read, pieces of scenarios are loaded."""

import re
from pathlib import Path

import pytest

from simulator.scenario import load_all
from thingstorm.config import load_config

DOCS = Path(__file__).parents[2] / "docs"
BASE = """scenario: v1
name: piece
duration: 30s
fleet:
  - {group: meter, count: 2, topic: "dt/meter/{device}/telemetry", every: 1s, payload: {v: {const: 1}}}
"""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


SETTINGS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(blocks(page, "toml"))
    if "[tool." not in block
]


def test_there_are_examples_of_settings() -> None:
    assert len(SETTINGS) >= 4


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_example_of_settings_is_one(settings: str, tmp_path: Path) -> None:
    (tmp_path / "thingstorm.toml").write_text(settings)
    assert load_config(tmp_path / "thingstorm.toml") != load_config(None)


def test_the_pieces_of_scenarios_are_what_a_scenario_may_say(tmp_path: Path) -> None:
    payload, several, gaps = blocks(DOCS / "scenarios.md", "yaml")
    assert gaps.startswith("- scenario:")
    indented = payload.replace("\n", "\n    ").rstrip()
    whole = BASE.replace("payload: {v: {const: 1}}}", "PAYLOAD").replace(
        '  - {group: meter, count: 2, topic: "dt/meter/{device}/telemetry", every: 1s, PAYLOAD',
        f'  - group: meter\n    count: $meters\n    topic: "dt/meter/{{device}}/telemetry"\n    every: 1s\n    {indented}',
    )
    bad = "timeline: [{id: f, at: 5s, for: 5s, kind: attack.publish_flood, targets: {group: meter, count: $bad}}]\n"
    (tmp_path / "piece.yaml").write_text(whole + bad + several)
    assert len(load_all(tmp_path / "piece.yaml")) == 6 * 3
