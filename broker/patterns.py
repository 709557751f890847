"""Patterns of policies: text with `*`, `?` and policy variables, matched without regular expressions.

A pattern is read once into pieces. The values of variables are plain text, whatever characters they have: a
client id cannot smuggle in a wildcard.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

_PIECES = re.compile(r"(\*|\?|\$\{[^}]*\})")

_MANY, _ONE = object(), object()
_Piece: TypeAlias = object
"""A string, `_MANY` (`*`), `_ONE` (`?`), or a `_Variable`."""

_SPECIAL = {"${*}": "*", "${?}": "?", "${$}": "$"}
"""The ways to write a plain `*`, `?` or `$`."""


class _Variable:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Pattern:
    """One pattern; with `literal_variables` `${...}` is plain text."""

    __slots__ = ("_pieces",)

    def __init__(self, text: str, *, literal_variables: bool = False) -> None:
        self._pieces = tuple(_piece(part, literal=literal_variables) for part in _PIECES.split(text) if part)

    def matches(self, text: str, variables: Mapping[str, str]) -> bool:
        """Whether the whole text is of this pattern. A variable without a value matches nothing."""
        pieces: list[_Piece] = []
        for piece in self._pieces:
            if isinstance(piece, _Variable):
                value = variables.get(piece.name)
                if value is None:
                    return False
                piece = value  # noqa: PLW2901 - the variable's place is taken by its value
            if piece == "":
                continue
            if pieces and isinstance(piece, str) and isinstance(pieces[-1], str):
                pieces[-1] += piece
            else:
                pieces.append(piece)
        return _matches(pieces, text)


def _piece(part: str, *, literal: bool) -> _Piece:
    if part == "*":
        return _MANY
    if part == "?":
        return _ONE
    if part in _SPECIAL:
        return _SPECIAL[part]
    if part.startswith("${") and part.endswith("}") and not literal:
        return _Variable(part[2:-1])
    return part


def _matches(pieces: Sequence[_Piece], text: str) -> bool:
    """Greedy with one step back to the last `*`: time is at most the product of both lengths."""
    at = place = 0
    star, retry = -1, 0
    while True:
        if at < len(pieces) and pieces[at] is _MANY:
            star, retry = at, place
            at += 1
            if at == len(pieces):
                return True
            continue
        if at == len(pieces) and place == len(text):
            return True
        step = _step(pieces[at], text, place) if at < len(pieces) else 0
        if step:
            at, place = at + 1, place + step
        elif star < 0 or retry >= len(text):
            return False
        else:
            retry += 1
            at, place = star + 1, retry


def _step(piece: _Piece, text: str, place: int) -> int:
    """How many characters this piece takes here; 0 if it does not fit."""
    if piece is _ONE:
        return 1 if place < len(text) else 0
    return len(piece) if isinstance(piece, str) and text.startswith(piece, place) else 0
