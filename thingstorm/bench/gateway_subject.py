"""Our gateway as the bench measures it: in a process of its own, policies and metrics on, rules that take all.

Rates are unlimited and more may be in flight, as the peers are set; everything else is the `aws` profile.
"""

import json
import resource
import sys
from pathlib import Path

import anyio

from broker.embedded import BrokerSettings, EmbeddedBroker
from contracts.clock import SystemClock
from contracts.messages import Message
from contracts.streams import BatchStream
from thingstorm.bench.gateway_tls import OneCertificate
from thingstorm.runtime.signals import stop_on_signal
from thingstorm.runtime.supervisor import supervise

OVERRIDES = {
    "publishes_per_second": float("inf"),
    "bytes_per_second": float("inf"),
    "connects_per_second": float("inf"),
    "in_flight": 2_000.0,
    "queued": 10_000.0,
}


async def serve(tls: dict[str, str] | None) -> None:
    """Print the port (with certificates: that of TLS), then run until SIGTERM."""
    messages = BatchStream[Message]("messages", capacity=20_000, max_batch=2_000)
    events = BatchStream[Message]("events", capacity=20_000)
    broker = EmbeddedBroker(
        settings=BrokerSettings(
            port=0,
            overrides=OVERRIDES,
            tls_port=0 if tls else None,
            pki=Path(tls["folder"]) if tls else None,
        ),
        clock=SystemClock(),
        messages=messages,
        events=events,
        registry=OneCertificate(Path(tls["client"])) if tls else None,
    )
    async with anyio.create_task_group() as tasks, stop_on_signal() as stop:
        tasks.start_soon(_take_all, messages)
        tasks.start_soon(_take_all, events)
        async with supervise([broker], drain_seconds=2):
            print(broker.tls_port if tls else broker.port, flush=True)  # noqa: T201 - whoever started this reads it
            await stop.wait()
        tasks.cancel_scope.cancel()


async def _take_all(stream: BatchStream[Message]) -> None:
    while True:
        stream.done(await stream.get())


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 20_000)), hard))
    anyio.run(serve, json.loads(sys.argv[1]) if len(sys.argv) > 1 else None)
