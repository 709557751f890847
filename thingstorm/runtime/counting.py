"""Asks every hop of a running stack: how much passed, is anything still under way."""

from collections.abc import Awaitable, Callable

from anyio import to_thread

from pipeline.aws import audit
from pipeline.aws.provision import LANES
from pipeline.worker import queue_depth
from thingstorm.report.record import Ledger
from thingstorm.runtime.refresh import Hop
from thingstorm.runtime.stack import Stack

Quiet = Callable[[], Awaitable[str]]


def hops(stack: Stack) -> list[Hop]:
    """What passed every hop so far, as the parts themselves count: for the display."""
    broker, messages = stack.broker.health(), stack.routers[0].health()
    waiting = broker.buffers[0].used
    worker, archive = stack.workers[0].health(), stack.delivery.health()
    synced = stack.sync.health()
    return [
        ("accepted", broker.counters["accepted"], f"{broker.detail.rpartition(', ')[2]}, {waiting} waiting"),
        ("routed", messages.counters["routed"], "by rules"),
        ("queued", messages.counters["sns"], "SNS to SQS"),
        ("handled", worker.counters["deleted"], "DynamoDB"),
        ("viewed", synced.counters.get("telemetry_changes", 0), f"{synced.buffers[0].used} changes waiting"),
        ("archived", archive.counters["records"], f"{archive.counters['objects']} objects in S3"),
    ]


async def count(stack: Stack, *, published: int) -> tuple[Ledger, int, int]:
    """The ledger (stored, viewed and archived read back), distinct messages in the view, dead letters."""
    broker, messages = stack.broker.health().counters, stack.routers[0].health().counters
    rows = await stack.view.query("SELECT count(*) AS n, count(DISTINCT message_id) AS d FROM telemetry")
    viewed, distinct = (int(value) for value in rows.rows[0])
    ledger = Ledger(
        published=published,
        accepted=broker["accepted"],
        refused=broker["refused"],
        throttled=broker["throttled"],
        routed=messages["routed"],
        queued=messages["sns"],
        stored=await to_thread.run_sync(lambda: _stored(stack)),
        viewed=viewed,
        archived=await to_thread.run_sync(lambda: _archived(stack)),
    )
    return ledger, distinct, await to_thread.run_sync(lambda: _dead_letters(stack))


async def alerts_received(stack: Stack) -> int:
    """Read (and so delete) what the security team's queue holds."""
    sqs, url = stack.factory.client("sqs"), stack.resources.queues["security-team"]
    return len(await to_thread.run_sync(lambda: audit.receive_all(sqs, url)))


def quiet(stack: Stack) -> list[Quiet]:
    """One question a hop: what is still under way there?"""
    return [lambda: _streams(stack), lambda: _queues(stack), lambda: _view(stack)]


async def _streams(stack: Stack) -> str:
    buffered = {gauge.name: gauge.used for gauge in stack.broker.health().buffers}
    return f"{buffered['messages']} messages wait for the rules" if buffered["messages"] else ""


async def _queues(stack: Stack) -> str:
    """The queue of the metrics is left out: the gateway counts every second, also when nothing happens."""
    lanes = [worker for worker in stack.workers if not worker.name.endswith("device-metrics")]
    depths = {worker.name: await worker.pending() for worker in lanes}
    return ", ".join(f"{depth} messages wait for {name}" for name, depth in depths.items() if depth)


async def _view(stack: Stack) -> str:
    queued = stack.routers[0].health().counters["sns"]
    rows = await stack.view.query("SELECT count(*) FROM telemetry")
    stored = await to_thread.run_sync(lambda: _stored(stack))
    viewed = int(rows.rows[0][0])
    return f"{queued} queued, {stored} stored, {viewed} in the view" if viewed < max(stored, queued) else ""


def _stored(stack: Stack) -> int:
    return audit.count_items(stack.factory.client("dynamodb"), stack.resources.tables["telemetry"])


def _archived(stack: Stack) -> int:
    return audit.count_archive(stack.factory.client("s3"), stack.resources.bucket)


def _dead_letters(stack: Stack) -> int:
    sqs = stack.factory.client("sqs")
    return sum(queue_depth(sqs, stack.resources.queues[f"{lane}-dlq"]) for lane in LANES)
