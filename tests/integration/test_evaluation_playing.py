"""One run of the evaluation: the shorter rules change nothing that is counted, and the baselines see the same run."""

from dataclasses import replace
from pathlib import Path

from pipeline.rules.engine import DEFAULT_RULES
from thingstorm.config import Config
from thingstorm.evaluation.playing import plan, play_one

SCENARIO = """scenario: v1
name: flood
tags: [subtle]
duration: 32s
fleet:
  - {group: meter, count: 8, topic: "dt/meter/{device}/telemetry", every: 1s, payload: {v: {const: 1}}}
train: {until: 14s}
timeline:
  - {id: flood, at: 18s, for: 10s, kind: attack.publish_flood, targets: {group: meter, count: 1}, with: {rate_factor: 40}}
"""


def _config(**settings: object) -> Config:
    config = Config()
    model = config.model.model_copy(update={"detector": "robust"})
    return config.model_copy(update={"model": model, "pipeline": config.pipeline.model_copy(update=settings)})


def test_a_run_is_counted_alike_with_and_without_the_message_lane(tmp_path: Path) -> None:
    file = tmp_path / "flood.yaml"
    file.write_text(SCENARIO)
    (job,) = plan([file], [3])
    short = play_one(job, _config())
    assert replace(play_one(job, _config(rules=DEFAULT_RULES)), job=short.job) == short
    (event,) = short.model.events
    assert (event.kind, event.strength, event.verdict, event.found) == (
        "attack.publish_flood",
        "subtle",
        "attack",
        1,
    )
    assert event.flag_seconds is not None
    assert event.verdict_seconds is not None
    assert 0.0 < event.flag_seconds <= event.verdict_seconds
    assert short.passed
    assert set(short.baselines) == {"static", "max_z"}
    assert short.baselines["max_z"].events[0].found == 1
    assert {kind for kind, *_ in short.raw} <= {"normal", "benign_uptick", "attack"}


def test_the_content_tells_whether_the_traffic_is_another(tmp_path: Path) -> None:
    def content(text: str) -> str:
        (tmp_path / "s.yaml").write_text(text)
        return plan([tmp_path / "s.yaml"], [1])[0].content

    before = content(SCENARIO)
    assert (
        content(SCENARIO.replace("tags: [subtle]", "description: other words\npath: direct\nseed: 9"))
        == before
    )
    assert content(SCENARIO.replace("rate_factor: 40", "rate_factor: 41")) != before
