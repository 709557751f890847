"""The HTTP API of collections: make, write, describe; and what a statement reads."""

from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from contracts.messages import Json
from contracts.ports import Collections


class Documents(BaseModel):
    """Documents to insert or replace by `_id`; with `patch` they are merged into what is there (RFC 7386)."""

    documents: list[dict[str, Json]]
    patch: bool = False


class Ids(BaseModel):
    """Documents to delete."""

    ids: list[str]


class Explain(BaseModel):
    """A statement to run for how it reads."""

    sql: str
    parameters: dict[str, Json] = Field(default_factory=dict)


def add_collections(app: FastAPI, view: Collections) -> None:
    """The routes below `/collections`, and `/explain`."""

    @app.get("/collections")
    async def all_collections() -> dict[str, Any]:
        return {"collections": list(await view.names())}

    @app.post("/collections")
    async def create(definition: dict[str, Json]) -> dict[str, Json]:
        await view.create(definition)
        return dict(await view.describe(str(definition["name"])))

    @app.get("/collections/{name}")
    async def one_collection(name: str) -> dict[str, Json]:
        return dict(await view.describe(name))

    @app.post("/collections/{name}/documents")
    async def write(name: str, given: Documents) -> dict[str, Any]:
        return {"ids": list(await view.write(name, given.documents, patch=given.patch))}

    @app.delete("/collections/{name}/documents")
    async def remove(name: str, given: Ids) -> dict[str, int]:
        return {"removed": await view.remove(name, given.ids)}

    @app.post("/explain")
    async def explain(given: Explain) -> dict[str, Any]:
        return {"reads": [asdict(one) for one in await view.explain(given.sql, given.parameters)]}
