"""`thingstorm bench gateway` and `bench simulator` on real brokers, `bench view` on real engines; no assertion on speed."""

import json
import shutil
from pathlib import Path

import psutil
import pytest
from conftest import here, thingstorm

pytestmark = pytest.mark.timeout(180)


def test_two_cases_of_the_gateway_beside_stock_amqtt_lose_nothing(tmp_path: Path) -> None:
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    done = thingstorm(
        "bench", "gateway", "--quick", "--peers", "--case", "qos1-50", "--case", "connects",
        "--json", "b.json", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "b.json").read_text())
    figures = {(row["case"], row["subject"], row["metric"]): row["value"] for row in told["rows"]}
    assert figures["qos1-50", "thingstorm", "messages_per_s"] > 0
    assert figures["qos1-50", "thingstorm", "lost"] == figures["qos1-50", "thingstorm", "out_of_order"] == 0
    assert figures["connects", "amqtt", "connects_per_s"] > 0
    assert {one["to"] for one in told["ratios"]} >= {"amqtt"}
    assert "qos1-50: thingstorm" in done.err, "progress"
    assert "messages_per_s" in done.out
    assert {one.pid for one in psutil.Process().children(recursive=True)} <= before


@pytest.mark.long
def test_the_simulator_beside_other_clients_of_mqtt(tmp_path: Path) -> None:
    done = thingstorm(
        "bench", "simulator", "--quick", "--peers", "--case", "connects-5000", "--case", "flood-50-qos1",
        "--case", "target-20k", "--json", "b.json", cwd=tmp_path, within=170,
    )  # fmt: skip
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "b.json").read_text())
    figures = {(row["case"], row["subject"], row["metric"]): row["value"] for row in told["rows"]}
    for subject in ("thingstorm", "thingstorm-raw", "aiomqtt", "gmqtt"):
        assert figures["connects-5000", subject, "connects_per_s"] > 0
        assert figures["flood-50-qos1", subject, "messages_per_s"] > 0
    # paced; after a stall what was held back counts as well
    assert 0 < figures["target-20k", "thingstorm-raw", "messages_per_s"] < 40_000
    assert ("target-20k", "thingstorm", "messages_per_s") not in figures
    assert {one["to"] for one in told["ratios"]} == {"thingstorm-raw", "aiomqtt", "gmqtt"}
    assert set(told["machine"]["versions"]) >= {"paho-mqtt", "aiomqtt", "gmqtt"}
    if shutil.which("emqtt_bench") is None:
        assert told["missing"] == ["emqtt-bench"]
        assert "missing: emqtt-bench is not installed" in done.out
    assert any("the broker is" in note for note in told["notes"])


def test_the_view_beside_sqlite_keeps_the_rate_it_is_asked_for(tmp_path: Path) -> None:
    done = thingstorm(
        "bench", "view", "--quick", "--peers", "--case", "documents-mixed", "--json", "b.json", cwd=tmp_path
    )
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "b.json").read_text())
    figures = {(row["subject"], row["metric"]): row["value"] for row in told["rows"]}
    for subject in ("thingstorm", "sqlite"):
        assert 0 < figures[subject, "documents_per_s"] <= 1_200, "the sender sends 1,000 a second"
        assert 0 < figures[subject, "latency_p50_ms"] <= figures[subject, "latency_max_ms"]
    assert any("Rockset" in note for note in told["notes"])


def test_unknown_benches_and_cases_are_told(tmp_path: Path) -> None:
    for arguments, known in (
        (("gatway",), "simulator"),
        (("simulator", "--case", "x"), "paced-1000"),
        (("gateway", "--case", "qos9"), "qos0-1"),
    ):
        done = here("bench", *arguments, cwd=tmp_path)
        assert (done.code, known in done.err) == (2, True)
