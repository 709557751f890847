"""IoT SQL: what statements mean. Facts from the AWS IoT Core developer guide ("SQL reference") where it says."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import BadRule
from contracts.messages import Message
from pipeline.rules.context import Context
from pipeline.rules.engine import Engine, Rule
from pipeline.rules.evaluator import NOT_SELECTED, compile_expression, compile_statement
from pipeline.rules.parser import parse, parse_expression
from pipeline.rules.payload import decode, encode, to_json
from pipeline.rules.services import Services
from pipeline.rules.values import MAX_TEXT, UNDEFINED

SHARED = Path(__file__).parents[3] / "shared" / "conformance" / "iot_sql.json"


def run(sql: str, payload: Any = None, *, version: str = "2016-03-23", topic: str = "a/b") -> Any:
    data = (
        payload if isinstance(payload, bytes) else json.dumps(payload if payload is not None else {}).encode()
    )
    message = Message(
        "id-1", "device-1", "cert-1", topic, data, 1, False, 1_481_825_251_155_000_000, "10.0.0.1"
    )
    return compile_statement(parse(sql), version)(Context(message))


def value(expression: str, payload: Any = None, **options: Any) -> Any:
    return run(f"SELECT VALUE {expression} FROM 'a/#'", payload, **options)


READINGS = {"e": [{"n": "temperature", "v": 22.5}, {"n": "light", "v": 135}, {"n": "acidity", "v": 7}]}


@pytest.mark.parametrize(
    ("sql", "payload", "expected"),
    [
        ("SELECT a FROM 'a/#'", {"a": 1, "b": 2}, {"a": 1}),
        ("select a As x from 'a/#' where b = 2", {"a": 1, "b": 2}, {"x": 1}),
        ("SELECT a.b AS bar.baz, a.c AS bar.qux FROM 'a/#'", {"a": {"b": "RED", "c": 1}}, {"bar": {"baz": "RED", "qux": 1}}),
        ("SELECT a.b FROM 'a/#'", {"a": {"b": 3}}, {"b": 3}),
        ("SELECT * FROM 'a/#'", {"a": [1, None]}, {"a": [1, None]}),
        ("SELECT *, 15 AS a FROM 'a/#'", {"a": 1, "b": 2}, {"a": 15, "b": 2}),
        ("SELECT *, 1 AS a.b FROM 'a/#'", {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ("SELECT * AS payload, topic() AS topic FROM 'a/#'", {"a": 1}, {"payload": {"a": 1}, "topic": "a/b"}),
        ("SELECT foo, bar FROM 'a/#'", {"foo": None}, {"foo": None}),
        ("SELECT [a, missing, b] AS l, {'x': a, 'y': missing} AS o FROM 'a/#'", {"a": 1, "b": 2}, {"l": [1, 2], "o": {"x": 1}}),
        ("SELECT (SELECT v FROM e WHERE n = 'temperature') AS t FROM 'a/#'", READINGS, {"t": [{"v": 22.5}]}),
        ("SELECT (SELECT * FROM e WHERE v > 100) AS t FROM 'a/#'", READINGS, {"t": [{"n": "light", "v": 135}]}),
        ("SELECT (SELECT a, b FROM o) AS t FROM 'a/#'", {"o": {"a": 1, "c": 2}}, {"t": {"a": 1}}),
        ("SELECT (SELECT VALUE * FROM e) AS t FROM 'a/#'", {"e": [1, "x"]}, {"t": [1, "x"]}),
        ("SELECT VALUE transform('enrichArray', {'k': a}, e) FROM 'a/#'", {"a": 1, "e": [{"b": 2}]}, [{"b": 2, "k": 1}]),
        ("SELECT CASE c WHEN 'green' THEN 'go' WHEN 'red' THEN 'stop' ELSE '?' END AS i FROM 'a/#'", {"c": "red"}, {"i": "stop"}),
        ("SELECT CASE c WHEN 1 THEN 2 END AS i FROM 'a/#'", {"c": 5}, {}),
        ("SELECT CASE missing WHEN 1 THEN 2 ELSE 3 END AS i FROM 'a/#'", {}, {}),
        ("SET @t = a.b, @twice = @t * 2 SELECT @twice AS x, @t FROM 'a/#' WHERE @t > 1", {"a": {"b": 4}}, {"x": 8, "t": 4}),
        ("SELECT value, end, set AS case FROM 'a/#'", {"value": 1, "end": 2, "set": 3}, {"value": 1, "end": 2, "case": 3}),
        ("SELECT value * 2 AS x, value - 1 AS y FROM 'a/#'", {"value": 4}, {"x": 8, "y": 3}),
        ("SELECT r.value AS v FROM 'a/#' WHERE r.from = 1", {"r": {"value": 7, "from": 1}}, {"v": 7}),
        ("SELECT decode(x, 'base64').t AS t FROM 'a/#'", {"x": "eyAidCI6IDMzIH0K"}, {"t": 33}),
        ("SELECT timestamp() AS t, clientid() AS c, traceid() AS i, principal() AS p, sourceip() AS s FROM 'a/#'", {},
         {"t": 1481825251155, "c": "device-1", "i": "id-1", "p": "cert-1", "s": "10.0.0.1"}),
    ],
)  # fmt: skip
def test_select(sql: str, payload: Any, expected: Any) -> None:
    assert run(sql, payload) == expected


@pytest.mark.parametrize(
    ("where", "fires"),
    [
        ("t > 50", True),
        ("t > 50 AND color <> 'red'", False),
        ("text > 50", True),  # numeric strings convert for ordering
        ("text = 60", False),  # but not for equality
        ("text <> 60", True),
        ("missing = 1", False),
        ("missing <> 1", False),
        ("NOT (missing = 1)", False),  # NOT of Undefined is Undefined
        ("nothing = NULL", True),
        ("nothing <> NULL", False),
        ("flag", True),
        ("flag = 'true'", False),
        ("yes AND flag", True),  # "TRUE" as a string counts as a Boolean
        ("t AND flag", False),
        ("t = 60.0", True),
        ("t IN [1, 60]", True),
        ("color IN ['blue']", False),
        ("[1, 2] = [1, 2.0]", True),
        ("{'a': 1, 'b': 2} = {'b': 2, 'a': 1}", True),
        ("t > 10 AND t < 100 AND color = 'red'", True),
        ("flag OR missing = 2", False),  # any operand that is no Boolean makes it Undefined
        ("color = 'blue' OR t = 60", True),
        ("isUndefined(missing) AND NOT isNull(t)", True),
        ("t % 12 = 0", True),
        ("2 + 3 * 4 = 14", True),
        ("(2 + 3) * 4 = 20 AND 10 - 2 - 3 = 5", True),
        ("NOT color = 'blue' AND t > 1", True),
    ],
)
def test_where(where: str, *, fires: bool) -> None:
    payload = {"t": 60, "color": "red", "text": "60", "nothing": None, "flag": True, "yes": "TRUE"}
    assert (run(f"SELECT * FROM 'a/#' WHERE {where}", payload) is not NOT_SELECTED) is fires


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("7.0 / 2", 3),  # a whole Decimal is an Int since 2016-03-23
        ("7.5 / 2", 3.75),
        ("0.1 + 0.2", 0.3),
        ("0.5 + 0.5", 1),
        ("1 / 0", UNDEFINED),
        ("1.5 % 0", UNDEFINED),
        ("'a' + 1", "a1"),
        ("1 + 'a'", "1a"),
        ("'a' + NULL", UNDEFINED),
        ("'7' / 2", 3.5),
        ("'x' - 1", UNDEFINED),
        ("TRUE + 1", UNDEFINED),
        ("10 * 1E33 * 10", 1e35),
        ("123456789012345678901234567890.5 + 1", Decimal("123456789012345678901234567891.5")),
        ("9E998 * 100", UNDEFINED),
        ("CAST(TRUE AS Int)", 1),
        ("cast('5.9' as integer)", 5),
        ("CAST(0 AS Boolean)", False),
        ("CAST('yes' AS Bool)", UNDEFINED),
        ("CAST(5 AS String)", "5"),
        ("CAST('2.5' AS Decimal)", 2.5),
        ("CAST([1, 'x', NULL] AS String)", '[1,"x",null]'),
        ("-'3'", -3),
        ('\'it\'\'s\' + " ""ok"""', 'it\'s "ok"'),
    ],
)
def test_arithmetic_and_casts(expression: str, expected: Any) -> None:
    result = value(expression)
    assert result == expected
    assert type(result) is type(expected)


def test_version_2015_keeps_whole_decimals_and_has_no_literals() -> None:
    assert to_json(run("SELECT a FROM 'a/#'", b'{"a": 10.0}', version="2015-10-08")) == '{"a":10.0}'
    assert to_json(run("SELECT a FROM 'a/#'", b'{"a": 10.0}')) == '{"a":10}'
    assert to_json(run("SET @x = 1 SELECT a, @x FROM 'a/#'", b'{"a": 10.0}')) == '{"a":10,"x":1}'
    assert value("sql_version()", version="2015-10-08") == "2015-10-08"
    with pytest.raises(BadRule, match="unknown SQL version '2016'") as caught:
        value("1", version="2016")
    assert caught.value.fix == "known: 2015-10-08, 2016-03-23, beta"
    for expression in ("[1]", "{'a': 1}", "(SELECT a FROM e)"):
        with pytest.raises(BadRule, match="2015-10-08"):
            value(expression, version="2015-10-08")


def test_version_2015_has_no_array_as_a_result_and_casts_true_to_a_decimal() -> None:
    payload = {"l": [1], "n": 1}
    assert value("l", payload, version="2015-10-08") is UNDEFINED
    assert value("n", payload, version="2015-10-08") == 1
    for version, kind in (("2015-10-08", float), ("2016-03-23", int)):
        cast = value("CAST(TRUE AS Decimal)", version=version)
        assert (cast, type(cast)) == (1, kind)


def test_every_part_of_an_expression_knows_the_message() -> None:
    for case in ("CASE topic(1) WHEN 'a' THEN topic(2) END", "CASE 1 WHEN 2 THEN 3 ELSE topic(2) END"):
        assert value(case) == "b"
    assert value("CASE 1 WHEN 2 THEN 3 ELSE n END", {"n": 4}) == 4
    assert run("SELECT *, topic(2) AS t FROM 'a/#'", {"n": 4}) == {"n": 4, "t": "b"}


def test_an_index_beyond_every_end_keeps_its_sign() -> None:
    assert value("substring('abc', -1E40)") == "abc"
    assert value("substring('abc', 1E40)") == ""
    assert value("[1, [2]] = [1, [3]]") is False
    assert value("[1] = [TRUE]") is False
    assert value("[1, [2]] = [1.0, [2]]") is True


def test_payload_that_is_not_json() -> None:
    assert run("SELECT * FROM 'a/#'", [1, 2]) == [1, 2]
    assert run("SELECT * FROM 'a/#'", b"\xff\x00") == b"\xff\x00"
    assert run("SELECT encode(*, 'base64') AS data FROM 'a/#'", b"\xff") == {"data": "/w=="}
    assert run("SELECT *, 1 AS a FROM 'a/#'", b"\xff") == {"a": 1}
    assert run("SELECT a, topic(2) AS t FROM 'a/#'", b"\xff") == {"t": "b"}
    decoded = "decode(encode(*, 'base64'), 'base64')"
    assert run(f"SELECT {decoded} AS value FROM 'a/#' WHERE {decoded} > 50", b"80") == {"value": 80}
    for text in (b"NaN", b'{"a": Infinity}', b'{"a": 1E1000}', b'{"a": 1} x', b"\xef\xbb\xbf{}", b""):
        assert decode(text) is UNDEFINED


def test_bodies_are_compact_json_in_utf8() -> None:
    assert encode({"a": [1, 2.5, "é"], "b": None}) == '{"a":[1,2.5,"é"],"b":null}'.encode()
    assert encode(b"\x00raw") == b"\x00raw"
    assert encode("red") == b'"red"'
    assert encode(UNDEFINED) == b""
    assert (
        encode(decode(b'{"a":1E400,"b":[0.12345678901234567890]}'))
        == b'{"a":1E+400,"b":[0.12345678901234567890]}'
    )
    assert json.loads(encode({"a": "\ud800é"})) == {"a": "\ud800é"}


def test_results_never_change_the_payload_that_rules_share() -> None:
    rules = [Rule(name=f"r{n}", sql=f"SELECT *, {n} AS a.n FROM 'a/#'") for n in range(3)]
    message = Message("i", "c", "p", "a/b", b'{"a": {"x": 1}}', 0, False, 0)
    results = [
        match.result for match in Engine([*rules, Rule(name="all", sql="SELECT * FROM 'a/#'")]).match(message)
    ]
    assert results == [
        {"a": {"x": 1, "n": 0}},
        {"a": {"x": 1, "n": 1}},
        {"a": {"x": 1, "n": 2}},
        {"a": {"x": 1}},
    ]


def _shared(kind: str) -> list[Any]:
    return json.loads(SHARED.read_text())[kind] if SHARED.exists() else []


@pytest.mark.skipif(not SHARED.exists(), reason="the published cases are not on this machine")
def test_documented_statements() -> None:
    for case in _shared("statements"):
        rule = Rule(name="r", sql=case["sql"])
        message = Message("i", "c", "p", case["topic"], json.dumps(case["payload"]).encode(), 0, False, 0)
        results = [match.result for match in Engine([rule]).match(message)]
        assert results == ([] if case.get("no_action") else [case["expected"]]), case["id"]


@pytest.mark.skipif(not SHARED.exists(), reason="the published cases are not on this machine")
def test_documented_functions() -> None:
    for case in _shared("functions"):
        expected = UNDEFINED if case.get("undefined") else case["expected"]
        assert value(case["expr"]) == expected, case["id"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("CAST(? AS Int)", 4),
        ("CAST(? AS Double)", 4.0),
        ("-?", -4),
        ("? IN ['4']", True),
        ("'4' IN [?]", True),
        ("NOT (? = '4')", False),
        ("'4' = ?", True),
        ("? = '4' AND TRUE", True),
        ("FALSE OR ? = '4'", True),
        ("5 > ?", True),
        ("1 + ?", "14"),
        ("10 - ?", 6),
        ("[?, 1]", ["4", 1]),
        ("{'k': ?}", {"k": "4"}),
        ("upper(?)", "4"),
        ("substring('012345', ?)", "45"),
        ("CASE ? WHEN '4' THEN 1 END", 1),
        ("CASE '4' WHEN ? THEN 1 END", 1),
        ("CASE 1 WHEN 1 THEN ? END", "4"),
        ("CASE 1 WHEN 2 THEN 3 ELSE ? END", "4"),
    ],
)
def test_every_place_of_an_expression_sees_the_payload_and_the_message(
    expression: str, expected: Any
) -> None:
    for four in ("n", "o.n", "topic(3)"):
        result = value(expression.replace("?", four), {"n": "4", "o": {"n": "4"}}, topic="a/b/4")
        assert (result, type(result)) == (expected, type(expected))


def test_a_nested_select_sees_the_message_and_the_variables() -> None:
    payload = {"l": [{"x": 1}, {"x": 2}], "o": {"x": 3}}
    assert value("(SELECT VALUE topic(1) FROM l WHERE topic(2) = 'b')", payload) == ["a", "a"]
    assert value("(SELECT x, topic(1) AS t FROM o)", payload) == {"x": 3, "t": "a"}
    assert value("(SELECT x FROM o WHERE x > 3)", payload) is UNDEFINED
    assert value("(SELECT x FROM o.x)", payload) is UNDEFINED
    assert value("(SELECT VALUE y FROM l)", payload) == []
    sql = "SET @l = l, @t = topic(2) SELECT VALUE (SELECT VALUE @t FROM @l WHERE x > 1) FROM 'a/#'"
    assert run(sql, payload) == ["b"]
    assert value("topic(2)", version="2015-10-08") == "b"
    assert value("topic(n)", {"n": 2}) == value("topic(topic(3))", topic="a/b/2") == "b"
    assert run("SELECT * FROM 'a/#' WHERE topic(1) = 'a' AND topic(2) = 'b'") == {}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("TRUE AND 'true'", True),
        ("TRUE AND FALSE", False),
        ("'false' AND TRUE", False),
        ("FALSE AND missing", UNDEFINED),
        ("TRUE AND 1", UNDEFINED),
        ("FALSE OR 'FALSE'", False),
        ("FALSE OR TRUE OR FALSE", True),
        ("TRUE OR missing", UNDEFINED),
        ("NOT 'False'", True),
        ("NOT 1", UNDEFINED),
        ("NOT missing", UNDEFINED),
        ("'no' OR TRUE", UNDEFINED),
        ("missing IN [1]", UNDEFINED),
        ("1 IN 'x'", UNDEFINED),
        ("1 IN []", False),
        ("'x' < 1", UNDEFINED),
        ("1 < 'x'", UNDEFINED),
        ("TRUE >= 1", UNDEFINED),
        ("'2' <= '10'", True),
        ("2 >= 2 AND 2 <= 2", True),
        ("2 > 2 OR 2 < 2", False),
        ("1E400 > 1E399 AND 1 < 1E400 AND '1E400' >= 1E400", True),
        ("1E400 < 'x'", UNDEFINED),
        ("missing > 1E400", UNDEFINED),
        ("{'a': 1, 'b': 1} = {'a': 1, 'c': 1}", False),
        ("{'a': 1, 'b': 1} = {'a': 1, 'b': 2}", False),
        ("{'a': 1} = {'a': 1.0}", True),
        ("{'a': 1} = {'a': TRUE}", False),
        ("0.1 < 0.1000000000000000055", True),  # by what they print as, not by the float behind 0.1
        ("0.1000000000000000055 > 0.1", True),
        ("sql_version(1)", UNDEFINED),
        ("decode('eA==')", UNDEFINED),
        ("'a' = ['a']", False),
        ("o.missing", UNDEFINED),
        ("o.a.b", UNDEFINED),
        ("isNull(o.missing)", False),
    ],
)
def test_three_values_of_logic(expression: str, expected: Any) -> None:
    result = value(expression, {"o": {"a": 1}})
    assert result is expected


def test_in_version_2015_an_int_equals_the_decimal_of_its_value() -> None:
    assert value("n = 1.0", {"n": 1}, version="2015-10-08") is True
    assert value("1.0 = n", {"n": 1}, version="2015-10-08") is True
    assert value("'1' = 1.0", version="2015-10-08") is False


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1E33 % 3.5", 2.5),
        ("1E34 % 9.5", 4),
        ("1E35 % 3", UNDEFINED),  # the whole quotient has more than 34 digits
        ("2E20 % 1.5E20", 50_000_000_000_000_000_000),
        ("-7.5 % 2", -1.5),
        ("8 / -3", -2),
        ("-8 / -3", 2),
        ("8 % -3", 2),
        ("0 / 5", 0),
        ("0.0 / 5", 0),
        ("5 % 5", 0),
        ("9999999999999999999999999999999999 + 0", 10**34 - 1),
        ("9999999999999999999999999999999999 + 1", 1e34),
        ("-9999999999999999999999999999999999 - 1", -1e34),
        ("9999999999999999999999999999999999 * 9999999999999999999999999999999999", Decimal("9.999999999999999999999999999999998E+67")),
        ("1E33", 10**33),
        ("1E34", 1e34),
        ("-n", -5),
        ("-x", UNDEFINED),
        ("-missing", UNDEFINED),
        ("1E999 / 1E-1", UNDEFINED),
        ("CAST(5E34 AS Int)", 10**34),  # an Int has at most 34 digits
        ("CAST(-5E34 AS Int)", -(10**34)),
        ("CAST(9.5E33 AS Int)", 95 * 10**32),
        ("CAST('-1.5' AS Int)", -2),
        ("CAST(FALSE AS Int)", 0),
        ("CAST('x' AS Int)", UNDEFINED),
        ("CAST('x' AS Decimal)", UNDEFINED),
        ("CAST(NULL AS Decimal)", UNDEFINED),
        ("CAST(7 AS Double)", 7.0),
        ("CAST('7' AS Double)", 7.0),
        ("CAST(TRUE AS Double)", 1.0),
        ("CAST(FALSE AS Double)", 0.0),
        ("CAST('x' AS Double)", UNDEFINED),
        ("CAST(1E400 AS Double)", UNDEFINED),
        ("CAST(-1E400 AS Double)", UNDEFINED),
        ("CAST(12345678901234567890.5 AS Double)", 12345678901234567000.0),
        ("CAST(0.5 AS Boolean)", True),
        ("CAST(0 AS Bool)", False),
        ("CAST('TRUE' AS Bool)", True),
        ("CAST('false' AS Bool)", False),
        ("CAST([1] AS Bool)", UNDEFINED),
    ],
)  # fmt: skip
def test_numbers_at_their_bounds(expression: str, expected: Any) -> None:
    result = value(expression, {"n": 5, "x": "x"})
    assert (result, type(result)) == (expected, type(expected))


def test_casts_to_decimal_keep_the_point_in_version_2015() -> None:
    for text, of_2015, of_2016 in (("'7'", 7.0, 7), ("7.5", 7.5, 7.5), ("FALSE", 0.0, 0)):
        for version, expected in (("2015-10-08", of_2015), ("2016-03-23", of_2016)):
            result = value(f"CAST({text} AS Decimal)", version=version)
            assert (result, type(result)) == (expected, type(expected))


def test_texts_are_joined_up_to_their_bound() -> None:
    half = "x" * (MAX_TEXT // 2)
    assert value("a + b", {"a": half, "b": half}) == half + half
    assert value("a + b", {"a": half, "b": half + "x"}) is UNDEFINED
    assert value("a + b", {"a": half + "x", "b": half}) is UNDEFINED


def test_an_expression_of_an_action_counts_by_its_version_and_sees_the_variables() -> None:
    message = Message("id-1", "c", "", "a/b", b'{"n": 10.0}', 1, False, 0)
    statement = parse("SET @t = topic(2) SELECT * FROM 'a/#'")
    for version, text in (("2016-03-23", "b10"), ("2015-10-08", "b10.0")):
        program = compile_expression(parse_expression("@t + n"), statement, version)
        assert program(Context(message)) == text


def test_a_where_asks_nobody_once_a_part_of_an_and_is_false() -> None:
    """What a function asks is billed on AWS."""
    message = Message("id-1", "c", "", "a/b", b'{"n": 1}', 1, False, 0)

    def asked(where: str) -> int:
        services = Counting()
        run = compile_statement(parse(f"SELECT * FROM 'a/#' WHERE {where}"))
        run(Context(message, services=services))
        return services.asked

    question = "aws_lambda('f', 1) = 1"
    assert asked(f"n = 2 AND {question}") == 0
    assert asked(f"missing AND n = 1 AND {question}") == 0
    assert asked(f"n = 1 AND (n = 2 AND {question}) AND {question}") == 0
    assert asked(f"n = 1 AND {question} AND {question}") == 2


class Counting(Services):
    """A function that answers 1, and counts."""

    asked = 0

    def invoke(self, function: str, document: Any) -> Any:
        self.asked += 1
        return 1


def test_statements_are_bounded_when_they_are_read() -> None:
    def nested(depth: int, first: str = "TRUE") -> str:
        return f"{first} AND (" * depth + "TRUE" + ")" * depth

    assert run(f"SELECT * FROM 'a/#' WHERE {nested(60)}") == {}
    with pytest.raises(BadRule, match="nested too deeply") as caught:
        run(f"SELECT * FROM 'a/#' WHERE {nested(70)}")
    assert "64" in caught.value.fix
    exact = "NOT " * 63 + "TRUE"
    assert value(exact) is False
    with pytest.raises(BadRule, match="nested too deeply"):
        value(f"NOT {exact}")
    assert run(f"SET @a = {exact} SELECT @a AS a FROM 'a/#'") == {"a": False}
    compile_expression(parse_expression(exact))


def test_a_variable_is_as_heavy_as_its_own_expression_only() -> None:
    large = "SET @a = [" + "0, " * 199 + "0], @b = [" + "@a, " * 199 + "@a]"
    assert run(f"{large}, @c = 1 SELECT @c AS c FROM 'a/#'") == {"c": 1}
    with pytest.raises(BadRule, match="too large"):
        run(f"{large}, @c = @b SELECT @c AS c FROM 'a/#'")
