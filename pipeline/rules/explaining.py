"""Why a rule fired, or did not: every sub-expression with its value, in the order of evaluation.

Logic is three-valued: true, false, Undefined. WHERE fires on true only; of an AND that is not true the first
operand that is not true has decided it.
"""

from dataclasses import dataclass, field
from typing import Final

from . import nodes
from .context import Context
from .evaluator import NOT_SELECTED, StatementCompiler
from .payload import to_json
from .rule import Rule
from .selecting import Run
from .topics import TopicTable
from .values import UNDEFINED, Value, to_boolean
from .writing import item_written, written

_LONGEST: Final = 200
"""Characters of a value in a line of text."""


@dataclass(slots=True)
class Step:
    """One expression, its value, and what it was made of. `decides`: it is why its parent is not true."""

    text: str
    value: Value = UNDEFINED
    parts: list["Step"] = field(default_factory=list)
    decides: bool = False

    @property
    def shown(self) -> str:
        """The value as JSON; Undefined by its name."""
        return shown(self.value)


@dataclass(slots=True)
class Explanation:
    """What became of one message in one rule. `clause` decided: FROM, WHERE, SELECT, or the rule is disabled."""

    rule: str
    fires: bool
    clause: str
    why: str
    variables: list[Step] = field(default_factory=list)
    where: Step | None = None
    items: list[Step] = field(default_factory=list)
    result: Value = NOT_SELECTED


def shown(value: Value) -> str:
    """A value as people read it: JSON, the bytes of a payload, or the word Undefined."""
    if value is UNDEFINED:
        return "Undefined"
    return repr(value) if type(value) is bytes else to_json(value)


def explain(rule: Rule, context: Context) -> Explanation:
    """Evaluate the rule on one message and tell each step. Never raises."""
    statement = rule.statement
    if not rule.enabled:
        return Explanation(rule.name, fires=False, clause="rule", why="the rule is disabled")
    topic, wanted = context.message.topic, statement.topic_filter
    called = topic.startswith(f"$aws/rules/{rule.name}/") or topic == f"$aws/rules/{rule.name}"
    if not called and (wanted is None or not TopicTable([(wanted, rule)]).find(topic)):
        reason = f"the topic '{topic}' does not match '{wanted}'" if wanted else "only Basic Ingest calls it"
        return Explanation(rule.name, fires=False, clause="FROM", why=reason)
    return _evaluated(rule, context)


def _evaluated(rule: Rule, context: Context) -> Explanation:
    statement = rule.statement
    tracer = _Tracer(rule.version)
    told = Explanation(rule.name, fires=True, clause="SELECT", why="")
    setters = [(one, tracer.assign(one, expr)) for one, expr in statement.assignments]
    scope = context.document(whole=tracer.whole)
    context.variables = {}
    for variable, run in setters:
        value = run(scope, context)
        context.variables[variable.name] = value
        told.variables.append(Step(f"@{variable.name}", value, tracer.take()))
    where = statement.select.where
    if where is not None:
        told.where = tracer.step(where, scope, context)
        _mark(told.where)
        if to_boolean(told.where.value) is not True:
            told.fires, told.clause = False, "WHERE"
            told.why = f"WHERE is {told.where.shown}: {_deciding(told.where)}"
            return told
    for item in statement.select.items:
        step = tracer.step(item.expr, scope, context)
        told.items.append(Step(item_written(item), step.value, step.parts))
    told.result = rule.program(context)
    told.why = "WHERE is true" if where is not None else "there is no WHERE"
    return told


class _Tracer(StatementCompiler):
    """Compiles as the engine does, with a recorder around every expression."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self._open: list[list[Step]] = [[]]

    def take(self) -> list[Step]:
        """The steps since the last call."""
        steps = self._open[0]
        self._open[0] = []
        return steps

    def step(self, expr: nodes.Expr, scope: Value, context: Context) -> Step:
        """Evaluate one expression, and what was recorded."""
        value = self.expr(expr, 1)(scope, context)
        steps = self.take()
        return steps[0] if steps else Step(written(expr), value)

    def expr(self, expr: nodes.Expr, depth: int) -> Run:
        return self._recorded(super().expr(expr, depth), expr)

    def _recorded(self, run: Run, expr: nodes.Expr) -> Run:
        if isinstance(expr, nodes.Literal):  # its text is its value
            return run
        text = written(expr)

        def recorded(scope: Value, context: Context) -> Value:
            step = Step(text)
            self._open[-1].append(step)
            self._open.append(step.parts)
            try:
                step.value = run(scope, context)
            finally:
                self._open.pop()
            return step.value

        return recorded


def _mark(step: Step) -> None:
    """Mark the operand that decided, from the top down."""
    while step.parts and to_boolean(step.value) is not True:
        undecided = [one for one in step.parts if to_boolean(one.value) is not True]
        undefined = [one for one in step.parts if one.value is UNDEFINED]
        chosen = undefined[:1] if step.value is UNDEFINED and undefined else undecided[:1]
        if not chosen:
            return
        chosen[0].decides = True
        step = chosen[0]


def _deciding(step: Step) -> str:
    """The innermost comparison that decided, in words."""
    while inner := [one for one in step.parts if one.decides and one.parts]:
        step = inner[0]
    values = ", ".join(f"{one.text} is {one.shown}" for one in step.parts)
    return f"{step.text} is {step.shown}" + (f" ({values})" if values else "")


def lines(told: Explanation) -> list[str]:
    """The explanation as text, a tree of plain characters."""
    out = [
        f"rule {told.rule}: {'fires' if told.fires else 'does not fire'}, decided by {told.clause}: {told.why}"
    ]
    for step in told.variables:
        _draw(step, "SET ", out)
    if told.where is not None:
        _draw(told.where, "WHERE ", out)
    for step in told.items:
        _draw(step, "SELECT ", out)
    if told.fires:
        out.append(f"result: {shown(told.result)}")
    return out


def _draw(root: Step, clause: str, out: list[str]) -> None:
    waiting = [(root, "", clause)]
    while waiting:
        step, indent, label = waiting.pop()
        note = "   <- decides" if step.decides else ""
        out.append(f"{indent}{label}{step.text} -> {_short(step.shown)}{note}")
        waiting += [(part, indent + "  ", "") for part in reversed(step.parts)]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
