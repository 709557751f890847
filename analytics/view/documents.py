"""Documents that people write themselves: ids, sequences and patches make them changes like those of a table."""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from contracts.errors import ConfigError
from contracts.messages import Change, Json

from .collection import Collection
from .storage import literal

MAX_DOCUMENTS = 10_000
"""Documents of one call at most: more make longer transactions, not faster ones."""


def written(
    writer: duckdb.DuckDBPyConnection,
    collection: Collection,
    documents: Sequence[Mapping[str, Json]],
    *,
    patch: bool,
    sequence: int,
) -> list[Change]:
    """The changes that store these documents, numbered from `sequence`. Raises ConfigError."""
    _check(collection, documents)
    named = [
        {"_event_time": _now_ms(), **one, "_id": str(one.get("_id") or uuid.uuid4().hex)} for one in documents
    ]
    given = [set(one) for one in documents]
    rows = _rows(writer, collection, [str(one["_id"]) for one in named], what="*") if patch else {}
    present = {i: collection.item(row) for i, row in rows.items()}
    changes = []
    for number, (document, names) in enumerate(zip(named, given, strict=True)):
        identity = str(document["_id"])
        if identity in present:
            document = _merged(present[identity], {n: document[n] for n in names if n != "_id"})  # noqa: PLW2901 - the merged one
        if patch:
            present[identity] = document
        new = {name: value for name, value in document.items() if name != "_id"}
        changes.append(Change("INSERT", collection.name, {"_id": identity}, new, None, sequence + number))
    return changes


def removed(
    writer: duckdb.DuckDBPyConnection, collection: Collection, ids: Sequence[str], *, sequence: int
) -> list[Change]:
    """The changes that delete those of these documents that are there. Raises ConfigError."""
    _check(collection, [{} for _ in ids])
    return [
        Change("REMOVE", collection.name, {"_id": identity}, None, None, sequence)
        for identity in _rows(writer, collection, ids, what="_id")
    ]


def _check(collection: Collection, documents: Sequence[Mapping[str, Json]]) -> None:
    if collection.key != ("_id",):
        raise ConfigError(
            f"{collection.name} follows a table", fix="write to the table: the view follows within a second"
        )
    if len(documents) > MAX_DOCUMENTS:
        raise ConfigError(f"{len(documents)} documents", fix=f"send at most {MAX_DOCUMENTS} at a time")


def _rows(
    writer: duckdb.DuckDBPyConnection, collection: Collection, ids: Sequence[str], *, what: str
) -> dict[str, dict[str, Any]]:
    if not ids:
        return {}
    listed = ", ".join(map(literal, ids))
    answer = writer.execute(f"SELECT {what} FROM {collection.name} WHERE _id IN ({listed})")  # noqa: S608 - literals are quoted
    names = [str(column[0]) for column in answer.description or ()]
    return {str(row[names.index("_id")]): dict(zip(names, row, strict=True)) for row in answer.fetchall()}


def _merged(target: Any, patch: Mapping[str, Json]) -> dict[str, Json]:
    """RFC 7386: null removes a field, an object is merged into an object, all else replaces."""
    merged: dict[str, Json] = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            merged[name] = _merged(merged.get(name), value)
        else:
            merged[name] = value
    return merged


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
