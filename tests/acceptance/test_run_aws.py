"""Over all hops: recorded traffic faster than time, and faults of the broker, of the AWS services and of their emulator."""

import json
from pathlib import Path

import pytest
from conftest import thingstorm
from recordings import BEGIN, fleet, flood, write_csv

pytestmark = [pytest.mark.timeout(280), pytest.mark.long]

FAULTS = """scenario: v1
name: faults
path: aws
duration: 27s
fleet:
  - {group: meter, count: 15, topic: "dt/meter/{device}/telemetry", every: 500ms, payload: {v: {const: 1}}}
train: {until: 3s}
timeline:
  - {id: poison, at: 3s, for: 1s, kind: fault.poison_message, with: {count: 2}}
  - {id: broker, at: 4s, for: 2s, kind: fault.broker_restart}
  - {id: sns, at: 8s, for: 4s, kind: fault.service_error, with: {share: 50%}}
  - {id: twice, at: 12s, for: 3s, kind: fault.duplicate_delivery, with: {share: 50%}}
  - {id: shuffled, at: 12s, for: 3s, kind: fault.reorder}
  - {id: lag, at: 15s, for: 3s, kind: fault.stream_lag, with: {delay: 1s}}
  - {id: throttle, at: 18s, for: 3s, kind: fault.throttle, with: {share: 30%}}
  - {id: slow, at: 18s, for: 2s, kind: fault.service_latency, with: {delay: 100ms}}
  - {id: aws, at: 21s, for: 2s, kind: fault.emulator_restart}
expect:
  overall: {lost: 0, duplicates: 0, dead_letters: 2}
"""


QUICK = """
[pipeline]
visibility_seconds = 4  # five receives of a poison message take 20 s, as long as the scenario, not 150 s
[model]
detector = "robust"  # none that is seconds to import: this is about messages
"""


def test_nothing_is_lost_by_faults_of_the_real_services(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text(FAULTS)
    (tmp_path / "quick.toml").write_text(QUICK)
    done = thingstorm(
        "run", "faults.yaml", "--config", "quick.toml", "--json", "out.json", cwd=tmp_path, within=250
    )
    assert done.code == 0, done.out + done.err
    (result,) = json.loads((tmp_path / "out.json").read_text())
    told = result["ledger"]
    assert told["accepted"] == told["routed"] == told["stored"] == told["viewed"] > 500


def test_recorded_traffic_over_real_hops_is_judged_as_on_the_direct_path(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [*fleet(devices=6, seconds=40), *flood("press-2", start=26, seconds=10)])
    labels = f"id,start,end,label,devices\nflood,{BEGIN + 26},{BEGIN + 36},attack,press-2\n"
    (tmp_path / "labels.csv").write_text(labels)
    (tmp_path / "quick.toml").write_text(QUICK)
    given = ["t.csv", "--labels", "labels.csv", "--train-until", str(BEGIN + 20), "--config", "quick.toml"]
    told = []
    for flags in (("--path", "aws", "--speed", "3"), ("--path", "direct")):
        done = thingstorm("replay", *given, *flags, "--json", "out.json", cwd=tmp_path, within=200)
        assert done.code == 0, done.out + done.err
        (result,) = json.loads((tmp_path / "out.json").read_text())
        told.append(result)
    over_hops, direct = told
    assert over_hops["wall_seconds"] < 35, "at its own speed the recording alone takes 40 s"
    assert (over_hops["path"], direct["path"]) == ("aws", "direct")
    for one in told:
        assert one["ledger"]["accepted"] == one["ledger"]["routed"] == one["ledger"]["viewed"] > 6 * 30
        (phase,) = one["phases"]
        assert (phase["verdict"], phase["flagged"]) == ("attack", ["press-2"])
