"""Strings. Arguments of other types are converted to String; Null and Undefined have no text."""

from collections.abc import Callable
from typing import Final

from ..payload import to_text
from ..values import MAX_TEXT, UNDEFINED, Value, to_int
from . import patterns
from .base import FUNCTIONS, Function, register

_MOST_SPACES: Final = 1_000


def _on_texts(function: Callable[..., Value]) -> Callable[..., Value]:
    """The function on the texts of its arguments; Undefined if one has none."""

    def call(*values: Value) -> Value:
        texts = [to_text(value) for value in values]
        return UNDEFINED if any(text is UNDEFINED for text in texts) else function(*texts)

    return call


def _replace(text: str, old: str, new: str) -> Value:
    if len(text) + text.count(old) * (len(new) - len(old)) > MAX_TEXT:
        return UNDEFINED
    return text.replace(old, new)


def _numbytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@register("substring", 2, 3)
def _substring(value: Value, start: Value, end: Value = None) -> Value:
    """From `start` (0-based, inclusive) to `end` (exclusive); both are clipped to the text."""
    text, first = to_text(value), to_int(start)
    last = len(text) if end is None and isinstance(text, str) else to_int(end)
    if not isinstance(text, str) or not isinstance(first, int) or not isinstance(last, int):
        return UNDEFINED
    return text[max(first, 0) : max(last, 0)]


def _padded(value: Value, count: Value, *, left: bool) -> Value:
    """With so many spaces beside it, from 0 to 1,000: what is outside becomes the nearest of these."""
    text, spaces = to_text(value), to_int(count)
    if not isinstance(text, str) or not isinstance(spaces, int):
        return UNDEFINED
    padding = " " * min(max(spaces, 0), _MOST_SPACES)
    if len(text) + len(padding) > MAX_TEXT:
        return UNDEFINED
    return padding + text if left else text + padding


@register("lpad", 2)
def _lpad(value: Value, count: Value) -> Value:
    """That many spaces in front (not: up to that width)."""
    return _padded(value, count, left=True)


@register("rpad", 2)
def _rpad(value: Value, count: Value) -> Value:
    return _padded(value, count, left=False)


@register("chr", 1)
def _chr(value: Value) -> Value:
    """The ASCII character of that code."""
    code = to_int(value)
    return chr(code) if isinstance(code, int) and 0 <= code < 128 else UNDEFINED


_NEW: Final = frozenset({"indexof", "length", "numbytes"})
_TEXTS: dict[str, tuple[Callable[..., Value], int]] = {
    "lower": (str.lower, 1),
    "upper": (str.upper, 1),
    "trim": (str.strip, 1),
    "ltrim": (str.lstrip, 1),
    "rtrim": (str.rstrip, 1),
    "length": (len, 1),
    "numbytes": (_numbytes, 1),
    "indexof": (str.find, 2),
    "startswith": (str.startswith, 2),
    "endswith": (str.endswith, 2),
    "replace": (_replace, 3),
    "regexp_matches": (patterns.matches, 2),
    "regexp_substr": (patterns.substring, 2),
    "regexp_replace": (patterns.replace, 3),
}

for _name, (_function, _arity) in _TEXTS.items():
    FUNCTIONS[_name] = Function(_name, _on_texts(_function), _arity, _arity, new=_name in _NEW)
