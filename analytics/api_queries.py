"""The HTTP API of queries: any statement, named ones, and their answers as they change (server-sent events)."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

import anyio
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from contracts.errors import ConfigError, NotReady, ThingstormError
from contracts.messages import Json
from contracts.ports import Collections, Rows

from .answers import answered, as_json, choose
from .lambdas import QueryBook

MAX_LIVE = 20
"""Live queries at once. Each asks as often as its `every` says."""

PING_SECONDS = 15.0
"""A live query whose answer does not change says that it is there."""

Form = Annotated[str | None, Query(alias="format", description="json, ndjson, csv or arrow; or by Accept")]
Every = Annotated[float, Query(ge=0.2, le=3600, description="seconds between two looks")]
Ask = Callable[[], Awaitable[Rows]]


class Statement(BaseModel):
    """A statement and its named parameters (`$name` in the SQL)."""

    sql: str
    parameters: dict[str, Json] = Field(default_factory=dict)


def add_queries(app: FastAPI, view: Collections, book: QueryBook) -> None:
    """The routes `/query`, `/live` and below `/queries`."""
    seats = anyio.Semaphore(MAX_LIVE)

    @app.post("/query", responses=_MEDIA)
    async def query(ask: Statement, request: Request, form: Form = None) -> Response:
        chosen = choose(form, request.headers.get("accept", ""))
        return answered(await while_there(request, lambda: view.ask(ask.sql, ask.parameters)), chosen)

    @app.get("/live", responses=_EVENTS)
    async def live(sql: str, every: Every = 1.0) -> StreamingResponse:
        return _live(seats, lambda: view.ask(sql), every)

    @app.get("/queries")
    async def queries() -> dict[str, Any]:
        return {"queries": [asdict(one) for one in book.all()]}

    @app.get("/queries/{name}", responses=_MEDIA)
    async def named(name: str, request: Request, form: Form = None) -> Response:
        chosen = choose(form, request.headers.get("accept", ""))
        return answered(await while_there(request, lambda: book.run(name, given_parameters(request))), chosen)

    @app.get("/queries/{name}/live", responses=_EVENTS)
    async def live_named(name: str, request: Request, every: Every = 1.0) -> StreamingResponse:
        given = given_parameters(request)
        return _live(seats, lambda: book.run(name, given), every)


_MEDIA: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {},
            "application/x-ndjson": {},
            "text/csv": {},
            "application/vnd.apache.arrow.stream": {},
        }
    }
}
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def given_parameters(request: Request) -> dict[str, Json]:
    """What stands in the URL beside the API's own words."""
    return {name: value for name, value in request.query_params.items() if name not in ("format", "every")}


async def while_there(request: Request, ask: Ask) -> Rows:
    """The answer; nobody works on for a client that has left. Raises NotReady then, which nobody reads."""
    answer: list[Rows] = []
    failed: list[ThingstormError] = []
    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            try:
                answer.append(await ask())
            except ThingstormError as error:
                failed.append(error)
            tasks.cancel_scope.cancel()

        tasks.start_soon(work)
        while (await request.receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()
    if failed:
        raise failed[0]
    if not answer:
        raise NotReady("the client has left", fix="wait for the answer")
    return answer[0]


def _live(seats: anyio.Semaphore, ask: Ask, every: float) -> StreamingResponse:
    return StreamingResponse(
        _events(seats, ask, every), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _events(seats: anyio.Semaphore, ask: Ask, every: float) -> AsyncIterator[str]:
    """`answer` when it is another than before, `error` when there is none; the stream ends if it never will be."""
    try:
        seats.acquire_nowait()
    except anyio.WouldBlock:
        yield _event("error", {"error": f"more than {MAX_LIVE} live queries", "fix": "close some"})
        return
    try:
        async for event in _looks(ask, every):
            yield event
    finally:
        seats.release()


async def _looks(ask: Ask, every: float) -> AsyncIterator[str]:
    before: Rows | None = None
    told = anyio.current_time()
    while True:
        try:
            rows = await ask()
        except ThingstormError as error:
            yield _event("error", {"error": error.what, "fix": error.fix})
            if isinstance(error, ConfigError):
                return
        else:
            if before is None or (rows.columns, rows.rows) != (before.columns, before.rows):
                yield f"event: answer\ndata: {as_json(rows)}\n\n"
                before, told = rows, anyio.current_time()
        if anyio.current_time() - told > PING_SECONDS:
            yield ": still the same\n\n"
            told = anyio.current_time()
        await anyio.sleep(every)


def _event(name: str, told: dict[str, str]) -> str:
    return f"event: {name}\ndata: {json.dumps(told)}\n\n"
