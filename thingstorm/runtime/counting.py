"""Asks every hop of a running stack: how much passed, is anything still under way."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from anyio import to_thread

from contracts.errors import NotReady
from contracts.ports import Health
from pipeline.aws import audit
from pipeline.aws.provision import LANES
from pipeline.worker import queue_depth
from thingstorm.report.record import Ledger
from thingstorm.runtime.parts import Cloud
from thingstorm.runtime.refresh import Hop
from thingstorm.runtime.target import Target

Quiet = Callable[[], Awaitable[str]]

OCSF_CLOSE = 3
"""The `activity_id` of a finding that is over."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What every hop counts since its start: `stored`, `viewed`, `distinct` and `archived` are read back."""

    accepted: int
    refused: int
    throttled: int
    routed: int
    queued: int
    stored: int
    viewed: int
    distinct: int
    archived: int
    dead_letters: int

    def ledger(self, before: "Counts", *, published: int) -> Ledger:
        """What came since `before`."""
        return Ledger(
            published=published,
            accepted=self.accepted - before.accepted,
            refused=self.refused - before.refused,
            throttled=self.throttled - before.throttled,
            routed=self.routed - before.routed,
            queued=self.queued - before.queued,
            stored=self.stored - before.stored,
            viewed=self.viewed - before.viewed,
            archived=self.archived - before.archived,
        )


def hops(target: Target) -> list[Hop]:
    """What passed every hop so far, as the parts themselves count: for the display."""
    broker, messages = _part(target, "broker"), _part(target, "router-messages")
    worker, archive, synced = (
        _part(target, name) for name in ("worker-telemetry", "delivery-archive", "sync")
    )
    waiting = broker.buffers[0].used
    return [
        ("accepted", broker.counters["accepted"], f"{broker.detail.rpartition(', ')[2]}, {waiting} waiting"),
        ("routed", messages.counters["routed"], "by rules"),
        ("queued", _queued(target), "SNS to SQS"),
        ("handled", worker.counters["deleted"], "DynamoDB"),
        ("viewed", synced.counters.get("telemetry_changes", 0), f"{synced.buffers[0].used} changes waiting"),
        ("archived", archive.counters["records"], f"{archive.counters['objects']} objects in S3"),
    ]


async def count(target: Target) -> Counts:
    """Every hop now."""
    await target.look()
    broker, messages = _part(target, "broker").counters, _part(target, "router-messages").counters
    (row,) = await target.query("SELECT count(*) AS n, count(DISTINCT message_id) AS d FROM telemetry")
    cloud = target.cloud
    return Counts(
        accepted=broker["accepted"],
        refused=broker["refused"],
        throttled=broker["throttled"],
        routed=messages["routed"],
        queued=_queued(target),
        stored=await to_thread.run_sync(lambda: _stored(cloud)),
        viewed=int(row["n"]),
        distinct=int(row["d"]),
        archived=await to_thread.run_sync(lambda: _archived(cloud)),
        dead_letters=await to_thread.run_sync(lambda: _dead_letters(cloud)),
    )


async def alerts_received(target: Target) -> int:
    """Read (and so delete) what the security team's queue holds; that an incident is over is no alert."""
    sqs, url = target.cloud.factory.client("sqs"), target.cloud.resources.queues["security-team"]
    bodies = await to_thread.run_sync(lambda: audit.receive_all(sqs, url))
    told = [json.loads(body["Message"]) if "Message" in body else body for body in bodies]
    return sum(one.get("happened") != "closed" and one.get("activity_id") != OCSF_CLOSE for one in told)


def quiet(target: Target, before: Counts) -> list[Quiet]:
    """One question a hop: what of that which came since `before` is still under way there?"""
    return [lambda: _streams(target), lambda: _queues(target.cloud), lambda: _view(target, before)]


async def _streams(target: Target) -> str:
    await target.look()
    buffered = {gauge.name: gauge.used for gauge in _part(target, "broker").buffers}
    if buffered["messages"]:
        return f"{buffered['messages']} messages wait for the rules"
    under_way = sum(gauge.used for gauge in _part(target, "router-messages").buffers)
    return f"{under_way} batches are on their way from the rules to their actions" if under_way else ""


async def _queues(cloud: Cloud) -> str:
    """The queue of the metrics is left out: the gateway counts every second, also when nothing happens."""
    sqs, queues = cloud.factory.client("sqs"), cloud.resources.queues
    depths = {
        lane: await to_thread.run_sync(queue_depth, sqs, queues[lane])
        for lane in LANES
        if lane != "device-metrics"
    }
    return ", ".join(f"{depth} messages wait for worker-{name}" for name, depth in depths.items() if depth)


async def _view(target: Target, before: Counts) -> str:
    queued = _queued(target) - before.queued
    (row,) = await target.query("SELECT count(*) AS n FROM telemetry")
    stored = await to_thread.run_sync(lambda: _stored(target.cloud)) - before.stored
    viewed = int(row["n"]) - before.viewed
    return f"{queued} queued, {stored} stored, {viewed} in the view" if viewed < max(stored, queued) else ""


def _queued(target: Target) -> int:
    """What SNS took for the table: rules of the user's own may send the same message elsewhere as well."""
    name = f"sns {target.cloud.resources.sns_topics['telemetry']}"
    return _part(target, "router-messages").counters.get(name, 0)


def _part(target: Target, name: str) -> Health:
    try:
        return target.health()[name]
    except KeyError:
        raise NotReady(f"the stack has no {name} at the moment", fix="look at the log of its stage") from None


def _stored(cloud: Cloud) -> int:
    return audit.count_items(cloud.factory.client("dynamodb"), cloud.resources.tables["telemetry"])


def _archived(cloud: Cloud) -> int:
    return audit.count_archive(cloud.archive())


def _dead_letters(cloud: Cloud) -> int:
    sqs = cloud.factory.client("sqs")
    return sum(queue_depth(sqs, cloud.resources.queues[f"{lane}-dlq"]) for lane in LANES)
