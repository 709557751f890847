"""A syntax tree back to text, for traces and messages. Parentheses stand wherever a reader might need them."""

from . import nodes
from .payload import to_json

_CLOSED = (
    nodes.ArrayLiteral,
    nodes.Call,
    nodes.Case,
    nodes.Cast,
    nodes.Field,
    nodes.Literal,
    nodes.Member,
    nodes.Nested,
    nodes.ObjectLiteral,
    nodes.Star,
    nodes.Variable,
)


def written(expr: nodes.Expr) -> str:  # noqa: C901, PLR0911, PLR0912 - one line for each kind of node
    """The expression as IoT SQL."""
    match expr:
        case nodes.Literal(value):
            return _literal(value)
        case nodes.Field(name):
            return name
        case nodes.Variable(name):
            return f"@{name}"
        case nodes.Star():
            return "*"
        case nodes.Member(base, names):
            return ".".join((_inside(base), *names))
        case nodes.Call(name, arguments):
            return f"{name}({', '.join(map(written, arguments))})"
        case nodes.Cast(operand, type_name):
            return f"CAST({written(operand)} AS {type_name})"
        case nodes.Chain(first, rest):
            return " ".join((_inside(first), *(f"{sign} {_inside(operand)}" for sign, operand in rest)))
        case nodes.Negative(operand):
            return f"-{_inside(operand)}"
        case nodes.Compare(sign, left, right):
            return f"{_inside(left)} {sign} {_inside(right)}"
        case nodes.In(left, right):
            return f"{_inside(left)} IN {_inside(right)}"
        case nodes.Logic(operator, operands):
            return f" {operator} ".join(_operand(one) for one in operands)
        case nodes.Not(operand):
            return f"NOT {_inside(operand)}"
        case nodes.ArrayLiteral(items):
            return f"[{', '.join(map(written, items))}]"
        case nodes.ObjectLiteral(pairs):
            return f"{{{', '.join(f'{_quoted(key)}: {written(value)}' for key, value in pairs)}}}"
        case nodes.Case(subject, branches, otherwise):
            return _case(subject, branches, otherwise)
        case nodes.Nested(source, select):
            return f"({_select(select)} FROM {written(source)}{_where(select)})"


def item_written(item: nodes.Item) -> str:
    """One entry of a SELECT list."""
    return f"{written(item.expr)} AS {'.'.join(item.path)}" if item.aliased else written(item.expr)


def _literal(value: object) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return "NULL" if value is None else to_json(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _inside(expr: nodes.Expr) -> str:
    text = written(expr)
    return text if isinstance(expr, _CLOSED) else f"({text})"


def _operand(expr: nodes.Expr) -> str:
    return _inside(expr) if isinstance(expr, nodes.Logic) else written(expr)


def _case(
    subject: nodes.Expr, branches: tuple[tuple[nodes.Expr, nodes.Expr], ...], otherwise: nodes.Expr | None
) -> str:
    whens = "".join(f" WHEN {written(test)} THEN {written(then)}" for test, then in branches)
    last = f" ELSE {written(otherwise)}" if otherwise is not None else ""
    return f"CASE {written(subject)}{whens}{last} END"


def _select(select: nodes.Select) -> str:
    return f"SELECT {'VALUE ' * select.value}{', '.join(map(item_written, select.items))}"


def _where(select: nodes.Select) -> str:
    return f" WHERE {written(select.where)}" if select.where is not None else ""
