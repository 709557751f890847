"""The HTTP API of registered queries: versions, tags, schedules."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from contracts.errors import ConfigError
from contracts.messages import Json

from .answers import answered, choose
from .api_queries import Form, given_parameters, while_there
from .lambdas import LATEST, QueryBook, Schedule, When, parameter
from .query_catalog import NamedQuery
from .schedules import Course, Schedules

Number = Annotated[int, Path(ge=1, le=2**31)]


class NewParameter(BaseModel):
    """`kind` is INTEGER, DOUBLE or VARCHAR."""

    name: str
    kind: str = "VARCHAR"
    default: str | int | float


class NewQuery(BaseModel):
    """A version of a query: `$name` in its SQL is a parameter."""

    sql: Annotated[str, Field(max_length=100_000)]
    description: Annotated[str, Field(max_length=500)] = ""
    parameters: Annotated[list[NewParameter], Field(max_length=50)] = []
    tags: Annotated[list[str], Field(max_length=20)] = []


class Version(BaseModel):
    """Which version a tag names."""

    version: Annotated[int, Field(ge=1, le=2**31)]


class NewSchedule(BaseModel):
    """How often, in which version, and who gets the answers: the SNS topic of a name, a signed webhook, or both."""

    every_seconds: Annotated[float, Field(ge=1, le=86_400)]
    tag: str = LATEST
    parameters: dict[str, Json] = Field(default_factory=dict)
    when: When = "rows"
    sns_topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,256}$")] = ""
    webhook: Annotated[str, Field(max_length=2_000)] = ""


def add_lambdas(app: FastAPI, book: QueryBook, schedules: Schedules | None) -> None:
    """The routes; where nothing runs by itself `schedules` is None."""
    _add_versions(app, book)
    _add_schedules(app, book, schedules)


def _add_versions(app: FastAPI, book: QueryBook) -> None:
    @app.post("/queries/{name}")
    async def register(name: str, new: NewQuery) -> dict[str, Any]:
        parameters = [parameter(one.name, one.kind, one.default) for one in new.parameters]
        query = await book.register(
            name, new.sql, description=new.description, parameters=parameters, tags=new.tags
        )
        return told(query)

    @app.delete("/queries/{name}")
    async def remove(name: str) -> dict[str, int]:
        return {"removed": await book.remove(name)}

    @app.get("/queries/{name}/versions")
    async def versions(name: str) -> dict[str, Any]:
        return {"versions": [{**told(query), "tags": tags} for query, tags in book.versions(name)]}

    @app.get("/queries/{name}/versions/{version}")
    async def run_version(name: str, version: Number, request: Request, form: Form = None) -> Response:
        chosen = choose(form, request.headers.get("accept", ""))
        given = given_parameters(request)
        return answered(await while_there(request, lambda: book.run(name, given, version=version)), chosen)

    @app.get("/queries/{name}/tags/{tag}")
    async def run_tag(name: str, tag: str, request: Request, form: Form = None) -> Response:
        chosen = choose(form, request.headers.get("accept", ""))
        given = given_parameters(request)
        return answered(await while_there(request, lambda: book.run(name, given, tag=tag)), chosen)

    @app.put("/queries/{name}/tags/{tag}")
    async def set_tag(name: str, tag: str, to: Version) -> dict[str, str]:
        await book.tag(name, tag, to.version)
        return {"outcome": "done"}


def _add_schedules(app: FastAPI, book: QueryBook, schedules: Schedules | None) -> None:
    @app.get("/schedules")
    async def all_schedules() -> dict[str, Any]:
        courses = schedules.courses if schedules else {}
        return {
            "schedules": [
                {**asdict(one), **asdict(courses.get(name, Course()))}
                for name, one in sorted(book.schedules.items())
            ]
        }

    @app.put("/queries/{name}/schedule")
    async def schedule(name: str, new: NewSchedule) -> dict[str, str]:
        if schedules is None:
            raise ConfigError("nothing runs by itself here", fix="ask the API of a running stack")
        if not (new.sns_topic or new.webhook):
            raise ConfigError("nobody would get the answers", fix="give sns_topic, webhook or both")
        if new.webhook:
            schedules.webhooks.check(new.webhook)
        await book.schedule(Schedule(name, **new.model_dump()))
        return {"outcome": "done"}

    @app.delete("/queries/{name}/schedule")
    async def unschedule(name: str) -> dict[str, str]:
        await book.unschedule(name)
        return {"outcome": "done"}


def told(query: NamedQuery) -> dict[str, Any]:
    """A query as JSON."""
    return asdict(query)
