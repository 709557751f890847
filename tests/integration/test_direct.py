"""The direct path: the whole house in one process and in virtual time, deterministic, with every fault."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from contracts.messages import SECOND
from simulator.scenario import Scenario, load
from thingstorm.config import Config, ModelConfig
from thingstorm.report.expectations import conclude
from thingstorm.report.record import Record, Result
from thingstorm.runtime.direct import play_direct
from thingstorm.runtime.signals import Interrupted

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Without asyncio's debug mode: a traceback a callback is most of the work where time is virtual."""
    return ("asyncio", {"debug": False})


ROOT = Path(__file__).parents[2]
FLEET = """
scenario: v1
name: small
seed: 5
path: direct
clock: {mode: virtual}
duration: 40s
fleet:
  - {group: meter, count: 12, topic: "dt/meter/{device}/telemetry", qos: 1, every: {dist: lognormal, mean: 1s, jitter: 20%},
     payload: {power_w: {walk: {start: 400, step: 15, min: 0, max: 9000}}}}
train: {until: 15s}
"""

Write = Callable[[str], Scenario]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def scenario(timeline: str) -> Scenario:
        file = tmp_path / "s.yaml"
        file.write_text(f"{FLEET}timeline:\n  - {timeline}\n" if timeline else FLEET)
        return load(file)

    return scenario


@pytest.fixture(scope="module")
def quiet() -> list[Result]:
    """The same fleet without any fault, once somebody played it: a seed plays the same every time."""
    return []


WITHOUT_PYOD = Config(model=ModelConfig(detector="robust"))
"""Where the verdicts are beside the point: the import of PyOD is most of what such a test takes."""


async def play(scenario: Scenario, config: Config | None = None, **options: Any) -> tuple[Result, Record]:
    record = await play_direct(
        scenario,
        config or Config(),
        emit=lambda _event, _facts: None,
        refresh=lambda _hops: None,
        stop=anyio.Event(),
        **options,
    )
    return conclude(scenario, record, path="direct", clock="virtual"), record


def phase(kind: str, more: str = "", *, length: str = "10s") -> str:
    return f"{{id: p, at: 20s, for: {length}, kind: {kind}{', ' + more if more else ''}}}"


async def test_the_demo_is_judged_as_over_real_hops_and_every_hop_conserves() -> None:
    result, record = await play(load(ROOT / "scenarios" / "demo.yaml"))
    assert result.passed, result.expectations
    assert [one.verdict for one in result.phases] == ["benign_uptick", "attack"]
    told = result.ledger
    assert told.published == told.accepted == told.routed == told.queued == told.stored == told.viewed
    assert told.viewed == told.archived > 3_000
    assert record.alerts_received == 1
    assert len(result.phases[1].quarantined) == 8


async def test_the_same_seed_gives_the_same_result_and_another_one_does_not(write: Write) -> None:
    scenario = write(phase("attack.publish_flood", "targets: {group: meter, count: 2}"))
    first, again = await play(scenario), await play(scenario)
    other = await play(scenario.model_copy(update={"seed": 6}))
    assert first[0].hash() == again[0].hash() != other[0].hash()
    assert first[1].verdicts == again[1].verdicts


async def test_a_quarantined_device_is_heard_no_more(write: Write) -> None:
    scenario = write(phase("attack.coordinated_botnet", "targets: {group: meter, count: 3}", length="15s"))
    result, record = await play(scenario, with_messages=True)
    (botnet,) = result.phases
    assert botnet.quarantined == botnet.expected_devices
    shut_at = {one.target: one.at for one in record.actions if one.action == "quarantine"}
    late = [row for row in record.messages if row["ts"] * 10**6 > shut_at.get(row["client_id"], 2**63)]
    assert (len(shut_at), late) == (3, [])


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("fault.broker_restart", ""),
        ("fault.throttle", "with: {share: 70%}"),
        ("fault.service_error", "with: {share: 70%}"),
        ("fault.handler_crash", "with: {share: 30%}"),
        ("fault.stream_lag", "with: {delay: 3s}"),
        ("fault.service_latency", "with: {delay: 1s}"),
        ("fault.emulator_restart", ""),
        ("fault.duplicate_delivery", "with: {share: 60%}"),
        ("fault.reorder", ""),
        ("fault.network_drop", "targets: {group: meter}"),
        ("fault.latency", "targets: {group: meter}"),
        ("fault.clock_jump", "targets: {group: meter}"),
    ],
)
async def test_nothing_is_lost_or_doubled_by_a_fault(
    write: Write, quiet: list[Result], kind: str, more: str
) -> None:
    if not quiet:
        quiet.append((await play(write(""), WITHOUT_PYOD))[0])
    # devices that back off must be back before the end
    result, _ = await play(
        write(phase(kind, more, length="4s" if "restart" in kind else "10s")), WITHOUT_PYOD
    )
    assert (result.overall.lost, result.overall.duplicates, result.overall.dead_letters) == (0, 0, 0)
    assert result.ledger.routed == result.ledger.viewed
    assert result.ledger.viewed == pytest.approx(quiet[0].ledger.viewed, abs=14), "what was kept came later"


async def test_poison_is_counted_as_dead_letters(write: Write) -> None:
    result, _ = await play(write(phase("fault.poison_message", "with: {count: 4}")), WITHOUT_PYOD)
    assert (result.overall.dead_letters, result.overall.lost) == (4, 0)


async def test_a_rollout_goes_by_jobs_that_the_devices_get_over_mqtt(write: Write) -> None:
    kind = "benign.firmware_rollout"
    more = 'targets: {group: meter}, with: {new_fw: "9.9", reboot: 1s}'
    scenario = write(phase(kind, more))
    asked = {"expect": scenario.expect.model_copy(update={"sql": ()})}
    result, record = await play(scenario.model_copy(update=asked), with_messages=True)
    assert result.phases[0].verdict in ("benign_uptick", "normal")
    renewed = {row["client_id"] for row in record.messages if '"fw":"9.9"' in row["payload"]}
    assert len(renewed) == 12
    assert result.ledger.accepted == result.ledger.published, "the operator's jobs are no device's messages"


async def test_new_devices_come_when_the_phase_says(write: Write) -> None:
    more = "targets: {group: meter, count: 4}"
    _, record = await play(write(phase("benign.onboarding", more)), WITHOUT_PYOD, with_messages=True)
    first: dict[str, int] = {}
    for row in record.messages:
        first.setdefault(row["client_id"], row["ts"])
    start = record.started_at // 10**6
    assert sorted(at - start > 20_000 for at in first.values()) == [False] * 8 + [True] * 4


async def test_hostile_clients_from_outside_are_seen_by_the_gateway(write: Write) -> None:
    asked = "SELECT sum({0}) AS n FROM device_metrics WHERE device_id <> '$fleet'"
    for kind, column, least in (
        ("attack.connect_flood", "num_connects", 12 + 150),
        ("attack.credential_bruteforce", "num_authentication_failures", 40),
        ("attack.client_id_takeover", "num_disconnects", 5),
    ):
        more = "targets: {group: meter, count: 2}" if "flood" not in kind else ""
        scenario = write(phase(kind, more))
        query = {"name": "n", "query": asked.format(column), "rows": [{"n": 0}]}
        expect = type(scenario.expect).model_validate({"sql": [query]})
        _, record = await play(scenario.model_copy(update={"expect": expect}), WITHOUT_PYOD)
        assert record.answers[0].rows[0]["n"] >= least, kind


async def test_it_can_be_stopped_and_paced(write: Write) -> None:
    stop = anyio.Event()
    stop.set()
    with pytest.raises(Interrupted):
        await play_direct(write(""), Config(), emit=lambda _e, _f: None, refresh=lambda _h: None, stop=stop)
    quick = write("").model_copy(update={"duration": 4 * SECOND})
    began = anyio.current_time()
    await play(quick, WITHOUT_PYOD, speed=4.0)
    assert anyio.current_time() - began >= 1.0
