"""Following one message from the device to the verdict, and the dead letters: what `trace` and `dlq` ask for over HTTP.

The gateway's and the device's times are the row's own; the hops between are what each stage remembers of the last
messages that passed (`contracts/trail.py`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import quote

import httpx
from anyio import to_thread
from fastapi import FastAPI

from analytics.verdict_loop import VerdictLoop
from contracts.errors import UnknownName
from contracts.messages import MILLISECOND, Verdict
from contracts.ports import View
from contracts.trail import Step, Trail
from pipeline.dead_letters import DeadLetterQueue

STAGE_SECONDS: Final = 2.0

Steps = Callable[[str], Awaitable[Sequence[Step]]]
"""The hops of a message that one source knows of, by its message id."""

_ROW = (
    "SELECT device_id, topic, epoch_ms(device_time) AS device_time, epoch_ms(received_at) AS received_at "
    "FROM telemetry WHERE message_id = $message_id LIMIT 1"
)


def add_trail(app: FastAPI, trail: Trail) -> None:
    """`/trail/ID`: what this stage remembers of a message."""

    @app.get("/trail/{message_id}")
    async def steps(message_id: str) -> dict[str, Any]:
        return {"steps": [asdict(step) for step in trail.steps(message_id)]}


def add_trace(app: FastAPI, sources: Sequence[Steps]) -> None:
    """`/trace/ID`: every hop of a message that any of the sources knows, in order of time."""

    @app.get("/trace/{message_id}")
    async def trace(message_id: str) -> dict[str, Any]:
        found = [step for source in sources for step in await source(message_id)]
        if not found:
            raise UnknownName("message", message_id, ["the `message_id` of rows: thingstorm sql"])
        return {"steps": [asdict(step) for step in sorted(found, key=lambda step: step.at)]}


def from_trail(trail: Trail) -> Steps:
    """What a stage of this process remembers."""

    async def steps(message_id: str) -> Sequence[Step]:
        return trail.steps(message_id)

    return steps


def from_stage(url: str, token: str) -> Steps:
    """What a stage in another process remembers; nothing while it does not answer."""

    async def steps(message_id: str) -> Sequence[Step]:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with httpx.AsyncClient(headers=headers, timeout=STAGE_SECONDS) as client:
                told = (
                    (await client.get(f"{url}/trail/{quote(message_id, safe='')}")).raise_for_status().json()
                )
        except httpx.HTTPError:
            return []
        return [Step(**step) for step in told["steps"]]

    return steps


def from_view(view: View, model: VerdictLoop) -> Steps:
    """When the device measured, when the gateway took the message, and what the model said of that time first."""

    async def steps(message_id: str) -> Sequence[Step]:
        rows = (await view.query(_ROW, {"message_id": message_id})).dicts()
        return [step for row in rows for step in _of_row(row, list(model.verdicts))]

    return steps


def _of_row(row: dict[str, Any], verdicts: Sequence[Verdict]) -> list[Step]:
    accepted = int(row["received_at"]) * MILLISECOND
    steps = [Step("accepted", accepted, row["topic"])]
    if row["device_time"] is not None:
        steps.insert(0, Step("measured", int(row["device_time"]) * MILLISECOND, row["device_id"]))
    judged = next((verdict for verdict in verdicts if verdict.at >= accepted), None)
    if judged is not None:
        steps.append(Step("judged", judged.decided_at, judged.kind))
    return steps


def add_dead_letters(app: FastAPI, queues: Sequence[DeadLetterQueue]) -> None:
    """`/dead-letters`, and the way back."""

    @app.get("/dead-letters")
    async def letters() -> dict[str, Any]:
        found = [letter for queue in queues for letter in await to_thread.run_sync(queue.letters)]
        return {"dead_letters": [asdict(letter) for letter in found]}

    @app.post("/dead-letters/redrive")
    async def redrive_all() -> dict[str, int]:
        return {"redriven": sum([await to_thread.run_sync(queue.redrive) for queue in queues])}

    @app.post("/dead-letters/{message_id}/redrive")
    async def redrive(message_id: str) -> dict[str, int]:
        known: list[str] = []
        for queue in queues:
            here = [letter.message_id for letter in await to_thread.run_sync(queue.letters)]
            if message_id in here:
                return {"redriven": await to_thread.run_sync(queue.redrive, message_id)}
            known += here
        raise UnknownName("dead letter", message_id, known[:5])
