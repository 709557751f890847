"""A deep queue holds the rules back, and nothing else does."""

import anyio
import pytest

from contracts.clock import SystemClock
from contracts.errors import Transient
from contracts.messages import Message
from contracts.streams import BatchStream
from pipeline.actions import ActionContext, Actions
from pipeline.gate import QueueGate
from pipeline.router import Router
from pipeline.rules.engine import Engine
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


def message(number: int) -> Message:
    return Message(f"m{number}", "d", "local", "t", b"{}", 1, retain=False, received_at=1)


async def test_messages_wait_before_the_rules_while_the_queue_is_deep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.gate.LOOK_SECONDS", 0.01)
    depth: list[int | Exception] = [10]

    def look() -> int:
        if isinstance(depth[0], Exception):
            raise depth[0]
        return depth[0]

    gate = QueueGate("telemetry", look, clock=SystemClock(), deep=10)
    stream = BatchStream[Message]("messages", capacity=100)
    router = Router("r", stream, Engine(()), Actions(ActionContext()), linger=0, gate=gate.passed)
    async with supervise([gate], drain_seconds=1):
        await anyio.sleep(0.05)
        async with supervise([router], drain_seconds=1):
            await stream.put(message(1))
            await anyio.sleep(0.1)
            assert router.health().counters["received"] == 0
            assert gate.health().detail == "closed: the emulator's queue is deep"
            depth[0] = Transient("SQS is away", fix="wait")
            await anyio.sleep(0.05)
            assert router.health().counters["received"] == 0, "as it was when last seen"
            depth[0] = 9
            with anyio.fail_after(2):
                await stream.join()
    gauge = gate.health().buffers[0]
    assert (gauge.used, gauge.highest, gate.health().counters["closed"]) == (9, 10, 1)


async def test_a_gate_that_ends_holds_nobody_back() -> None:
    gate = QueueGate("telemetry", lambda: 10, clock=SystemClock(), deep=10)
    async with supervise([gate], drain_seconds=1):
        await anyio.sleep(0.05)
    with anyio.fail_after(1):
        await gate.passed()
