"""`${expression}` in the fields of an action (developer guide, "Substitution templates").

Evaluated on the original payload: no alias of the SELECT list is visible, the variables of SET are.
"""

from collections.abc import Callable
from typing import Final

from contracts.errors import BadRule

from . import nodes
from .context import Context
from .evaluator import LATEST, compile_expression
from .parser import parse_expression
from .payload import to_text
from .values import Value

_OPEN: Final = "${"


class Template:
    """The text of one field. `render` never raises; an Undefined or Null expression is an empty string."""

    def __init__(self, text: str, statement: nodes.Statement | None = None, version: str = LATEST) -> None:
        """Raises BadRule for a template that is not closed or holds a wrong expression."""
        self._parts: list[str | Callable[[Context], Value]] = []
        self.expressions: list[nodes.Expr] = []
        at = 0
        while (start := text.find(_OPEN, at)) >= 0:
            end = _closing(text, start + len(_OPEN))
            expr = parse_expression(text[start + len(_OPEN) : end])
            self.expressions.append(expr)
            self._parts += [text[at:start], compile_expression(expr, statement, version)]
            at = end + 1
        self._parts.append(text[at:])

    def render(self, context: Context) -> str:
        return "".join(part if isinstance(part, str) else _text(part(context)) for part in self._parts)


def is_template(text: str) -> bool:
    """Whether there is anything to substitute in it."""
    return _OPEN in text


def _text(value: Value) -> str:
    text = to_text(value)
    return text if isinstance(text, str) else ""


def _closing(text: str, start: int) -> int:
    """Where the `}` stands that closes an expression: not one in a string, nor one of an object literal."""
    depth, quote = 0, ""
    for index in range(start, len(text)):
        character = text[index]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            if not depth:
                return index
            depth -= 1
    raise BadRule("a substitution template is not closed", line=1, column=start - 1, fix="end it with }")
