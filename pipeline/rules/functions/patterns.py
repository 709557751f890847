"""Regular expressions of IoT SQL: Java's syntax, in bounded time, since patterns and texts may come from devices.

RE2 runs a pattern in time linear in the text and in the size of its program. It has no look-around, back-reference or possessive repeat; a
pattern with one of these is run by `regex`, by backtracking with a time limit and on short texts only. What is
beyond a bound counts as no valid pattern, so as Undefined.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any, Final, Protocol

import re2
import regex

from ..values import MAX_TEXT, UNDEFINED, Undefined

_MAX_PATTERN: Final = 512
_MAX_STEPS: Final = 5_000_000
"""Size of RE2's program times length of the text. At worst it takes about 10 ns a step: 50 ms. A program has some
20 steps for a plain pattern and 500 for `\\p{L}`, so texts of 250,000 and of 10,000 characters."""

_MAX_MATCHES: Final = 2_000
"""Matches of one replacement. RE2 hands each over in about 20 microseconds: 40 ms in all."""

_SECONDS: Final = 0.02
_MAX_BACKTRACKED: Final = 10_000
"""Longest text for backtracking. `regex` looks at its clock now and then only, the more seldom the longer."""

_MAX_COPIES: Final = 1_000
"""Product of all counted repeats of a backtracked pattern: `regex` writes them out when it compiles."""

_COUNTED: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_REFERENCE: Final = re.compile(r"\\(.)|\$(\d)|\$\{(\w+)\}|[\\$]", re.DOTALL)


class _Match(Protocol):
    def group(self, *groups: int | str) -> Any: ...
    def start(self) -> int: ...
    def end(self) -> int: ...


class _Engine(Protocol):
    """A compiled pattern. Both methods raise `_TOO_MUCH` for a text that the engine will not take."""

    def search(self, text: str) -> _Match | None: ...
    def finditer(self, text: str) -> Iterator[_Match]: ...


_TOO_MUCH: Final = (TimeoutError, UnicodeError, MemoryError)
"""Out of time; a lone surrogate, which RE2 cannot encode."""


class _Linear:
    """A pattern for RE2."""

    def __init__(self, pattern: str) -> None:
        self._compiled = re2.compile(pattern, _options())
        self._longest = _MAX_STEPS // max(self._compiled.programsize, 1)

    def search(self, text: str) -> _Match | None:
        found: _Match | None = self._compiled.search(_short(text, self._longest))
        return found

    def finditer(self, text: str) -> Iterator[_Match]:
        found: Iterator[_Match] = self._compiled.finditer(_short(text, self._longest))
        return found


class _Backtracking:
    """A pattern with what RE2 has not, under the limits above."""

    def __init__(self, pattern: str) -> None:
        self._compiled = regex.compile(pattern)

    def search(self, text: str) -> _Match | None:
        found: _Match | None = self._compiled.search(_short(text, _MAX_BACKTRACKED), timeout=_SECONDS)
        return found

    def finditer(self, text: str) -> Iterator[_Match]:
        found: Iterator[_Match] = self._compiled.finditer(_short(text, _MAX_BACKTRACKED), timeout=_SECONDS)
        return found


def matches(text: str, pattern: str) -> bool | Undefined:
    """Whether the text contains a match."""
    found = _first(text, pattern)
    return found if isinstance(found, Undefined) else found is not None


def substring(text: str, pattern: str) -> str | Undefined:
    """The first match, Undefined if there is none."""
    found = _first(text, pattern)
    return UNDEFINED if found is None or isinstance(found, Undefined) else str(found.group())


def replace(text: str, pattern: str, replacement: str) -> str | Undefined:
    """All matches replaced; `$1` and `${name}` in the replacement stand for groups."""
    compiled = _compiled(pattern)
    if compiled is None:
        return UNDEFINED
    try:
        return _replaced(text, compiled.finditer(text), replacement)
    except _TOO_MUCH:
        return UNDEFINED


def _first(text: str, pattern: str) -> _Match | Undefined | None:
    compiled = _compiled(pattern)
    if compiled is None:
        return UNDEFINED
    try:
        return compiled.search(text)
    except _TOO_MUCH:
        return UNDEFINED


def _replaced(text: str, found: Iterator[_Match], replacement: str) -> str | Undefined:
    pieces: list[str] = []
    length = end = 0
    for count, match in enumerate(found):
        filled = _fill(replacement, match)
        if filled is None or count == _MAX_MATCHES:
            return UNDEFINED
        pieces += (text[end : match.start()], filled)
        end = match.end()
        length += len(pieces[-1]) + len(pieces[-2])
        if length > MAX_TEXT:
            return UNDEFINED
    return "".join(pieces) + text[end:]


def _fill(replacement: str, match: _Match) -> str | None:
    """The replacement for one match; None if it is no valid one."""

    def part(reference: re.Match[str]) -> str:
        literal, number, name = reference.groups()
        if literal is not None:
            return str(literal)
        return str(match.group(int(number) if number is not None else name) or "")

    try:
        return _REFERENCE.sub(part, replacement)
    except (IndexError, KeyError, TypeError):  # no such group; a lone `$` or `\`
        return None


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> _Engine | None:
    """The engine for a pattern, None if it is none."""
    if len(pattern) > _MAX_PATTERN:
        return None
    try:
        return _Linear(pattern)
    except (re2.error, UnicodeError):
        return _backtracking(pattern)


def _backtracking(pattern: str) -> _Engine | None:
    copies = 1
    for least, most in _COUNTED.findall(pattern):
        copies *= max(int(most or least), 1)
        if copies > _MAX_COPIES:
            return None
    try:
        return _Backtracking(pattern)
    except (regex.error, OverflowError, RecursionError, MemoryError):
        return None


@functools.cache
def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options


def _short(text: str, longest: int) -> str:
    if len(text) > longest:
        raise TimeoutError
    return text
