"""Documents that people write themselves: ids, sequences and patches make them changes like those of a table."""

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from contracts.errors import ConfigError
from contracts.messages import Change, Json
from contracts.text import spelt

from .collection import Collection
from .storage import by_id

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
    ids = [spelt(str(one.get("_id") or _new_id())) for one in documents]
    present = _present(writer, collection, ids) if patch else {}
    now, changes = _now_ms(), []
    for number, (identity, one) in enumerate(zip(ids, documents, strict=True)):
        document: dict[str, Json] = {"_event_time": now, **one}
        if identity in present:
            document = _merged(present[identity], one)
        document.pop("_id", None)
        if patch:
            present[identity] = document
        changes.append(
            Change("INSERT", collection.name, {"_id": identity}, document, None, sequence + number)
        )
    return changes


def removed(
    writer: duckdb.DuckDBPyConnection, collection: Collection, ids: Sequence[str], *, sequence: int
) -> list[Change]:
    """The changes that delete those of these documents that are there. Raises ConfigError."""
    _check(collection, [{} for _ in ids])
    return [
        Change("REMOVE", collection.name, {"_id": identity}, None, None, sequence)
        for (identity,) in by_id(writer, collection.name, list(map(spelt, ids)), what="_id")
    ]


def _check(collection: Collection, documents: Sequence[Mapping[str, Json]]) -> None:
    if collection.key != ("_id",):
        raise ConfigError(
            f"{collection.name} follows a table", fix="write to the table: the view follows within a second"
        )
    if len(documents) > MAX_DOCUMENTS:
        raise ConfigError(f"{len(documents)} documents", fix=f"send at most {MAX_DOCUMENTS} at a time")


def _present(
    writer: duckdb.DuckDBPyConnection, collection: Collection, ids: Sequence[str]
) -> dict[str, Mapping[str, Json]]:
    """The documents that are there.

    By their places: a look-up by id would unpack the block of attributes that a row lies in anew for every row.
    """
    places = [place for (place,) in by_id(writer, collection.name, ids, what="rowid")]
    answer = writer.execute(
        f"SELECT * FROM {collection.name} WHERE rowid IN (SELECT unnest(?::BIGINT[]))",  # noqa: S608 - the name is ours
        [places],
    )
    names = [str(column[0]) for column in answer.description or ()]
    rows = (dict(zip(names, row, strict=True)) for row in answer.fetchall())
    return {str(row["_id"]): collection.item(row) for row in rows}


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


def _new_id() -> str:
    """In order of time, so that it is known to be new without a look: nanoseconds, then 64 bits at random."""
    return f"{time.time_ns():016x}{secrets.randbits(64):016x}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
