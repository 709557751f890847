"""Text to syntax tree. Raises BadRule with line, column and what was expected, and nothing else."""

import functools
import importlib.resources
from typing import Any, Final

from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from contracts.errors import BadRule

from . import nodes
from .building import TreeBuilder
from .lexing import Keywords

MAX_STATEMENT: Final = 256 * 1024
"""AWS refuses a longer rule query statement (AWS IoT Core quotas, "Rules engine")."""


def parse(sql: str) -> nodes.Statement:
    """The tree of a rule query statement. Raises BadRule."""
    statement: nodes.Statement = _run(sql, start="statement")
    return statement


def parse_expression(text: str) -> nodes.Expr:
    """The tree of one expression, as in a substitution template. Raises BadRule."""
    expr: nodes.Expr = _run(text, start="expr")
    return expr


def _run(text: str, *, start: str) -> Any:
    if len(text) > MAX_STATEMENT:
        raise BadRule(
            f"statement of {len(text)} characters",
            line=1,
            column=1,
            fix=f"at most {MAX_STATEMENT} characters are allowed",
        )
    try:
        return _lark().parse(text, start=start)
    except UnexpectedInput as error:
        raise _translated(error, text) from None


@functools.cache
def _lark() -> Lark:
    grammar = importlib.resources.files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    # With the transformer inside, LALR builds our nodes bottom-up while it reads: no recursion over a tree
    return Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        postlex=Keywords(),
        start=["statement", "expr"],
        transformer=TreeBuilder(),
        maybe_placeholders=True,
    )


def _translated(error: UnexpectedInput, text: str) -> BadRule:
    if isinstance(error, UnexpectedCharacters):
        return _bad_character(error)
    if isinstance(error, UnexpectedToken):
        return _bad_token(error, text)
    return BadRule(
        "the statement cannot be read", line=1, column=1, fix="write SELECT ... FROM 'topic/filter'"
    )


def _bad_character(error: UnexpectedCharacters) -> BadRule:
    character = error.char
    if character in "'\"":
        what, fix = "a string is not closed", f"end it with {character}"
    elif character == "!":
        what, fix = "unexpected '!'", "'not equal' is written <>"
    else:
        what, fix = (
            f"unexpected {character!r}",
            "names with other characters are read with get(object, 'name')",
        )
    return BadRule(what, line=error.line, column=error.column, fix=fix)


def _bad_token(error: UnexpectedToken, text: str) -> BadRule:
    token = error.token
    expected = error.accepts or error.expected
    if token.type == "$END":
        line = text.count("\n") + 1
        column = len(text) - (text.rfind("\n") + 1) + 1
        return BadRule("the statement ends too early", line=line, column=column, fix=_expectation(expected))
    fix = _hint(token, expected) or _expectation(expected)
    shown = token if len(token) <= 40 else token[:37] + "..."
    return BadRule(
        f"unexpected {_WORDS.get(token.type, '')} {str(shown)!r}".replace("  ", " "),
        line=token.line or 1,
        column=token.column or 1,
        fix=fix,
    )


def _hint(token: Token, expected: set[str]) -> str:
    if expected == {"STRING"}:
        return "write the topic filter in quotes: FROM 'a/b'"
    if token.type in _KEYWORDS and "NAME" in expected:
        return f"{token.upper()} is a keyword; a field of that name is read with get(*, '{token}')"
    return ""


def _expectation(expected: set[str]) -> str:
    if expected >= _OPERAND:
        rest = expected - _OPERAND - {"NOT", "MINUS"}
        return "expected " + " or ".join(["an expression", *sorted(map(_word, rest))])
    if expected >= _OPERATORS:
        rest = expected - _OPERATORS - {"DOT", "LPAR"}
        return "expected " + " or ".join(["an operator", *sorted(map(_word, rest))])
    return "expected " + " or ".join(sorted(map(_word, expected)))


def _word(kind: str) -> str:
    return _WORDS.get(kind, kind)


_KEYWORDS: Final = frozenset(
    {"SELECT", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "CASE", "WHEN", "THEN"}
)
_OPERAND: Final = frozenset(
    {"NAME", "NUMBER", "STRING", "LPAR", "VAR", "CAST", "CASE", "LSQB", "LBRACE", "TRUE", "FALSE", "NULL"}
)
_OPERATORS: Final = frozenset({"PLUS", "MINUS", "STAR", "SLASH", "PERCENT"})
_WORDS: Final = {
    "NAME": "name",
    "VAR": "variable",
    "NUMBER": "number",
    "STRING": "string",
    "STAR": "'*'",
    "DOT": "'.'",
    "COMMA": "','",
    "COLON": "':'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "EQUAL": "'='",
    "UNEQUAL": "'<>'",
    "LESS": "'<'",
    "AT_MOST": "'<='",
    "MORE": "'>'",
    "AT_LEAST": "'>='",
    "PLUS": "'+'",
    "MINUS": "'-'",
    "SLASH": "'/'",
    "PERCENT": "'%'",
    "$END": "the end",
}
