"""What a client of PostgreSQL sends beside queries: the session's own statements, several in one message, SQLSTATEs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from contracts.errors import NotReady, ThingstormError, UnknownName

from .wire import Told

MAX_STATEMENTS = 20
"""In one message: drivers set up a session with a few `SET` at once."""

_PIECE = re.compile(
    r"""'(?:[^']|'')*'?|"(?:[^"]|"")*"?|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?(?:\*/|\Z)|;|[^;'"$/-]+|.""",
    re.DOTALL,
)
"""Strings, quoted names, dollar quotes, comments, and what is between them."""

_CATALOGUE = re.compile(
    r"\bpg_\w+|\binformation_schema\b|\bcurrent_schemas?\b|\bcurrent_database\b|\bcurrent_(?:user|setting|catalog)\b"
    r"|\bsession_user\b|\bset_config\b|\bversion\s*\(\s*\)|::\s*reg\w+|\bhas_\w+_privilege\b|\binet_(?:server|client)_\w+"
    r"|\bto_regclass\b|\btxid_\w+",
    re.IGNORECASE,
)

_SESSION = {
    "begin": "BEGIN", "start": "BEGIN", "commit": "COMMIT", "end": "COMMIT", "rollback": "ROLLBACK", "abort": "ROLLBACK",
    "savepoint": "SAVEPOINT", "release": "RELEASE", "set": "SET", "reset": "RESET", "discard": "DISCARD ALL",
    "deallocate": "DEALLOCATE", "close": "CLOSE CURSOR", "listen": "LISTEN", "unlisten": "UNLISTEN",
}  # fmt: skip

_NAME = r'("(?:[^"]|"")*"|\w+)'
_DECLARE = re.compile(
    rf"declare\s+{_NAME}\s+(?:(?:binary|insensitive|no\s+scroll|scroll)\s+)*cursor\s+(?:with(?:out)?\s+hold\s+)?for\s+(.*)",
    re.IGNORECASE | re.DOTALL,
)
_FETCH = re.compile(
    rf"fetch\s+((?:forward|next|all|\d+)(?:\s+(?:all|\d+))?\s+)?(?:(?:from|in)\s+)?{_NAME}\s*$", re.IGNORECASE
)
"""Cursors go forward only."""

_CODES = (
    (re.compile(r"longer than \d+ s|stopped at"), "57014"),
    (re.compile(r"more than \d+ rows|larger than|longer than"), "54000"),
    (re.compile(r"\d+ statements, expected one|Parser Error|syntax error"), "42601"),
    (re.compile(r"only SELECT is allowed|read-only|READ ONLY"), "25006"),
    (re.compile(r"Table with name|Catalog with name|Schema with name"), "42P01"),
    (re.compile(r"Function with name|No function matches"), "42883"),
    (re.compile(r"Referenced column|column .* not found"), "42703"),
    (re.compile(r"Conversion Error"), "22P02"),
    (re.compile(r"Out of Range"), "22003"),
    (re.compile(r"Permission Error"), "42501"),
    (re.compile(r"Out of Memory"), "53200"),
    (re.compile(r"parameter"), "22023"),
)

SETTINGS: Mapping[str, str] = {
    "server_version": "15.0",
    "server_version_num": "150000",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
    "is_superuser": "off",
    "default_transaction_read_only": "on",
    "in_hot_standby": "off",
}
"""What a session is told at its start; `SHOW` has these and those below."""

MORE_SETTINGS: Mapping[str, str] = {
    "transaction_isolation": "read committed",
    "transaction isolation level": "read committed",
    "transaction_read_only": "on",
    "search_path": "main",
    "max_identifier_length": "63",
    "extra_float_digits": "1",
    "application_name": "",
    "statement_timeout": "10s",
    "lc_collate": "C",
    "bytea_output": "hex",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: the session's own (`session` is its tag), one about the catalogue, or one for the view.

    One that `declares` a cursor has the cursor's SELECT as its `sql`; one that `fetches` names a cursor and a count.
    """

    sql: str
    session: str = ""
    shows: str = ""
    about_catalogue: bool = False
    declares: str = ""
    fetches: tuple[str, int] | None = None

    @property
    def for_view(self) -> bool:
        return not (self.session or self.shows or self.about_catalogue or self.fetches)

    @property
    def tag(self) -> str:
        """What the client is told when its rows were sent."""
        return "FETCH" if self.fetches else "SELECT"


def cut(text: str) -> tuple[list[str], str]:
    """The statements that end with a semicolon, and what comes behind the last one."""
    found, current = [], ""
    for piece in (one[0] for one in _PIECE.finditer(text)):
        if piece == ";":
            found.append(current)
            current = ""
        else:
            current += piece
    return found, current


def split(text: str) -> list[Statement]:
    """The statements of a message; empty ones are left out."""
    found, rest = cut(text)
    return [_statement(one.strip()) for one in (*found, rest) if _bare(one).strip()]


def _statement(sql: str) -> Statement:
    bare = _bare(sql)
    words = bare.lower().split()
    if words[0] == "show" and (shown := " ".join(words[1:])) in _known_settings():
        return Statement(sql, shows=shown)
    if (declared := _DECLARE.match(sql)) is not None:
        return replace(_statement(declared[2]), session="DECLARE CURSOR", declares=_unquoted(declared[1]))
    if (fetched := _FETCH.match(sql)) is not None:
        return Statement(sql, fetches=(_unquoted(fetched[2]), _count(fetched[1])))
    if (tag := _SESSION.get(words[0])) is not None:
        return Statement(sql, session="ROLLBACK TO" if words[:2] == ["rollback", "to"] else tag)
    return Statement(sql, about_catalogue=_CATALOGUE.search(bare) is not None)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def last_name(sql: str) -> str:
    """The name that a statement ends with: of a cursor, of a prepared statement."""
    found = re.search(rf"{_NAME}\s*$", sql)
    return _unquoted(found[1]) if found else ""


def _count(told: str | None) -> int:
    """How many rows a FETCH asks for; -1 is all."""
    words = (told or "").lower().split()
    if "all" in words:
        return -1
    return next((int(word) for word in words if word.isdigit()), 1)


def _known_settings() -> dict[str, str]:
    return {name.lower(): value for name, value in (*SETTINGS.items(), *MORE_SETTINGS.items())}


def setting(name: str) -> str:
    """The value of one that `shows` names."""
    return _known_settings()[name]


def _bare(sql: str) -> str:
    """Without strings and comments."""
    return "".join(_kept(sql))


def _kept(sql: str) -> Iterator[str]:
    for piece in _PIECE.finditer(sql):
        if not piece[0].startswith(("'", "--", "/*")) or piece[0] == "/":
            yield piece[0]


def told(error: ThingstormError) -> Told:
    """Our error as theirs."""
    what = str(error)
    if isinstance(error, NotReady):
        return Told("57P03", what, error.fix)
    if isinstance(error, UnknownName):
        return Told("42704", what, error.fix)
    code = next((code for pattern, code in _CODES if pattern.search(what)), "42000")
    return Told(code, what, error.fix)
