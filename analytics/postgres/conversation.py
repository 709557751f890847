"""What one client says and is answered, without its socket: simple queries, prepared statements, portals."""

import re
import secrets
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import anyio

from contracts.errors import ConfigError, ThingstormError
from contracts.messages import Json
from contracts.ports import Rows

from . import wire
from .statements import MAX_STATEMENTS, SETTINGS, Statement, last_name, setting, split, told
from .types import SAMPLES, TEXT, TEXTS, Kind, encoder, kind_of, parameter
from .wire import Reading, Told, WireError

MAX_PREPARED, MAX_PORTALS = 500, 20
"""Of one session. A portal keeps an answer: 10,000 rows at most."""

MAX_PARAMETERS = 1_000
ROWS_AT_ONCE = 500
_IN_ANY = re.compile(r"\b(?:any|all)\s*\(\s*\$(\d{1,4})\s*\)", re.IGNORECASE)


class Asks(Protocol):
    """Who answers: the view, or the catalogue of a PostgreSQL."""

    async def ask(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Rows:
        """Run one read-only statement of somebody unknown. Raises ThingstormError."""
        ...


class Refused(Exception):
    """An error to tell the client; the connection goes on."""

    def __init__(self, said: Told) -> None:
        super().__init__(said.what)
        self.told = said


@dataclass(slots=True)
class Prepared:
    """A parsed statement, the types its client gave to parameters, and its columns once they were asked for."""

    statement: Statement | None
    oids: list[int]
    columns: tuple[tuple[str, ...], tuple[Kind, ...]] | None = None


@dataclass(slots=True)
class Portal:
    """A statement with its parameters; its answer once it ran, and how much of it was sent."""

    prepared: Prepared
    parameters: dict[str, Json]
    formats: list[int]
    rows: Rows | None = None
    kinds: tuple[Kind, ...] = ()
    sent: int = 0


Send = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Conversation:
    """One session after its start. `answer` takes messages in order; what it sends goes to `send`."""

    view: Asks
    catalogue: Asks
    send: Send
    state: str = "I"
    failed: bool = False
    prepared: dict[str, Prepared] = field(default_factory=dict)
    portals: dict[str, Portal] = field(default_factory=dict)

    secret: int = field(default_factory=lambda: secrets.randbits(32))
    _running: anyio.CancelScope | None = None

    async def greet(self, number: int) -> None:
        """What a client waits for after it was let in."""
        told_settings = b"".join(wire.parameter(name, value) for name, value in SETTINGS.items())
        await self.send(wire.AUTHENTICATED + told_settings + wire.key(number, self.secret) + wire.ready("I"))

    def cancel(self) -> None:
        """End the query that runs, if one does; its client gets an error for it."""
        if self._running is not None:
            self._running.cancel()

    async def answer(self, kind: bytes, body: bytes) -> None:
        """Raises WireError for a message that is none."""
        if kind == b"S":
            self.failed = False
            if self.state == "I":
                self.portals.clear()
            await self.send(wire.ready(self.state))
        elif kind == b"Q":
            await self._simple(Reading(body).text())
        elif not self.failed:
            await self._extended(kind, Reading(body))

    async def _simple(self, text: str) -> None:
        try:
            statements = _checked(split(text))
            if not statements:
                await self.send(wire.EMPTY)
            for statement in statements:
                await self._run_simple(statement)
        except (Refused, ThingstormError) as error:
            await self._refuse(error)
        self.failed = False
        await self.send(wire.ready(self.state))

    async def _run_simple(self, statement: Statement) -> None:
        if statement.session:
            await self.send(wire.done(await self._session(statement, {})))
            return
        rows = await self._ask(statement, {})
        kinds = tuple(map(kind_of, rows.types))
        await self.send(wire.columns(rows.columns, kinds, [0] * len(kinds)))
        await self._send_rows(rows, kinds, [0] * len(kinds), 0, len(rows.rows))
        await self.send(wire.done(f"{statement.tag} {len(rows.rows)}"))

    async def _extended(self, kind: bytes, reading: Reading) -> None:
        steps = {
            b"P": self._parse,
            b"B": self._bind,
            b"D": self._describe,
            b"E": self._execute,
            b"C": self._close,
            b"H": _flush,
        }
        if kind not in steps:
            raise WireError(f"a message of kind {kind!r}")
        try:
            await steps[kind](reading)
        except (Refused, ThingstormError) as error:
            self.failed = True  # all until the next Sync is left out
            await self._refuse(error)

    async def _parse(self, reading: Reading) -> None:
        name, text, oids = reading.text(), reading.text(), reading.longs()
        statements = _checked(split(text))
        if len(statements) > 1:
            raise Refused(
                Told("42601", f"{len(statements)} statements, expected one", "prepare them one by one")
            )
        if name and name in self.prepared:
            raise Refused(Told("42P05", f"prepared statement {name!r} exists already", "close it first"))
        if len(self.prepared) >= MAX_PREPARED:
            raise Refused(Told("53400", f"more than {MAX_PREPARED} prepared statements", "close some"))
        self.prepared[name] = Prepared(statements[0] if statements else None, oids)
        await self.send(wire.PARSED)

    async def _bind(self, reading: Reading) -> None:
        portal, name = reading.text(), reading.text()
        prepared = self._known(name)
        formats, values, results = reading.shorts(), reading.values(), reading.shorts()
        if len(values) > MAX_PARAMETERS:
            raise Refused(Told("54000", f"more than {MAX_PARAMETERS} parameters", "send fewer"))
        if len(self.portals) >= MAX_PORTALS and portal not in self.portals:
            raise Refused(Told("53400", f"more than {MAX_PORTALS} portals", "close some"))
        oids = _typed([*prepared.oids, *[0] * len(values)], prepared.statement)
        given = {
            str(at + 1): parameter(value, oids[at], _format(formats, at)) for at, value in enumerate(values)
        }
        self.portals[portal] = Portal(prepared, given, results)
        await self.send(wire.BOUND)

    async def _describe(self, reading: Reading) -> None:
        which, name = reading.take(1), reading.text()
        if which == b"P":
            await self._describe_portal(self._portal(name))
        else:
            await self._describe_statement(self._known(name))

    async def _describe_portal(self, portal: Portal) -> None:
        statement = portal.prepared.statement
        if statement is None or statement.session:
            await self.send(wire.NOTHING)
            return
        rows = await self._rows(portal, statement)
        forms = [_format(portal.formats, at) for at in range(len(portal.kinds))]
        await self.send(wire.columns(rows.columns, portal.kinds, forms))

    async def _describe_statement(self, prepared: Prepared) -> None:
        statement = prepared.statement
        count = _parameters_of(statement.sql) if statement else 0
        oids = [oid or TEXT.oid for oid in [*prepared.oids, *[0] * count][: max(count, len(prepared.oids))]]
        await self.send(wire.parameters(oids))
        if statement is None or statement.session:
            await self.send(wire.NOTHING)
            return
        names, kinds = prepared.columns or await self._columns(prepared, statement, count)
        prepared.columns = names, kinds
        await self.send(wire.columns(names, kinds, [0] * len(kinds)))

    async def _columns(
        self, prepared: Prepared, statement: Statement, count: int
    ) -> tuple[tuple[str, ...], tuple[Kind, ...]]:
        """What it would answer; with values of the parameters' types, for nothing of it is run."""
        if statement.shows:
            return (statement.shows,), (TEXT,)
        oids = [*prepared.oids, *[0] * count][:count]
        described = Statement(f"DESCRIBE {statement.sql}", about_catalogue=statement.about_catalogue)
        rows = await self._ask(described, {str(at + 1): SAMPLES.get(oid) for at, oid in enumerate(oids)})
        return tuple(str(row[0]) for row in rows.rows), tuple(kind_of(str(row[1])) for row in rows.rows)

    async def _execute(self, reading: Reading) -> None:
        portal, most = self._portal(reading.text()), reading.long()
        statement = portal.prepared.statement
        if statement is None:
            await self.send(wire.EMPTY)
        elif statement.session:
            await self.send(wire.done(await self._session(statement, portal.parameters)))
        else:
            await self._send_portal(portal, statement, await self._rows(portal, statement), most)

    async def _send_portal(self, portal: Portal, statement: Statement, rows: Rows, most: int) -> None:
        upto = min(len(rows.rows), portal.sent + most) if most > 0 else len(rows.rows)
        forms = [_format(portal.formats, at) for at in range(len(portal.kinds))]
        await self._send_rows(rows, portal.kinds, forms, portal.sent, upto)
        over = upto == len(rows.rows)
        await self.send(wire.done(f"{statement.tag} {upto - portal.sent}") if over else wire.SUSPENDED)
        portal.sent = upto

    async def _rows(self, portal: Portal, statement: Statement) -> Rows:
        if portal.rows is None:
            portal.rows = await self._ask(statement, portal.parameters)
            told_before = portal.prepared.columns
            portal.kinds = told_before[1] if told_before else tuple(map(kind_of, portal.rows.types))
        return portal.rows

    async def _send_rows(
        self, rows: Rows, kinds: tuple[Kind, ...], forms: list[int], start: int, upto: int
    ) -> None:
        encoders = [encoder(kind, form) for kind, form in zip(kinds, forms, strict=True)]
        for at in range(start, upto, ROWS_AT_ONCE):
            try:
                some = wire.rows(rows.rows[at : min(upto, at + ROWS_AT_ONCE)], encoders)
            except (struct.error, ValueError, TypeError, AttributeError, OverflowError):
                raise Refused(
                    Told("22003", "a value does not fit the type that was told for its column", "cast it")
                ) from None
            await self.send(some)

    async def _close(self, reading: Reading) -> None:
        which, name = reading.take(1), reading.text()
        (self.portals if which == b"P" else self.prepared).pop(name, None)
        await self.send(wire.CLOSED)

    async def _ask(self, statement: Statement, parameters: Mapping[str, Json]) -> Rows:
        if self.state == "E":
            raise Refused(Told("25P02", "the transaction failed before", "ROLLBACK first"))
        if statement.shows:
            return Rows((statement.shows,), ((setting(statement.shows),),), 0.0, ("VARCHAR",))
        if statement.fetches:
            return self._fetched(*statement.fetches)
        asked = self.catalogue if statement.about_catalogue else self.view
        rows: Rows | None = None
        try:
            with anyio.CancelScope() as self._running:
                rows = await asked.ask(statement.sql, parameters)
        finally:
            self._running = None
        if rows is None:
            raise Refused(Told("57014", "canceled because the client asked for it"))
        return rows

    def _fetched(self, name: str, count: int) -> Rows:
        """The next rows of a declared cursor."""
        portal = self._portal(name)
        rows = portal.rows or Rows((), ())
        upto = len(rows.rows) if count < 0 else min(len(rows.rows), portal.sent + count)
        some, portal.sent = rows.rows[portal.sent : upto], upto
        return replace(rows, rows=some)

    async def _declare(self, statement: Statement, parameters: dict[str, Json]) -> None:
        if len(self.portals) >= MAX_PORTALS:
            raise Refused(Told("53400", f"more than {MAX_PORTALS} cursors", "close some"))
        query = replace(statement, session="", declares="")
        portal = Portal(Prepared(query, []), parameters, [])
        await self._rows(portal, query)
        self.portals[statement.declares] = portal

    async def _session(self, statement: Statement, parameters: dict[str, Json]) -> str:
        """Transactions have no effect but on what the client is told: each statement sees the newest rows."""
        tag = statement.session
        if self.state == "E" and tag not in ("ROLLBACK", "COMMIT", "ROLLBACK TO"):
            raise Refused(Told("25P02", "the transaction failed before", "ROLLBACK first"))
        if tag == "COMMIT" and self.state == "E":
            tag = "ROLLBACK"
        if statement.declares:
            await self._declare(statement, parameters)
        if tag in ("BEGIN", "ROLLBACK TO"):
            self.state = "T"
        elif tag in ("COMMIT", "ROLLBACK"):
            self.state = "I"
        if tag in ("DISCARD ALL", "DEALLOCATE"):
            self._forget(self.prepared, statement.sql)
        if tag in ("DISCARD ALL", "CLOSE CURSOR"):
            self._forget(self.portals, statement.sql)
        return tag.removesuffix(" TO")

    @staticmethod
    def _forget(known: dict[str, Any], sql: str) -> None:
        name = last_name(sql)
        if name.lower() == "all":
            known.clear()
        known.pop(name, None)

    def _known(self, name: str) -> Prepared:
        if name not in self.prepared:
            raise Refused(Told("26000", f"no prepared statement {name!r}", "prepare it in this session"))
        return self.prepared[name]

    def _portal(self, name: str) -> Portal:
        if name not in self.portals:
            raise Refused(Told("34000", f"no portal {name!r}", "bind it in this transaction"))
        return self.portals[name]

    async def _refuse(self, error: Exception) -> None:
        said = error.told if isinstance(error, Refused) else told(_ours(error))
        if self.state == "T":
            self.state = "E"
        await self.send(wire.failed(said))


def _ours(error: Exception) -> ThingstormError:
    return error if isinstance(error, ThingstormError) else ConfigError(str(error), fix="look at the log")


async def _flush(_: Reading) -> None:
    """Everything is sent at once anyway."""


def _checked(statements: list[Statement]) -> list[Statement]:
    if len(statements) > MAX_STATEMENTS:
        raise Refused(Told("54000", f"more than {MAX_STATEMENTS} statements", "send fewer at once"))
    queries = sum(statement.for_view for statement in statements)
    if queries > 1:
        raise Refused(Told("42601", f"{queries} statements, expected one", "send one SELECT at a time"))
    return statements


def _format(formats: list[int], at: int) -> int:
    """None is text, one is for all, else one each."""
    if len(formats) == 1:
        return formats[0]
    return formats[at] if at < len(formats) else 0


def _typed(oids: list[int], statement: Statement | None) -> list[int]:
    """A parameter of no type that stands in `ANY ($n)` is an array of texts, as PostgreSQL infers."""
    arrays = {int(found) for found in _IN_ANY.findall(statement.sql)} if statement else set()
    return [TEXTS.oid if at + 1 in arrays and not oid else oid for at, oid in enumerate(oids)]


def _parameters_of(sql: str) -> int:
    """The highest `$n`."""
    return max((int(found) for found in re.findall(r"\$(\d{1,4})\b", sql)), default=0)
