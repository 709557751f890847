"""Which words are keywords: decided by their neighbours, since payload fields may bear the same names."""

from collections.abc import Iterator
from typing import Final

from lark import Token

from contracts.errors import BadRule

MAX_TOKENS: Final = 2_000
"""Words, values and signs of one statement. Reading one takes about 40 microseconds: 80 ms for the longest."""

_ALWAYS = frozenset({"SELECT", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "TRUE", "FALSE", "NULL"})
_INSIDE_CASE = frozenset({"WHEN", "THEN", "ELSE", "END"})

_CANNOT_START_OPERAND = frozenset(
    [
        "COMMA",
        "DOT",
        "RPAR",
        "RSQB",
        "RBRACE",
        "PLUS",
        "SLASH",
        "PERCENT",
        "EQUAL",
        "UNEQUAL",
        "LESS",
        "AT_MOST",
        "MORE",
        "AT_LEAST",
        "COLON",
    ]
)
_OPENING = frozenset({"LPAR", "LSQB", "LBRACE"})
_CLOSING = frozenset({"RPAR", "RSQB", "RBRACE"})

_LOOKAHEAD = 1_000
"""Tokens to look ahead for the end of an item: bounds the work on a statement that nests many."""

_CLAUSE_WORDS = frozenset({"AS", "FROM", "WHERE", "AND", "OR", "IN", "WHEN", "THEN", "ELSE", "END"})


class Keywords:
    """Lark's `postlex` hook: turns NAME tokens into keywords. Keeps no state between statements."""

    always_accept = ()

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        tokens = _bounded(stream)
        open_cases = 0
        for index, token in enumerate(tokens):
            kind = _kind(tokens, index, in_case=open_cases > 0)
            open_cases += (kind == "CASE") - (kind == "END")
            yield token if kind == token.type else token.update(type=kind)


def _bounded(stream: Iterator[Token]) -> list[Token]:
    tokens: list[Token] = []
    for token in stream:
        if len(tokens) == MAX_TOKENS:
            raise BadRule(
                f"the statement has more than {MAX_TOKENS:,} words and signs",
                line=token.line or 1,
                column=token.column or 1,
                fix="shorten it, or make several rules of it",
            )
        tokens.append(token)
    return tokens


def _kind(tokens: list[Token], index: int, *, in_case: bool) -> str:
    token = tokens[index]
    if token.type != "NAME" or _must_be_name(tokens, index):
        return token.type
    word = token.upper()
    if word in _ALWAYS or (in_case and word in _INSIDE_CASE) or _by_neighbours(word, tokens, index):
        return word
    return "NAME"


def _must_be_name(tokens: list[Token], index: int) -> bool:
    """After a dot, and after AS, only a name can follow (`reading.value`, `AS end`)."""
    if index == 0:
        return False
    before = tokens[index - 1]
    if before.type == "DOT":
        return True
    # `AS` is still a NAME here (the list is not rewritten); `x.as AS y` has a DOT before the first one
    return _is_word(before, "AS") and not (index > 1 and tokens[index - 2].type == "DOT")


def _by_neighbours(word: str, tokens: list[Token], index: int) -> bool:
    following = tokens[index + 1 : index + 3]
    if word == "SET":
        return index == 0 and bool(following) and following[0].type == "VAR"
    if word == "CAST":
        return bool(following) and following[0].type == "LPAR"
    if word == "CASE":
        return _starts_operand(following)
    if word == "VALUE":
        after_select = index > 0 and _is_word(tokens[index - 1], "SELECT")
        return after_select and _value_is_keyword(tokens[index + 1 : index + 1 + _LOOKAHEAD])
    return False


def _value_is_keyword(following: list[Token]) -> bool:
    """`SELECT VALUE x` but not `SELECT value AS v`, nor `SELECT value * 2`.

    `SELECT value - 1 AS v` is a field, as VALUE takes one item without a name; `SELECT VALUE -1` is not.
    """
    if not _starts_operand(following):
        return False
    if following[0].type == "MINUS":
        return not _named_or_several(following)
    return following[0].type != "STAR" or not _starts_operand(following[1:])


def _named_or_several(item: list[Token]) -> bool:
    """Whether an AS or a comma comes before the SELECT list is over."""
    depth = 0
    for token in item:
        depth += (token.type in _OPENING) - (token.type in _CLOSING)
        if depth < 0 or (depth == 0 and _is_word(token, "FROM")):
            return False
        if depth == 0 and (token.type == "COMMA" or _is_word(token, "AS")):
            return True
    return False


def _starts_operand(following: list[Token]) -> bool:
    if not following or following[0].type in _CANNOT_START_OPERAND:
        return False
    return not (following[0].type == "NAME" and following[0].upper() in _CLAUSE_WORDS)


def _is_word(token: Token, word: str) -> bool:
    return token.type == "NAME" and token.upper() == word
