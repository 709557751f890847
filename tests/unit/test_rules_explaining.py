"""An expression written down is read as the same one; an explanation tells what the engine does, and never raises."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from rules_statements import COMMON, expressions, message, payloads

from contracts.errors import BadRule, ConfigError
from pipeline.rules.context import Context
from pipeline.rules.evaluator import NOT_SELECTED
from pipeline.rules.explaining import explain, lines
from pipeline.rules.nodes import Position
from pipeline.rules.parser import parse_expression
from pipeline.rules.rule import Rule
from pipeline.rules.writing import written

GUIDE = json.loads((Path(__file__).parents[1] / "conformance" / "iot_sql_guide.json").read_text())


def bare(node: Any) -> Any:
    """The tree without the positions of its words, and a number as text: 1.50 and 1.5 are told apart by nobody."""
    if isinstance(node, tuple):
        return [bare(one) for one in node]
    if not dataclasses.is_dataclass(node):
        return (type(node).__name__, str(node))
    parts = {one.name: getattr(node, one.name) for one in dataclasses.fields(node)}
    kept = {name: bare(part) for name, part in parts.items() if not isinstance(part, Position)}
    return (type(node).__name__, kept)


@pytest.mark.parametrize(
    "text",
    [
        "a.b.c",
        "(a + 1) * -b - (c - d)",
        "a - (b - c)",
        "-(-a)",
        "NOT (a = 1 OR b IN [1, 'it''s', NULL, TRUE]) AND c <> d",
        "(a = b) = c",
        "(a OR b) AND c",
        "a OR b AND c",
        "CAST(a.b AS Decimal) % 2",
        "{'k': topic(2), 'l m': [a]}",
        "CASE a WHEN 1 THEN 'x' WHEN 2 THEN 'y' ELSE (b + 1) END",
        "CASE a WHEN 1 THEN 2 END",
        "(SELECT a AS x.y, b FROM e.f WHERE a > 1)",
        "(SELECT VALUE * FROM e)",
        "get((SELECT a FROM e), 0).a",
        "(1.5 + 1E-7) * 20000000000000000000000000000000000",
    ],
)
def test_what_is_written_is_read_as_the_same(text: str) -> None:
    tree = parse_expression(text)
    assert bare(parse_expression(written(tree))) == bare(tree)
    assert written(parse_expression(written(tree))) == written(tree)


@COMMON
@given(expressions)
def test_any_expression_is_written_and_read_again(text: str) -> None:
    try:
        tree = parse_expression(text)
    except BadRule:
        return
    assert bare(parse_expression(written(tree))) == bare(tree)


@COMMON
@given(expressions, expressions, payloads)
def test_an_explanation_is_what_the_engine_does(item: str, where: str, payload: bytes) -> None:
    try:
        rule = Rule("r", f"SELECT {item} AS x FROM 'a/#' WHERE {where}")
    except BadRule:
        return
    except ConfigError as refused:  # AWS's limit, which is no mistake at a place
        assert refused.what == "rule 'r' calls get_dynamodb() more than once"
        return
    volatile = any(name in rule.sql for name in ("newuuid", "rand"))
    told = explain(rule, Context(message(payload)))
    assert lines(told)[0].startswith(f"rule r: {'fires' if told.fires else 'does not fire'}")
    if not volatile:
        assert str(told.result) == str(rule.program(Context(message(payload))))


@pytest.mark.parametrize("case", GUIDE["statements"], ids=lambda case: case["id"])
def test_the_guide_s_statements_are_explained(case: dict[str, Any]) -> None:
    rule = Rule("conformance", case["sql"])
    told = explain(rule, Context(message(json.dumps(case["payload"]).encode(), case["topic"])))
    assert told.fires is not case.get("no_action", False)
    assert told.fires is (told.clause == "SELECT")
    assert len(told.items) == (len(rule.statement.select.items) if told.fires else 0)
    assert told.result == (case["expected"] if told.fires else NOT_SELECTED)


def test_a_disabled_rule_and_one_for_basic_ingest_say_why() -> None:
    off = explain(Rule("off", "SELECT * FROM 'a'", enabled=False), Context(message(b"{}", "a")))
    assert (off.fires, off.clause, off.why) == (False, "rule", "the rule is disabled")
    only = Rule("only", "SELECT a")
    assert explain(only, Context(message(b"{}", "a"))).why == "only Basic Ingest calls it"
    assert explain(only, Context(message(b"{}", "$aws/rules/only/x"))).fires
    assert explain(only, Context(message(b"{}", "$aws/rules/only"))).fires
    assert not explain(only, Context(message(b"{}", "$aws/rules/onlyx/y"))).fires


def test_the_operand_that_decided_is_told() -> None:
    rule = Rule("r", "SET @t = a * 2 SELECT @t AS t FROM 'a' WHERE @t > 1 AND (b = 2 OR missing = 3)")
    no = explain(rule, Context(message(b'{"a": 1, "b": 2}', "a")))
    assert (no.fires, no.clause) == (False, "WHERE")
    assert no.why == "WHERE is Undefined: missing = 3 is Undefined (missing is Undefined)"
    assert [(step.text, step.value) for step in no.variables] == [("@t", 2)]
    false = explain(Rule("r", "SELECT * FROM 'a' WHERE a = 1 AND a = 2"), Context(message(b'{"a": 1}', "a")))
    assert false.why == "WHERE is false: a = 2 is false (a is 1)"
    word = explain(Rule("r", "SELECT * FROM 'a' WHERE 7"), Context(message(b"{}", "a")))
    assert word.why.startswith("WHERE is 7")


def test_the_text_of_an_explanation_is_a_tree_and_its_values_are_cut() -> None:
    rule = Rule("r", "SET @n = a.b + 1 SELECT @n AS n, upper(s) AS u FROM 'a'")
    assert lines(explain(rule, Context(message(b'{"a": {"b": 1}, "s": "x"}', "a")))) == [
        "rule r: fires, decided by SELECT: there is no WHERE",
        "SET @n -> 2",
        "  a.b + 1 -> 2",
        "    a.b -> 1",
        '      a -> {"b":1}',
        "SELECT @n AS n -> 2",
        'SELECT upper(s) AS u -> "X"',
        '  s -> "x"',
        'result: {"n":2,"u":"X"}',
    ]
    long = explain(Rule("r", "SELECT s FROM 'a'"), Context(message(b'{"s": "%s"}' % (b"x" * 500), "a")))
    assert lines(long)[1] == f'SELECT s -> "{"x" * 199}...'
    raw = explain(Rule("r", "SELECT * FROM 'a'"), Context(message(b"\xff", "a")))
    assert lines(raw)[-1] == r"result: b'\xff'"
