"""Named queries that people register while the stack runs: versions, tags, default parameters, a schedule.

They are kept in the collection `query_lambdas` of the view, so they outlive a restart and travel with an export. Their
SQL is a stranger's: it runs under the limits of `View.ask`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import anyio

from contracts.errors import ConfigError, UnknownName
from contracts.messages import Json
from contracts.ports import Collections, Rows

from .query_catalog import KINDS, NamedQuery, Parameter, catalog

COLLECTION = "query_lambdas"
LATEST = "latest"
MAX_QUERIES, MAX_VERSIONS, MAX_SCHEDULES = 200, 50, 50

_COLUMNS = {
    "kind": "VARCHAR", "name": "VARCHAR", "version": "BIGINT", "sql": "VARCHAR", "description": "VARCHAR",
    "parameters": "JSON", "tags": "VARCHAR[]", "schedule": "JSON",
}  # fmt: skip
_STORED = f"SELECT kind, name, version, sql, description, parameters, tags, schedule FROM {COLLECTION} ORDER BY name, version"  # noqa: S608 - a constant
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

When = Literal["rows", "changed", "always"]
"""Which answers are pushed: those with rows, those that differ from the one before, all."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often a registered query runs, in which version (by tag), with which parameters, and who gets the answer."""

    name: str
    every_seconds: float
    tag: str = LATEST
    parameters: Mapping[str, Json] = field(default_factory=dict)
    when: When = "rows"
    sns_topic: str = ""
    webhook: str = ""


@dataclass(slots=True)
class _Entry:
    versions: dict[int, NamedQuery] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)


class QueryBook:
    """All named queries: those of the product, and the registered ones. `changed` is set when a schedule changes."""

    def __init__(self, view: Collections) -> None:
        self._view = view
        self._entries: dict[str, _Entry] = {}
        self._loaded = False
        self._writing = anyio.Lock()
        self.schedules: dict[str, Schedule] = {}
        self.changed = anyio.Event()

    async def load(self) -> None:
        """Read what was registered before, once."""
        if self._loaded:
            return
        self._entries, self.schedules = {}, {}
        if COLLECTION in await self._view.names():
            for row in (await self._view.query(_STORED)).dicts():
                with suppress(KeyError, TypeError, ValueError, ConfigError):  # written by somebody's hand
                    self._take(row)
        self._loaded = True

    async def run(
        self, name: str, given: Mapping[str, Json], *, version: int | None = None, tag: str = ""
    ) -> Rows:
        """Run one: of the product, or registered, by version or tag. Raises UnknownName, ConfigError."""
        if name not in catalog():
            await self.load()
        query = self.find(name, version=version, tag=tag)
        ask = self._view.query if name in catalog() else self._view.ask
        return await ask(query.sql, query.bind(given))

    def find(self, name: str, *, version: int | None = None, tag: str = "") -> NamedQuery:
        """Raises UnknownName: no such query, version or tag."""
        if name in catalog():
            return _only(catalog()[name], version, tag)
        entry = self._entry(name)
        if tag and tag != LATEST:
            if tag not in entry.tags:
                raise UnknownName(f"tag of {name}", tag, [*entry.tags, LATEST])
            version = entry.tags[tag]
        chosen = max(entry.versions) if version is None else version
        if chosen not in entry.versions:
            raise UnknownName(f"version of {name}", str(chosen), map(str, entry.versions))
        return entry.versions[chosen]

    def all(self) -> list[NamedQuery]:
        """The newest version of each."""
        return [
            *catalog().values(),
            *(entry.versions[max(entry.versions)] for entry in self._entries.values()),
        ]

    def versions(self, name: str) -> list[tuple[NamedQuery, tuple[str, ...]]]:
        """All versions with their tags. Raises UnknownName."""
        if name in catalog():
            return [(catalog()[name], (LATEST,))]
        entry = self._entry(name)
        newest = max(entry.versions)
        return [
            (query, (*_tags(entry, number), *([LATEST] if number == newest else [])))
            for number, query in sorted(entry.versions.items())
        ]

    async def register(
        self,
        name: str,
        sql: str,
        *,
        description: str = "",
        parameters: Iterable[Parameter] = (),
        tags: Iterable[str] = (),
    ) -> NamedQuery:
        """Add a version; the statement is looked at as it would run. Raises ConfigError."""
        await self.load()
        self._must_be_free(name)
        query = NamedQuery(name, 1, description, tuple(parameters), sql)
        await self._view.ask(f"DESCRIBE {sql}", query.bind({}))
        async with self._writing:
            entry = self._entries.get(name, _Entry())
            if len(entry.versions) >= MAX_VERSIONS or (
                not entry.versions and len(self._entries) >= MAX_QUERIES
            ):
                raise ConfigError(
                    f"more than {MAX_QUERIES} queries, or {MAX_VERSIONS} versions of one", fix="remove some"
                )
            query = replace(query, version=max(entry.versions, default=0) + 1)
            entry.versions[query.version] = query
            entry.tags |= {_checked(tag, "tag"): query.version for tag in tags}
            await self._store([_row(one, _tags(entry, one.version)) for one in entry.versions.values()])
            self._entries[name] = entry
        return query

    async def tag(self, name: str, tag: str, version: int) -> None:
        """Let a tag name a version. Raises UnknownName, ConfigError."""
        entry = self._entry(name)
        self.find(name, version=version)
        if tag == LATEST:
            raise ConfigError("latest is always the newest version", fix="choose another tag")
        async with self._writing:
            entry.tags[_checked(tag, "tag")] = version
            await self._store([_row(one, _tags(entry, one.version)) for one in entry.versions.values()])

    async def remove(self, name: str) -> int:
        """Forget all versions, and the schedule; how many versions there were. Raises UnknownName."""
        entry = self._entry(name)
        async with self._writing:
            await self._view.remove(COLLECTION, [name, *(f"{name}@{version}" for version in entry.versions)])
            self._entries.pop(name, None)
            self._reschedule(name, None)
        return len(entry.versions)

    async def schedule(self, schedule: Schedule) -> None:
        """Let it run by itself. Raises UnknownName, ConfigError."""
        self.find(schedule.name, tag=schedule.tag).bind(schedule.parameters)
        if schedule.name not in self.schedules and len(self.schedules) >= MAX_SCHEDULES:
            raise ConfigError(f"more than {MAX_SCHEDULES} schedules", fix="remove some")
        async with self._writing:
            kept = {key: getattr(schedule, key) for key in _SCHEDULE}
            await self._store(
                [{"_id": schedule.name, "kind": "schedule", "name": schedule.name, "schedule": kept}]
            )
            self._reschedule(schedule.name, schedule)

    async def unschedule(self, name: str) -> None:
        """Raises UnknownName."""
        if name not in self.schedules:
            raise UnknownName("schedule", name, self.schedules)
        async with self._writing:
            await self._view.remove(COLLECTION, [name])
            self._reschedule(name, None)

    def _reschedule(self, name: str, schedule: Schedule | None) -> None:
        self.schedules.pop(name, None)
        if schedule is not None:
            self.schedules[name] = schedule
        self.changed.set()
        self.changed = anyio.Event()

    async def _store(self, rows: list[dict[str, Json]]) -> None:
        if COLLECTION not in await self._view.names():
            await self._view.create({"name": COLLECTION, "columns": _COLUMNS})
        await self._view.write(COLLECTION, rows)

    def _take(self, row: Mapping[str, Any]) -> None:
        if row["kind"] == "schedule":
            told = json.loads(row["schedule"])
            self.schedules[row["name"]] = Schedule(row["name"], **{key: told[key] for key in _SCHEDULE})
            return
        parameters = tuple(Parameter(**one) for one in json.loads(row["parameters"] or "[]"))
        query = NamedQuery(row["name"], int(row["version"]), row["description"] or "", parameters, row["sql"])
        query.bind({})
        entry = self._entries.setdefault(query.name, _Entry())
        entry.versions[query.version] = query
        entry.tags |= dict.fromkeys(row["tags"] or (), query.version)

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise UnknownName("query", name, [*catalog(), *self._entries])
        return self._entries[name]

    def _must_be_free(self, name: str) -> None:
        _checked(name, "query")
        if name in catalog():
            raise ConfigError(f"the query {name} is the product's own", fix="choose another name")


_SCHEDULE = ("every_seconds", "tag", "parameters", "when", "sns_topic", "webhook")


def parameter(name: str, kind: str, default: Json) -> Parameter:
    """Raises ConfigError: a wrong name or kind, or a default that is none of it."""
    _checked(name, "parameter")
    if kind not in KINDS:
        raise UnknownName("kind of parameter", kind, KINDS)
    return Parameter(name, kind, Parameter(name, kind, default).read(default))


def _only(query: NamedQuery, version: int | None, tag: str) -> NamedQuery:
    if version not in (None, query.version) or tag not in ("", LATEST):
        raise UnknownName(
            f"version or tag of {query.name}", tag or str(version), [str(query.version), LATEST]
        )
    return query


def _tags(entry: _Entry, version: int) -> list[str]:
    return sorted(tag for tag, number in entry.tags.items() if number == version)


def _row(query: NamedQuery, tags: list[str]) -> dict[str, Json]:
    return {
        "_id": f"{query.name}@{query.version}",
        "kind": "version",
        "name": query.name,
        "version": query.version,
        "sql": query.sql,
        "description": query.description,
        "parameters": [{"name": p.name, "kind": p.kind, "default": p.default} for p in query.parameters],
        "tags": tags,
    }


def _checked(name: str, kind: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a {kind}", fix="use a-z, 0-9 and _, a letter first"
        )
    return name
