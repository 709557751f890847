"""Syntax tree to Python closures, once per statement; per message only the closures run, and none raises.

A closure takes `(scope, context)`: the scope is what names refer to (the payload, or one element inside a nested
SELECT), the context is the message. Statements are bounded when they are compiled: `MAX_NESTING` bounds the
recursion of the closures, `MAX_WEIGHT` what literals that repeat a variable may blow up to.
"""

from collections.abc import Callable
from typing import Final, TypeAlias, assert_never

from contracts.errors import BadRule

from . import nodes
from .casting import TYPES_2015, TYPES_2016
from .context import Context
from .functions import find
from .operators import arithmetic, compare, contains
from .selecting import object_maker
from .values import UNDEFINED, Value, equal, exact, is_number, settle, to_boolean

Run: TypeAlias = Callable[[Value, Context], Value]

MAX_NESTING: Final = 64
"""Expressions inside expressions. At most three Python frames each: 192 of the interpreter's 1,000."""

MAX_WEIGHT: Final = 100_000
"""Nodes of the tree when every variable is written out. Without it, `@b = [@a, @a], @c = [@b, @b], ...` of a
short statement would make a body of 2^n elements."""

VERSIONS: Final = ("2015-10-08", "2016-03-23", "beta")
LATEST: Final = "2016-03-23"


class _NotSelected:
    """The type of `NOT_SELECTED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NOT_SELECTED"


NOT_SELECTED: Final = _NotSelected()
"""The answer of a program whose WHERE was not true."""


def compile_statement(statement: nodes.Statement, version: str = LATEST) -> Callable[[Context], Value]:
    """A program: context in; the result, or NOT_SELECTED. Raises BadRule (unknown function, type, variable)."""
    compiler = StatementCompiler(version)
    assignments = [
        (variable.name, compiler.assign(variable, expr)) for variable, expr in statement.assignments
    ]
    select = compiler.select(statement.select, 1, everything=_payload)
    whole = compiler.whole

    def run(context: Context) -> Value:
        return select(context.document(whole=whole), context)

    def run_with_variables(context: Context) -> Value:
        scope = context.document(whole=whole)
        context.variables = {}
        for name, value in assignments:
            context.variables[name] = value(scope, context)
        return select(scope, context)

    return run_with_variables if assignments else run


def compile_expression(
    expr: nodes.Expr, statement: nodes.Statement | None = None, version: str = LATEST
) -> Callable[[Context], Value]:
    """A program of one expression, evaluated on the original payload; it sees the variables of `statement`."""
    compiler = StatementCompiler(version)
    assignments = statement.assignments if statement else ()
    setters = [(variable.name, compiler.assign(variable, value)) for variable, value in assignments]
    program = compiler.expr(expr, 1)
    whole = compiler.whole

    def run(context: Context) -> Value:
        scope = context.document(whole=whole)
        context.variables = {}
        for name, value in setters:
            context.variables[name] = value(scope, context)
        return program(scope, context)

    return run


class StatementCompiler:
    """Compiles one statement. `weight` counts nodes, with each variable as heavy as its expression."""

    def __init__(self, version: str) -> None:
        if version not in VERSIONS:
            known = ", ".join(VERSIONS)
            raise BadRule(f"unknown SQL version '{version}'", line=1, column=1, fix=f"known: {known}")
        self.version = version
        self.whole = version != "2015-10-08"
        self._variables: dict[str, int] = {}
        self._weight = 0
        self._at = nodes.Position(1, 1)

    def assign(self, variable: nodes.Variable, expr: nodes.Expr) -> Run:
        before = self._weight
        run = self.expr(expr, 1)
        self._variables[variable.name] = self._weight - before
        return run

    def expr(self, expr: nodes.Expr, depth: int) -> Run:  # noqa: C901, PLR0911, PLR0912 - one line for each kind of node
        self._count(expr, depth)
        below = depth + 1
        match expr:
            case nodes.Literal(value):
                return _constant(settle(exact(value), whole=self.whole) if is_number(value) else value)
            case nodes.Field(name):
                return _field(name)
            case nodes.Variable(name):
                return _variable(name)
            case nodes.Star():
                return _scope
            case nodes.Member(base, names):
                return _member(self.expr(base, below), names)
            case nodes.Call():
                return self._call(expr, below)
            case nodes.Cast(operand, _):
                return self._cast(expr, self.expr(operand, below))
            case nodes.Chain(first, rest):
                steps = [(arithmetic(sign, whole=self.whole), self.expr(item, below)) for sign, item in rest]
                return _chain(self.expr(first, below), steps)
            case nodes.Negative(operand):
                return _negative(self.expr(operand, below), whole=self.whole)
            case nodes.Compare(sign, left, right):
                return _compare(sign, self.expr(left, below), self.expr(right, below))
            case nodes.In(left, right):
                return _in(self.expr(left, below), self.expr(right, below))
            case nodes.Logic(operator, operands):
                return _logic([self.expr(item, below) for item in operands], deciding=operator == "OR")
            case nodes.Not(operand):
                return _not(self.expr(operand, below))
            case nodes.ArrayLiteral(items):
                self._since_2016("no array literals")
                return _array([self.expr(item, below) for item in items])
            case nodes.ObjectLiteral(pairs):
                self._since_2016("no object literals")
                return object_maker([((key,), self.expr(item, below)) for key, item in pairs])
            case nodes.Case():
                return self._case(expr, below)
            case nodes.Nested():
                return self._nested(expr, below)
        assert_never(expr)

    def select(self, select: nodes.Select, depth: int, *, everything: Run) -> Run:
        """The closure of a SELECT list behind its WHERE; `everything` is what a lone `*` selects."""
        make = self._list(select, depth, everything)
        if select.where is None:
            return make
        test = self._condition(select.where, depth)

        def run(scope: Value, context: Context) -> Value:
            return make(scope, context) if test(scope, context) is True else NOT_SELECTED

        return run

    def _list(self, select: nodes.Select, depth: int, everything: Run) -> Run:
        if len(select.items) == 1:
            only = select.items[0]
            if not only.aliased and isinstance(only.expr, nodes.Star):
                return everything
            if select.value:
                run = self.expr(only.expr, depth)
                return run if self.whole else _no_array(run)
        entries = []
        for item in select.items:
            spread = not item.aliased and isinstance(item.expr, nodes.Star)
            entries.append((() if spread else item.path, self.expr(item.expr, depth)))
        return object_maker(entries)

    def _condition(self, expr: nodes.Expr, depth: int) -> Run:
        """WHERE asks only whether it is true, so a false part of an AND may end it early."""
        if not isinstance(expr, nodes.Logic) or expr.operator != "AND":
            return _truth(self.expr(expr, depth))
        self._count(expr, depth)
        parts = [self._condition(part, depth + 1) for part in expr.operands]
        if len(parts) == 2:
            first, second = parts
            return lambda scope, context: first(scope, context) and second(scope, context)
        return lambda scope, context: all(part(scope, context) for part in parts)

    def _count(self, expr: nodes.Expr, depth: int) -> None:
        self._at = getattr(expr, "at", self._at)
        if depth > MAX_NESTING:
            raise self._refuse("expressions are nested too deeply", fix=f"at most {MAX_NESTING} levels")
        self._weight += 1
        if isinstance(expr, nodes.Variable):
            if expr.name not in self._variables:
                raise self._refuse(f"@{expr.name} is not set", fix=f"begin with: SET @{expr.name} = ...")
            self._weight += self._variables[expr.name]
        if self._weight > MAX_WEIGHT:
            raise self._refuse("the statement is too large", fix="use fewer or smaller expressions")

    def _refuse(self, what: str, *, fix: str) -> BadRule:
        return BadRule(what, line=self._at.line, column=self._at.column, fix=fix)

    def _since_2016(self, what: str) -> None:
        if not self.whole:
            raise self._refuse(f"{what} in SQL version {self.version}", fix=f"use awsIotSqlVersion {LATEST}")

    def _call(self, call: nodes.Call, depth: int) -> Run:
        if call.name.lower() == "sql_version":
            return _constant(self.version if not call.arguments else UNDEFINED)
        function = find(call.name, line=call.at.line, column=call.at.column)
        if function.new:
            self._since_2016(f"no {function.name}()")
        if _asks_for_protobuf(call):
            raise BadRule(
                f"{call.name}() with protobuf is not available",
                line=call.at.line,
                column=call.at.column,
                fix="use 'base64', and read the bytes where they arrive",
            )
        arguments = [
            _raw if function.raw_star and isinstance(argument, nodes.Star) else self.expr(argument, depth)
            for argument in call.arguments
        ]
        if not function.takes(len(arguments)):
            return _constant(UNDEFINED)  # as the guide says: never an error
        return _invoke(function.call, arguments, with_context=function.with_context)

    def _cast(self, cast: nodes.Cast, operand: Run) -> Run:
        types = TYPES_2016 if self.whole else TYPES_2015
        convert = types.get(cast.type_name.lower())
        if convert is None:
            raise self._refuse(
                f"no type '{cast.type_name}' to cast to", fix=f"known: {', '.join(sorted(types))}"
            )
        return lambda scope, context: convert(operand(scope, context))

    def _case(self, case: nodes.Case, depth: int) -> Run:
        subject = self.expr(case.subject, depth)
        branches = [(self.expr(test, depth), self.expr(then, depth)) for test, then in case.branches]
        otherwise = self.expr(case.otherwise, depth) if case.otherwise is not None else _constant(UNDEFINED)

        def run(scope: Value, context: Context) -> Value:
            value = subject(scope, context)
            if value is UNDEFINED:
                return UNDEFINED
            for test, then in branches:
                wanted = test(scope, context)
                if wanted is not UNDEFINED and equal(value, wanted):
                    return then(scope, context)
            return otherwise(scope, context)

        return run

    def _nested(self, nested: nodes.Nested, depth: int) -> Run:
        self._since_2016("no nested SELECT")
        source = self.expr(nested.source, depth)
        select = self.select(nested.select, depth, everything=_scope)

        def run(scope: Value, context: Context) -> Value:
            elements = source(scope, context)
            if type(elements) is list:
                results = (select(element, context) for element in elements)
                return [
                    result for result in results if result is not NOT_SELECTED and result is not UNDEFINED
                ]
            if type(elements) is not dict:
                return UNDEFINED
            result = select(elements, context)
            return UNDEFINED if result is NOT_SELECTED else result

        return run


def _no_array(run: Run) -> Run:
    """Version 2015-10-08 has no Array as a whole result."""
    return lambda scope, context: UNDEFINED if type(value := run(scope, context)) is list else value


def _constant(value: Value) -> Run:
    return lambda _scope, _context: value


def _field(name: str) -> Run:
    def run(scope: Value, _context: Context) -> Value:
        return scope.get(name, UNDEFINED) if type(scope) is dict else UNDEFINED

    return run


def _variable(name: str) -> Run:
    return lambda _scope, context: context.variables[name]  # set before: `_count` refuses others


def _scope(scope: Value, _context: Context) -> Value:
    return scope


def _raw(_scope: Value, context: Context) -> Value:
    return context.message.payload


def _payload(scope: Value, context: Context) -> Value:
    """`SELECT *`: the JSON object or array; anything else goes on as the bytes that came."""
    return scope if type(scope) is dict or type(scope) is list else context.message.payload


def _member(base: Run, names: tuple[str, ...]) -> Run:
    def run(scope: Value, context: Context) -> Value:
        value = base(scope, context)
        for name in names:
            if type(value) is not dict:
                return UNDEFINED
            value = value.get(name, UNDEFINED)
        return value

    return run


def _invoke(function: Callable[..., Value], arguments: list[Run], *, with_context: bool) -> Run:
    if with_context:
        if not arguments:
            return lambda _scope, context: function(context)
        return lambda scope, context: function(context, *[item(scope, context) for item in arguments])
    if len(arguments) == 1:
        only = arguments[0]
        return lambda scope, context: function(only(scope, context))
    return lambda scope, context: function(*[item(scope, context) for item in arguments])


def _chain(first: Run, steps: list[tuple[Callable[[Value, Value], Value], Run]]) -> Run:
    def run(scope: Value, context: Context) -> Value:
        value = first(scope, context)
        for apply, operand in steps:
            value = apply(value, operand(scope, context))
        return value

    return run


def _negative(operand: Run, *, whole: bool) -> Run:
    minus = arithmetic("-", whole=whole)
    return lambda scope, context: minus(0, operand(scope, context))


def _compare(sign: str, left: Run, right: Run) -> Run:
    apply = compare(sign)
    return lambda scope, context: apply(left(scope, context), right(scope, context))


def _in(left: Run, right: Run) -> Run:
    return lambda scope, context: contains(left(scope, context), right(scope, context))


def _truth(run: Run) -> Run:
    """True only for true (or the text "true")."""
    return lambda scope, context: (value := run(scope, context)) is True or to_boolean(value) is True


def _logic(operands: list[Run], *, deciding: bool) -> Run:
    """OR is `deciding` once an operand is true, AND once one is false; any operand that is no Boolean: Undefined."""

    def run(scope: Value, context: Context) -> Value:
        result = not deciding
        for operand in operands:
            value = to_boolean(operand(scope, context))
            if value is UNDEFINED:
                return UNDEFINED
            if value is deciding:
                result = deciding
        return result

    return run


def _not(operand: Run) -> Run:
    def run(scope: Value, context: Context) -> Value:
        value = to_boolean(operand(scope, context))
        return UNDEFINED if value is UNDEFINED else not value

    return run


def _array(items: list[Run]) -> Run:
    def run(scope: Value, context: Context) -> Value:
        values = [item(scope, context) for item in items]
        return [value for value in values if value is not UNDEFINED]

    return run


def _asks_for_protobuf(call: nodes.Call) -> bool:
    """Whether decode() or encode() is to read a schema that lies in AWS (developer guide, "Binary payloads")."""
    scheme = (
        call.arguments[1] if call.name.lower() in ("decode", "encode") and len(call.arguments) > 1 else None
    )
    named = scheme.value if isinstance(scheme, nodes.Literal) else None
    return isinstance(named, str) and named.lower() in ("proto", "protobuf")
