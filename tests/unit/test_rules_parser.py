"""Bad statements: one clear error with the position and what was expected."""

import pytest

from contracts.errors import BadRule
from pipeline.rules.evaluator import compile_statement
from pipeline.rules.parser import MAX_STATEMENT, parse
from pipeline.rules.substitution import Template


def refusal(sql: str) -> BadRule:
    with pytest.raises(BadRule) as caught:
        compile_statement(parse(sql))
    return caught.value


@pytest.mark.parametrize(
    ("sql", "line", "column", "what", "fix"),
    [
        ("", 1, 1, "ends too early", "SELECT"),
        ("SELECT FROM 'a'", 1, 8, "FROM", "FROM is a keyword"),
        ("SELECT a,\n  b c FROM 'a'", 2, 5, "'c'", "operator"),
        ("SELECT a FROM topic", 1, 15, "'topic'", "in quotes"),
        ("SELECT a FROM 'a' WHERE", 1, 24, "ends too early", "an expression"),
        ("SELECT a FROM 'a' WHERE a != 1", 1, 27, "'!'", "<>"),
        ("SELECT a FROM 'a", 1, 15, "not closed", "end it with '"),
        ("SELECT (a + 1 FROM 'a'", 1, 15, "FROM", "')'"),
        ("SELECT a.0 FROM 'a'", 1, 10, "'0'", "name"),
        ("SELECT a; FROM 'a'", 1, 9, "';'", "get("),
        ("SELECT uper(a) AS u FROM 'a'", 1, 8, "uper()", "did you mean 'upper'"),
        ("SELECT machinelearning_predict('x', 'r', s) AS s FROM 'a'", 1, 8, "not available", "retired"),
        ("SELECT CAST(a AS Blob) AS u FROM 'a'", 1, 18, "Blob", "known: bool"),
        ("SELECT @x AS u FROM 'a'", 1, 8, "@x is not set", "SET @x"),
        ("SET @x = 1, @x = 2 SELECT @x AS u FROM 'a'", 1, 13, "twice", "cannot change"),
        (f"SET @{'x' * 65} = 1 SELECT a FROM 'a'", 1, 5, "variable", "64"),
        ("SELECT VALUE a, b FROM 'a'", 1, 8, "one item", "VALUE"),
        ("SELECT a FROM 'a/#/b'", 1, 15, "before the last", "'+' and '#'"),
        ("SELECT a FROM 'a/b+'", 1, 15, "shares its level", "'+' and '#'"),
        ("SELECT a FROM ''", 1, 15, "empty", "'+' and '#'"),
        ("SELECT 1E1000 AS x FROM 'a'", 1, 8, "out of range", "9.99E999"),
        ("SELECT CASE a THEN 1 END AS x FROM 'a'", 1, 15, "THEN", "expected WHEN"),
        ("SELECT decode(a, 'Proto', 'b', 'c', 'd') AS x FROM 'a'", 1, 8, "decode() with protobuf", "base64"),
        ("SELECT encode(a, 'protobuf') AS x FROM 'a'", 1, 8, "encode() with protobuf", "base64"),
    ],
)
def test_where_and_what(sql: str, line: int, column: int, what: str, fix: str) -> None:
    error = refusal(sql)
    assert (error.line, error.column) == (line, column)
    assert what in error.what
    assert fix in error.fix


@pytest.mark.parametrize(
    ("expression", "what"),
    [
        ("[1]", "no array literals"),
        ("{'a': 1}", "no object literals"),
        ("(SELECT a FROM e)", "no nested SELECT"),
        ("transform('enrichArray', a, b)", "no transform()"),
    ],
)
def test_what_came_with_2016_is_refused_in_2015(expression: str, what: str) -> None:
    with pytest.raises(BadRule) as caught:
        compile_statement(parse(f"SELECT {expression} AS x FROM 'a'"), "2015-10-08")
    assert caught.value.what == f"{what} in SQL version 2015-10-08 at line 1, column {caught.value.column}"
    assert caught.value.fix == "use awsIotSqlVersion 2016-03-23"


def test_64_levels_of_nesting_and_no_more() -> None:
    def nested(levels: int) -> str:
        return f"SELECT {'NOT ' * (levels - 1)}a AS x FROM 'a'"

    compile_statement(parse(nested(64)))
    error = refusal(nested(65))
    assert "nested too deeply" in error.what
    assert error.fix == "at most 64 levels"


def test_a_statement_weighs_100_000_nodes_at_most() -> None:
    """@a weighs 249 (248 and itself), each use of it one more, and their array one: 249 + 399 * 250 + 1."""

    def using(times: int) -> str:
        return f"SET @a = [{', '.join(['1'] * 248)}] SELECT VALUE [{', '.join(['@a'] * times)}] FROM 'a'"

    compile_statement(parse(using(399)))
    assert "too large" in refusal(using(400)).what


def test_a_statement_has_a_longest_length() -> None:
    assert "characters" in refusal("SELECT a FROM 'a' " + " " * MAX_STATEMENT).what


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(BadRule, match="2020") as caught:
        compile_statement(parse("SELECT * FROM 'a'"), "2020-01-01")
    assert "2016-03-23" in caught.value.fix


def test_a_rule_for_basic_ingest_alone_needs_no_topic_filter() -> None:
    assert parse("SELECT * WHERE a > 1").topic_filter is None


@pytest.mark.parametrize("text", ["${topic()", "${'}'", "${}", "${a b}"])
def test_a_template_that_is_not_closed_or_wrong_is_refused(text: str) -> None:
    with pytest.raises(BadRule):
        Template(text)
