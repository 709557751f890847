"""Makes our nodes out of what the grammar recognises, one rule a method. Called while LALR reads, bottom-up."""

from decimal import DecimalException
from typing import Any, Final

from lark import Token, Transformer

from contracts.errors import BadRule

from . import nodes, topics
from .nodes import Position
from .values import DECIMALS, Value, settle

MAX_VARIABLE: Final = 64
"""Longest variable name (developer guide, "SET clause")."""


def _values(children: list[Any]) -> list[Any]:
    """The nodes among the children: neither punctuation nor keywords nor absent optional parts."""
    return [child for child in children if child is not None and not isinstance(child, Token)]


def _names(children: list[Any]) -> tuple[str, ...]:
    return tuple(str(child) for child in children if isinstance(child, Token) and child.type == "NAME")


def _position(token: Token) -> Position:
    return Position(token.line or 1, token.column or 1)


def _refuse(what: str, at: Position, *, fix: str) -> BadRule:
    return BadRule(what, line=at.line, column=at.column, fix=fix)


def _unquoted(token: Token) -> str:
    """The text of a quoted string; a doubled quote stands for one, backslashes stand for themselves."""
    quote = token[0]
    return token[1:-1].replace(quote * 2, quote)


class TreeBuilder(Transformer[Token, Any]):
    """One method for each rule and alias of grammar.lark."""

    def statement(self, children: list[Any]) -> nodes.Statement:
        assignments, select = children
        chosen, topic_filter = select
        return nodes.Statement(tuple(assignments or ()), chosen, topic_filter)

    def set_clause(self, children: list[Any]) -> list[tuple[nodes.Variable, nodes.Expr]]:
        assignments = _values(children)
        seen: set[str] = set()
        for variable, _ in assignments:
            if variable.name in seen:
                raise _refuse(f"@{variable.name} is set twice", variable.at, fix="a variable cannot change")
            seen.add(variable.name)
        return assignments

    def assignment(self, children: list[Any]) -> tuple[nodes.Variable, nodes.Expr]:
        return self.var(children[:1]), children[2]

    def select(self, children: list[Any]) -> tuple[nodes.Select, str | None]:
        _, value, items, _, topic_filter, where = children
        return _select(items, where, value), topic_filter

    def topic_filter(self, children: list[Token]) -> str:
        text = _unquoted(children[0])
        flaw = topics.flaw(text)
        if flaw:
            raise _refuse(f"topic filter '{text}': {flaw}", _position(children[0]), fix=topics.RULES)
        return text

    def nested(self, children: list[Any]) -> nodes.Nested:
        _, select, value, items, _, source, where, _ = children
        return nodes.Nested(source, _select(items, where, value), _position(select))

    def source(self, children: list[Any]) -> nodes.Expr:
        return self.member(children)

    def where(self, children: list[Any]) -> nodes.Expr:
        expr: nodes.Expr = children[1]
        return expr

    def items(self, children: list[Any]) -> list[nodes.Item]:
        pairs = enumerate(_values(children))
        return [
            nodes.Item(expr, alias or (_own_name(expr, index),), bool(alias))
            for index, (expr, alias) in pairs
        ]

    def item(self, children: list[Any]) -> tuple[nodes.Expr, tuple[str, ...]]:
        expr, _, alias = children
        return expr, alias or ()

    def alias(self, children: list[Token]) -> tuple[str, ...]:
        return _names(children)

    def disjunction(self, children: list[Any]) -> nodes.Expr:
        return nodes.Logic("OR", tuple(_values(children)))

    def conjunction(self, children: list[Any]) -> nodes.Expr:
        return nodes.Logic("AND", tuple(_values(children)))

    def not_(self, children: list[Any]) -> nodes.Expr:
        return nodes.Not(children[1])

    def compare(self, children: list[Any]) -> nodes.Expr:
        left, sign, right = children
        return nodes.Compare(str(sign), left, right)

    def in_(self, children: list[Any]) -> nodes.Expr:
        return nodes.In(children[0], children[2])

    def chain(self, children: list[Any]) -> nodes.Expr:
        if len(children) == 1:
            return _only(children)
        rest = tuple(
            (str(sign), operand) for sign, operand in zip(children[1::2], children[2::2], strict=True)
        )
        return nodes.Chain(children[0], rest)

    def negative(self, children: list[Any]) -> nodes.Expr:
        operand = children[1]
        if isinstance(operand, nodes.Literal) and type(operand.value) in (int, float):
            return nodes.Literal(-operand.value)
        return nodes.Negative(operand)

    def member(self, children: list[Any]) -> nodes.Expr:
        names = _names(children[1:])
        return nodes.Member(children[0], names) if names else _only(children[:1])

    def number(self, children: list[Token]) -> nodes.Expr:
        token = children[0]
        return nodes.Literal(_number(token))

    def string(self, children: list[Token]) -> nodes.Expr:
        return nodes.Literal(_unquoted(children[0]))

    def true(self, _children: list[Any]) -> nodes.Expr:
        return nodes.Literal(value=True)

    def false(self, _children: list[Any]) -> nodes.Expr:
        return nodes.Literal(value=False)

    def null(self, _children: list[Any]) -> nodes.Expr:
        return nodes.Literal(None)

    def field(self, children: list[Token]) -> nodes.Expr:
        return nodes.Field(str(children[0]))

    def var(self, children: list[Token]) -> nodes.Variable:
        name, at = children[0][1:], _position(children[0])
        if len(name) > MAX_VARIABLE:
            raise _refuse("a variable of that length", at, fix=f"at most {MAX_VARIABLE} characters")
        return nodes.Variable(str(name), at)

    def call(self, children: list[Any]) -> nodes.Expr:
        return nodes.Call(str(children[0]), tuple(_values(children)), _position(children[0]))

    def cast(self, children: list[Any]) -> nodes.Expr:
        _, _, operand, _, type_name, _ = children
        return nodes.Cast(operand, str(type_name), _position(type_name))

    def parenthesised(self, children: list[Any]) -> nodes.Expr:
        return _only(children[1:2])

    def array(self, children: list[Any]) -> nodes.Expr:
        return nodes.ArrayLiteral(tuple(_values(children)), _position(children[0]))

    def object(self, children: list[Any]) -> nodes.Expr:
        return nodes.ObjectLiteral(tuple(_values(children)), _position(children[0]))

    def pair(self, children: list[Any]) -> tuple[str, nodes.Expr]:
        return _unquoted(children[0]), children[2]

    def case(self, children: list[Any]) -> nodes.Expr:
        subject, otherwise = children[1], children[-2]
        branches = tuple(child for child in children if isinstance(child, tuple))
        return nodes.Case(subject, branches, otherwise)

    def branch(self, children: list[Any]) -> tuple[nodes.Expr, nodes.Expr]:
        return children[1], children[3]

    def star(self, _children: list[Any]) -> nodes.Expr:
        return nodes.Star()


def _only(children: list[Any]) -> nodes.Expr:
    expr: nodes.Expr = children[0]
    return expr


def _select(items: list[nodes.Item], where: nodes.Expr | None, value: Token | None) -> nodes.Select:
    if value is not None and (len(items) > 1 or items[0].aliased):
        at = _position(value)
        raise _refuse("VALUE takes one item, without a name", at, fix="leave VALUE out, or select one item")
    return nodes.Select(value is not None, tuple(items), where)


def _own_name(expr: nodes.Expr, index: int) -> str:
    """The key of an item without alias. The guide shows it for fields only; the rest is our reading."""
    if isinstance(expr, nodes.Member):
        return expr.names[-1]
    if isinstance(expr, (nodes.Field, nodes.Variable, nodes.Call)):
        return expr.name
    return f"_col{index}"


def _number(token: Token) -> Value:
    try:
        return settle(DECIMALS.create_decimal(str(token)), whole=token.isdigit())
    except DecimalException:
        at = _position(token)
        raise _refuse("number out of range", at, fix="magnitudes go up to 9.99E999") from None
