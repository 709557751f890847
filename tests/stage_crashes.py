"""Kills the processes of the path under load, and counts what became of every message that the broker acknowledged."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from acknowledged_load import AcknowledgedLoad
from stage_processes import PARTS, StageProcesses

from pipeline.aws.archive import ObjectArchive
from pipeline.aws.provision import LANES, provision
from pipeline.aws.session import ClientFactory
from pipeline.worker import queue_depth

SETTLE_SECONDS = 90
"""What a killed worker held is invisible for 30 s."""

READY_SECONDS = 240
"""A process is ready after some 4 s; a machine that does much else gives it a tenth of that."""

VICTIMS = (*PARTS, "analytics")


@dataclass(frozen=True)
class Outcome:
    """What was counted: of messages, except `killed`."""

    sent: int
    acknowledged: int
    rows: int
    viewed: int
    stored: int
    archived: int
    unarchived: int
    dead_letters: int
    killed: tuple[str, ...]


def crash(
    running: StageProcesses, *, kills: int, rate: float, seed: int, tell: Callable[[str], None]
) -> Outcome:
    """Start everything, each part as a process of its own, kill so many in turn at random moments, and count."""
    dice = random.Random(seed)
    running.start_aws()
    for name in ("broker", *VICTIMS):
        running.start(name)
    running.wait_ready("broker", *VICTIMS, within=READY_SECONDS)
    killed: list[str] = []
    with AcknowledgedLoad(port=running.mqtt, rate=rate) as load:
        while len(killed) < kills:
            # the worker first: what it held comes again after 30 s
            turn = ["worker", *dice.sample([one for one in VICTIMS if one != "worker"], len(VICTIMS) - 1)]
            for victim in turn[: kills - len(killed)]:
                time.sleep(dice.uniform(0.2, 1.5))
                if dice.random() < 0.8:  # most die at work, some while they start
                    running.wait_ready(victim, within=READY_SECONDS)
                running.kill(victim)
                running.start(victim)
                killed.append(victim)
                tell(f"{len(killed)}: {victim} killed after {load.sent} messages")
        acknowledged = load.finish(within=READY_SECONDS)
    running.wait_ready("broker", *VICTIMS, within=READY_SECONDS)
    row = settled(running, len(acknowledged))
    found = traces(running)
    in_archive = archived(running, acknowledged)
    factory = _factory(running)
    queues = provision(factory, prefix="thingstorm").queues
    return Outcome(
        sent=load.sent,
        acknowledged=len(acknowledged),
        rows=row["n"],
        viewed=len(found & acknowledged),
        stored=stored(running),
        archived=len(in_archive),
        unarchived=len(acknowledged - in_archive),
        dead_letters=sum(queue_depth(factory.client("sqs"), queues[f"{lane}-dlq"]) for lane in LANES),
        killed=tuple(killed),
    )


def settled(running: StageProcesses, acknowledged: int) -> dict[str, int]:
    """Rows, distinct messages and distinct traces of the view, once it holds every acknowledged trace."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        (row,) = running.query(
            "SELECT count(*) AS n, count(DISTINCT message_id) AS messages, "
            "count(DISTINCT payload->>'trace') AS traces FROM telemetry"
        )
        if row["traces"] >= acknowledged or time.monotonic() > deadline:
            return row
        time.sleep(0.5)


def traces(running: StageProcesses) -> set[str]:
    """Every trace in the view, read in pages: an answer has at most 10,000 rows."""
    found: set[str] = set()
    while True:
        rows = running.query(
            "SELECT DISTINCT payload->>'trace' AS trace FROM telemetry "
            f"ORDER BY 1 LIMIT 9000 OFFSET {len(found)}"
        )
        found |= {row["trace"] for row in rows}
        if len(rows) < 9000:
            return found


def stored(running: StageProcesses) -> int:
    """Rows of the table."""
    dynamodb = boto3.client(
        "dynamodb",
        endpoint_url=f"http://127.0.0.1:{running.aws}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    pages = dynamodb.get_paginator("scan").paginate(TableName="thingstorm-telemetry", Select="COUNT")
    return sum(page["Count"] for page in pages)


def archived(running: StageProcesses, wanted: set[str]) -> set[str]:
    """The traces in the objects, once all that are wanted are there or the time is over."""
    factory = _factory(running)
    resources = provision(factory, prefix="thingstorm")
    archive = ObjectArchive(factory.client("s3"), resources.bucket, resources.delivery)
    deadline = time.monotonic() + SETTLE_SECONDS
    found: set[str] = set()
    known: set[str] = set()
    while not wanted <= found and time.monotonic() < deadline:
        for key in set(archive.keys_now()) - known:
            found |= {_trace(record) for record in archive.read_now(key)}
            known.add(key)
        time.sleep(0.5)
    return found


def _trace(record: Any) -> str:
    payload = record["payload"]
    return str((json.loads(payload) if isinstance(payload, str) else payload)["trace"])


def _factory(running: StageProcesses) -> ClientFactory:
    return ClientFactory(backend="embedded", endpoint=f"http://127.0.0.1:{running.aws}")
