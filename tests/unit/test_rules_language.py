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
from pipeline.rules.evaluator import NOT_SELECTED, compile_statement
from pipeline.rules.parser import parse
from pipeline.rules.payload import decode, encode, to_json
from pipeline.rules.values import UNDEFINED

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
    assert value("sql_version()", version="2015-10-08") == "2015-10-08"
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
