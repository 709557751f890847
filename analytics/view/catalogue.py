"""Which collections there are: those of the architecture, those that somebody made, and the columns that came since.

Used by the writer only: what readers see of it is replaced whole.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import duckdb

from contracts.errors import ConfigError, UnknownName
from contracts.messages import Change, Json

from .builtin import COLLECTIONS
from .collection import BIGINT, BOOLEAN, DOUBLE, NAME, TAKEN, TIMESTAMP, TYPES, VARCHAR, Collection, Rollup
from .rollups import create_sql as rollup_sql
from .searching import create_sql as search_sql
from .storage import first_line, of_disk, transaction
from .transforming import check

MAX_COLLECTIONS = 200
"""Each costs tables and memory; beyond this a typing mistake in a script is likelier than a need."""

_PARTS = {"name", "columns", "event_time", "indexes", "search", "rollup", "retention_seconds", "transform"}


class Catalogue:
    """The collections of an open view by name."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        with_rollups: bool = True,
        retention: Mapping[str, float] | None = None,
    ) -> None:
        """`retention` are the seconds that rows of the architecture's collections are kept, where not for ever."""
        self._connection = connection
        self._known: dict[str, Collection] = {}
        for collection in COLLECTIONS.values():
            kept = replace(collection, retention_seconds=(retention or {}).get(collection.name))
            self._make(kept if with_rollups else replace(kept, rollup=None))
        for (text,) in connection.execute(
            "SELECT definition FROM _collections ORDER BY created_at"
        ).fetchall():
            self._make(_stored(json.loads(text)))
        for name, field, kind in connection.execute(
            "SELECT collection, field, type FROM _decisions"
        ).fetchall():
            self.widen(name, field, kind)

    @property
    def known(self) -> Mapping[str, Collection]:
        return self._known

    def get(self, name: str) -> Collection:
        """Raises UnknownName."""
        if name not in self._known:
            raise UnknownName("collection", name, self._known)
        return self._known[name]

    def ensure(self, changes: Iterable[Change]) -> None:
        """Make a collection for every table that has none yet: its key, and the rest as it comes."""
        for table, key in {
            change.table: change.key for change in changes if change.table not in self._known
        }.items():
            self.create(Collection(_checked_name(table, self._known), tuple(key), _key_columns(key), {}))

    def create(self, collection: Collection) -> None:
        """Make it and remember it. Raises ConfigError if its transformation is wrong."""
        if len(self._known) >= MAX_COLLECTIONS:
            raise ConfigError(
                f"there are {MAX_COLLECTIONS} collections", fix="use one collection with more fields"
            )
        check(self._connection, collection)
        row = [
            collection.name,
            json.dumps(_definition(collection)),
            datetime.now(tz=UTC).replace(tzinfo=None),
        ]
        try:
            with transaction(self._connection):
                self._connection.execute("INSERT INTO _collections VALUES (?, ?, ?)", row)
                self._make(collection)
        except BaseException as error:
            self._known.pop(collection.name, None)
            if isinstance(error, duckdb.Error) and not of_disk(error):
                raise ConfigError(
                    f"collection {collection.name}: {first_line(error)}", fix="mend its definition"
                ) from None
            raise

    def widen(self, name: str, field: str, kind: str) -> None:
        """Note a column that came since."""
        known = self._known[name]
        self._known[name] = replace(known, columns={**known.columns, field: TYPES[kind]})

    def _make(self, collection: Collection) -> None:
        for statement in (*collection.create_sql(), *rollup_sql(collection), *search_sql(collection)):
            self._connection.execute(statement)
        self._known[collection.name] = collection


def read_definition(given: Mapping[str, Json], known: Mapping[str, Collection]) -> Collection:
    """The collection of documents that a definition describes. Raises ConfigError."""
    if unknown := set(given) - _PARTS:
        raise UnknownName("part of a collection", min(unknown), _PARTS)
    name = _checked_name(str(given.get("name", "")), known)
    columns = given.get("columns") or {}
    if not isinstance(columns, dict):
        raise ConfigError(f"collection {name}: columns is no mapping", fix='write {"temperature": "DOUBLE"}')
    for column, kind in columns.items():
        if not NAME.fullmatch(column) or column in {*TAKEN, "batch"}:
            raise ConfigError(f"collection {name}: column {column!r} cannot be", fix="use a-z, 0-9 and _")
        if str(kind) not in TYPES:
            raise UnknownName("column type", str(kind), TYPES)
    try:
        collection = _stored(
            {**given, "name": name, "key": ["_id"], "columns": {"_event_time": "TIMESTAMP", **columns}}
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"collection {name}: {error}", fix="see docs/view.md for what a collection is"
        ) from None
    _check_columns(collection)
    return collection


def _check_columns(collection: Collection) -> None:
    rollup = collection.rollup
    asked = [*collection.indexes, *([rollup.by, rollup.size, rollup.distinct] if rollup else [])]
    for column in filter(None, asked):
        if column not in collection.columns:
            raise UnknownName(f"column of {collection.name}", column, collection.columns)
    if collection.columns.get(collection.event_time) is not TIMESTAMP:
        raise ConfigError(
            f"collection {collection.name}: event_time {collection.event_time} is no TIMESTAMP column",
            fix="leave it out: `_event_time` is used",
        )
    paths = [*collection.search, *(rollup.fields if rollup else ())]
    for path in paths:
        if path != "*" and ('"' in path or "'" in path or "$" in path or not path):
            raise ConfigError(
                f"collection {collection.name}: {path!r} is no path", fix="write it as address.city"
            )


def _checked_name(name: str, known: Mapping[str, Collection]) -> str:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be a collection's name", fix="use a-z, 0-9 and _, a letter first")
    if name in known or name == "archive":
        raise ConfigError(f"there is a collection {name} already", fix="choose another name")
    return name


def _stored(given: Mapping[str, Any]) -> Collection:
    rollup = given.get("rollup")
    retention = given.get("retention_seconds")
    return Collection(
        name=given["name"],
        key=tuple(given["key"]),
        columns={name: TYPES[kind] for name, kind in given["columns"].items()},
        defaults={},
        event_time=str(given.get("event_time") or "_event_time"),
        indexes=tuple(given.get("indexes") or ()),
        search=tuple(given.get("search") or ()),
        rollup=Rollup(**{**rollup, "fields": tuple(rollup.get("fields", ()))}) if rollup else None,
        retention_seconds=float(retention) if retention is not None else None,
        transform=str(given.get("transform") or ""),
    )


def _definition(collection: Collection) -> dict[str, Any]:
    rollup = collection.rollup
    return {
        "name": collection.name,
        "key": list(collection.key),
        "columns": {name: kind.sql for name, kind in collection.columns.items()},
        "event_time": collection.event_time,
        "indexes": list(collection.indexes),
        "search": list(collection.search),
        "rollup": None
        if rollup is None
        else {
            "by": rollup.by,
            "size": rollup.size,
            "fields": list(rollup.fields),
            "distinct": rollup.distinct,
        },
        "retention_seconds": collection.retention_seconds,
        "transform": collection.transform,
    }


def _key_columns(key: Mapping[str, Json]) -> dict[str, Any]:
    kinds = {str: VARCHAR, bool: BOOLEAN, int: BIGINT, float: DOUBLE}
    return {name: kinds.get(type(value), VARCHAR) for name, value in key.items()}
