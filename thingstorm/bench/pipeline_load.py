"""The path from the rules to the view under load, and the bare loop beside it, each in a process of its own.

python -m thingstorm.bench.pipeline_load '{"subject": "ceiling", "seconds": 60, "backlog": 400}'

Both send the same bodies and keep at most `backlog` messages between SNS and the table: a queue that grows would measure how slow
the emulator is with a deep one. The bare loop ends at the stream's records, ours at rows that can be queried.
"""

import json
import os
import sys
import time
from typing import Any

import anyio
from anyio import to_thread

from contracts.clock import SystemClock
from contracts.messages import SECOND, Message, PublishProperties
from contracts.streams import BatchStream
from pipeline.aws.bare import BareLoop
from pipeline.aws.emulator import Emulator
from pipeline.aws.provision import provision
from pipeline.aws.session import ClientFactory
from pipeline.rules.engine import DEFAULT_RULES, load_rules
from thingstorm.bench.gateway_load import cpu_seconds
from thingstorm.config import Config
from thingstorm.runtime.parts import AnalyticsParts, Cloud, PipelineParts, make_analytics, make_pipeline
from thingstorm.runtime.supervisor import supervise

DEVICES = 50
WARM_SECONDS = 2.0
"""Unless the settings say `warm`: until connections are made and every thread has worked once."""

TICK = 0.01
"""Seconds between two looks of the generator: at 1,000 messages/s it puts 10 at a time."""

DRAIN_SECONDS = 20.0


class _NoControl:
    """The model does not run here: nobody is put into quarantine."""

    async def quarantine(self, device_id: str, *, reason: str) -> None: ...

    async def release(self, device_id: str) -> None: ...

    def quarantined(self) -> frozenset[str]:
        return frozenset()


class _NoBroker:
    """The measured rules republish nothing."""

    async def republish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        properties: PublishProperties | None = None,
    ) -> None: ...


def message(number: int, now: int) -> Message:
    """A reading as the gateway hands it on: the body that SNS gets of it has some 300 bytes."""
    device = f"meter-{number % DEVICES:04d}"
    payload = {
        "ts": now // 1_000_000,
        "seq": number,
        "power_w": 400 + number % 7,
        "temp_c": 21.5,
        "fw": "1.4.2",
    }
    return Message(
        message_id=f"{number:032x}",
        client_id=device,
        principal="local",
        topic=f"dt/meter/{device}/telemetry",
        payload=json.dumps(payload, separators=(",", ":")).encode(),
        qos=1,
        retain=False,
        received_at=now,
        source_ip="127.0.0.1",
    )


async def _put(
    stream: BatchStream[Message], pipeline: PipelineParts, settings: dict[str, Any], state: dict[str, int]
) -> None:
    """Messages into the path: as fast as the backlog allows, or at `rate`."""
    began = time.monotonic()
    while True:
        if rate := settings.get("rate", 0):
            due = int((time.monotonic() - began) * rate) - state["sent"]
        else:
            due = settings["backlog"] - (state["sent"] - stored(pipeline))
        now = time.time_ns()
        batch = [message(state["sent"] + n, now) for n in range(max(0, due))]
        for one in batch:
            await stream.put(one)
        state["sent"] += len(batch)
        await anyio.sleep(TICK)


def stored(pipeline: PipelineParts) -> int:
    """Messages that the handler has put into the table."""
    return pipeline.workers[0].health().counters["deleted"]


def viewed(analytics: AnalyticsParts) -> int:
    """Rows of telemetry that the view has taken."""
    return analytics.sync.health().counters.get("telemetry_changes", 0)


async def path(settings: dict[str, Any], emulator: Emulator) -> dict[str, float]:
    """The product's own parts: router, worker, handler, delivery stream, stream reader, view."""
    config = Config.model_validate({"aws": {"endpoint": emulator.endpoint}})
    factory = ClientFactory(backend="embedded", endpoint=emulator.endpoint)
    cloud = Cloud(config, factory, provision(factory, prefix="bench"), SystemClock())
    messages = BatchStream[Message]("messages", capacity=20_000)
    events = BatchStream[Message]("events", capacity=10)
    pipeline = make_pipeline(
        cloud, load_rules(DEFAULT_RULES), messages=messages, events=events, broker=_NoBroker()
    )
    analytics = make_analytics(cloud, control=_NoControl(), emit=lambda *_: None)
    state = {"sent": 0}
    async with supervise([*analytics.followers, *pipeline.services], drain_seconds=DRAIN_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_put, messages, pipeline, settings, state)
            await anyio.sleep(settings.get("warm", WARM_SECONDS))
            since, meter = time.time_ns(), _Meter(emulator, viewed(analytics))
            await anyio.sleep(settings["seconds"])
            figures = meter.read(viewed(analytics))
            tasks.cancel_scope.cancel()
        for name, quantile in (("data_latency_p50_ms", 0.5), ("data_latency_p95_ms", 0.95)):
            figures[name] = analytics.sync.latency_ms(quantile, since=since)
        with anyio.move_on_after(DRAIN_SECONDS):
            while viewed(analytics) < state["sent"]:  # noqa: ASYNC110 - two threads and a process are between
                await anyio.sleep(0.05)
        (row,) = (await analytics.view.query("SELECT count(DISTINCT message_id) AS n FROM telemetry")).dicts()
    return {**figures, "lost": state["sent"] - row["n"]}


def ceiling(settings: dict[str, Any], emulator: Emulator) -> dict[str, float]:
    """The bare loop."""
    factory = ClientFactory(backend="embedded", endpoint=emulator.endpoint)
    loop = BareLoop(
        settings["subject"],
        provision(factory, prefix="ceiling"),
        endpoint=emulator.endpoint,
        bodies=[_body(number) for number in range(1_000)],
        backlog=settings["backlog"],
    )
    with loop.running():
        time.sleep(settings.get("warm", WARM_SECONDS))
        meter = _Meter(emulator, loop.seen)
        time.sleep(settings["seconds"])
        return meter.read(loop.seen)


class _Meter:
    """Messages and CPU between two moments: of this process, and of the emulator."""

    def __init__(self, emulator: Emulator, count: int) -> None:
        self._pids = (os.getpid(), emulator.pid)
        self._before = (time.monotonic(), count, *map(cpu_seconds, self._pids))

    def read(self, count: int) -> dict[str, float]:
        now = (time.monotonic(), count, *map(cpu_seconds, self._pids))
        seconds, messages, own, theirs = (
            after - before for after, before in zip(now, self._before, strict=True)
        )
        return {
            "messages_per_s": messages / seconds,
            "cpu_us_per_message": own / max(1, messages) * 1e6,
            "emulator_us_per_message": theirs / max(1, messages) * 1e6,
        }


def _body(number: int) -> str:
    """What rule `telemetry` makes of the same message."""
    told = message(number, 1_700_000_000 * SECOND)
    return json.dumps(
        {
            "payload": json.loads(told.payload),
            "device_id": told.client_id,
            "device_type": "meter",
            "topic": told.topic,
            "message_id": told.message_id,
            "received_at": told.received_at // 1_000_000,
        },
        separators=(",", ":"),
    )


async def main(settings: dict[str, Any]) -> dict[str, float]:
    """One subject on an emulator of its own."""
    emulator = Emulator()
    async with supervise([emulator], drain_seconds=1.0):
        if settings["subject"] == "thingstorm":
            return await path(settings, emulator)
        return await to_thread.run_sync(ceiling, settings, emulator)


if __name__ == "__main__":
    print(json.dumps(anyio.run(main, json.loads(sys.argv[1]))))  # noqa: T201 - whoever started this reads it
