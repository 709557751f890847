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


def bench(folder: Path, *arguments: str) -> dict[tuple[str, str, str], float]:
    """The figures of a small run, by case, subject and metric."""
    done = thingstorm("bench", *arguments, "--quick", "--json", "b.json", cwd=folder)
    assert done.code == 0, done.err
    told = json.loads((folder / "b.json").read_text())
    assert told["seconds"] > 0
    return {(row["case"], row["subject"], row["metric"]): row["value"] for row in told["rows"]}


@pytest.mark.long
def test_the_gateway_under_attack_over_tls_and_full_of_idle_clients(tmp_path: Path) -> None:
    cases = ("hostile", "tls-connects", "tls-qos1-50", "idle-5000", "filters-8")
    figures = bench(tmp_path, "gateway", *(f"--case={case}" for case in cases))
    assert figures["hostile", "thingstorm", "attempts_per_s"] > 500
    assert figures["hostile", "thingstorm", "lost"] == 0
    assert 0 < figures["hostile", "thingstorm", "kept_share"] < 2
    assert figures["tls-qos1-50", "thingstorm", "messages_per_s"] > 0
    assert figures["idle-5000", "thingstorm", "connects_per_s"] > 0
    assert figures["filters-8", "thingstorm", "messages_per_s"] > 0


@pytest.mark.long
def test_rules_beside_plain_python_and_ministack(tmp_path: Path) -> None:
    figures = bench(tmp_path, "rules", "--peers")
    for case in ("10-rules", "1000-rules"):
        for subject in ("thingstorm", "hand-written", "ministack"):
            assert figures[case, subject, "evaluations_per_s"] > 0
    ours, theirs = (figures["1000-rules", one, "evaluations_per_s"] for one in ("thingstorm", "ministack"))
    assert ours > 5 * theirs, "an index of topics against a list: it was 286 times"


@pytest.mark.long
def test_rows_of_the_view_beside_sqlite(tmp_path: Path) -> None:
    figures = bench(tmp_path, "view", "--peers", "--case=rows-300k")
    for subject in ("thingstorm", "sqlite"):
        metrics = {metric: value for (_, of, metric), value in figures.items() if of == subject}
        assert {"key_p95_ms", "window_p95_ms", "indexed_p95_ms", "upsert_1000_p95_ms"} <= metrics.keys()
        assert all(value >= 0 for value in metrics.values())


@pytest.mark.long
def test_the_detector_on_a_fleet(tmp_path: Path) -> None:
    figures = bench(tmp_path, "detector", "--case=fleet-500")
    ours = {metric: value for (_, subject, metric), value in figures.items() if subject == "thingstorm"}
    assert 0 < ours["tick_p50_ms"] <= ours["tick_p95_ms"]
    assert ours["recall_pct"] > 90
