"""Regular expressions of IoT SQL: Java's syntax, run by Python's engine where the two agree.

A pattern may come from a payload, and backtracking has no time limit: a repeat of a group that itself repeats
(`(a+)+`), which can take exponential time, and patterns over `_MAX_PATTERN` count as invalid, so as Undefined.
"""

import functools
import re
import warnings
from typing import Final

from ..values import MAX_TEXT, UNDEFINED, Undefined

_MAX_PATTERN: Final = 512
_NAMED_GROUP: Final = re.compile(r"\(\?<(?=[A-Za-z])")  # Java (?<name>..), Python (?P<name>..)
_REFERENCE: Final = re.compile(r"\\(.)|\$(\d)|\$\{(\w+)\}|[\\$]", re.DOTALL)


def matches(text: str, pattern: str) -> bool | Undefined:
    """Whether the text contains a match."""
    compiled = _compiled(pattern)
    return UNDEFINED if compiled is None else compiled.search(text) is not None


def substring(text: str, pattern: str) -> str | Undefined:
    """The first match, Undefined if there is none."""
    compiled = _compiled(pattern)
    found = compiled and compiled.search(text)
    return found.group() if found else UNDEFINED


def replace(text: str, pattern: str, replacement: str) -> str | Undefined:
    """All matches replaced; `$1` and `${name}` in the replacement stand for groups."""
    compiled = _compiled(pattern)
    if compiled is None:
        return UNDEFINED
    pieces: list[str] = []
    length = end = 0
    for match in compiled.finditer(text):
        filled = _fill(replacement, match)
        if filled is None:
            return UNDEFINED
        pieces += (text[end : match.start()], filled)
        end = match.end()
        length += len(pieces[-1]) + len(pieces[-2])
        if length > MAX_TEXT:
            return UNDEFINED
    return "".join(pieces) + text[end:]


def _fill(replacement: str, match: re.Match[str]) -> str | None:
    """The replacement for one match; None if it is no valid one."""

    def part(reference: re.Match[str]) -> str:
        literal, number, name = reference.groups()
        if literal is not None:
            return str(literal)
        return str(match[int(number) if number is not None else name] or "")

    try:
        return _REFERENCE.sub(part, replacement)
    except (IndexError, TypeError):  # no such group; a lone `$` or `\`
        return None


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    if len(pattern) > _MAX_PATTERN or _repeats_a_repeat(pattern):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of sets that a later version may read differently
        try:
            return re.compile(_NAMED_GROUP.sub("(?P<", pattern))
        except (re.error, OverflowError, RecursionError):
            return None


def _repeats_a_repeat(pattern: str) -> bool:
    """Whether a group that holds a repeat is itself repeated. Escapes and sets count as one character."""
    groups = [False]  # for each open group: whether a repeat is in it
    closed_with_repeat = False
    for piece in re.findall(r"\\.|\[(?:\\.|[^\]\\])*\]|.", pattern, re.DOTALL):
        if piece in ("*", "+", "{"):
            if closed_with_repeat:
                return True
            groups[-1] = True
        closed_with_repeat = False
        if piece == "(":
            groups.append(False)
        elif piece == ")" and len(groups) > 1:
            closed_with_repeat = groups.pop()
            groups[-1] |= closed_with_repeat
    return False
