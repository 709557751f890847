"""The functions of IoT SQL, one line a fact. Where the guide contradicts itself the case says `guide ambiguous`."""

import hashlib
import math
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from contracts.errors import BadRule
from contracts.messages import Message, PublishProperties
from pipeline.rules.context import Context
from pipeline.rules.evaluator import compile_statement
from pipeline.rules.functions import FUNCTIONS, UNAVAILABLE, patterns
from pipeline.rules.functions.md2 import md2
from pipeline.rules.parser import parse
from pipeline.rules.services import Services
from pipeline.rules.values import MAX_TEXT, UNDEFINED, Value

PAYLOAD = b'{"o": {"a": "b", "my-key": 1}, "l": [1, 2], "n": null, "s": "hello"}'


def value(
    expression: str,
    *,
    client_id: str = "device-1",
    topic: str = "things/myThings/thingOne",
    properties: PublishProperties | None = None,
    services: Services | None = None,
) -> Any:
    at = 1_481_825_251_155_999_999
    message = Message("id-1", client_id, "", topic, PAYLOAD, 1, False, at, properties=properties)
    context = Context(message, services=services)
    return compile_statement(parse(f"SELECT VALUE {expression} FROM '#'"))(context)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("abs('-5.5')", 5.5),
        ("abs(TRUE)", UNDEFINED),
        ("abs()", UNDEFINED),  # a wrong number of arguments is no error
        ("abs(1, 2)", UNDEFINED),
        ("ceil(-1.2)", -1),
        ("floor(-1.2)", -2),
        ("floor('1.9')", 1),
        ("floor(1E40)", 1e40),
        ("round(-1.5)", -2),  # guide ambiguous: the text says half up
        ("round(2.5)", 3),
        ("trunc(-2.888, 1)", -2.8),
        ("trunc(5, 2)", 5),
        ("trunc(1234567890123456789012345.678, 1)", Decimal("1234567890123456789012345.6")),
        ("mod(-8, 3)", -2),
        ("mod(8.5, 3)", 2.5),
        ("mod(8, 0)", UNDEFINED),
        ("sign(-0.5)", -1),
        ("sign('5')", 1),
        ("sign('x')", UNDEFINED),
        ("acos(2)", UNDEFINED),
        ("ln(0)", UNDEFINED),
        ("log(100)", 2.0),
        ("exp(1)", math.e),
        ("exp(1000)", UNDEFINED),
        ("power(-8, 0.5)", UNDEFINED),
        ("sqrt(-1)", UNDEFINED),
        ("sqrt(1E900)", UNDEFINED),
        ("tan(3)", -0.1425465430742778),
        ("bitand(13, '5.9')", 5),
        ("bitnot(13)", -14),  # guide ambiguous: it prints 2
        ("ceil(7)", 7),
        ("sqrt('x')", UNDEFINED),
        ("power(2, missing)", UNDEFINED),
        ("bitor(1, 'x')", UNDEFINED),
        ("trunc('x', 1)", UNDEFINED),
        ("trunc(1.5, '1')", UNDEFINED),
    ],
)
def test_numbers(expression: str, expected: Any) -> None:
    assert value(expression) == expected
    assert type(value(expression)) is type(expected)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("upper(['hello'])", '["HELLO"]'),
        ("lower(NULL)", UNDEFINED),
        ("length(l)", 5),
        ("numbytes('€')", 3),
        ("lpad('hello', 2)", "  hello"),
        ("rpad('x', -1)", "x"),
        ("length(lpad('x', 5000))", 1001),
        ("trim(' hi ')", "hi"),
        ("rtrim(' h i ')", " h i"),
        ("indexof('abcd', 'x')", -1),
        ("startswith(123, 12)", True),
        ("endswith('cat', 'at')", True),
        ("endswith('cat', missing)", UNDEFINED),
        ("substring('012345', -50, 50)", "012345"),
        ("substring(123, 2)", "3"),
        ("substring('abc', 'x')", UNDEFINED),
        ("replace('abcdabcd', 'b', 'x')", "axcdaxcd"),
        ("chr(65.9)", "A"),
        ("chr(200)", UNDEFINED),
        ("regexp_matches('aaaa', 'b')", False),
        ("regexp_matches('a', '(')", UNDEFINED),
        ("regexp_matches('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab', '(a+)+$')", False),
        ("regexp_substr('foobar', '(?<=foo)bar')", "bar"),
        ("regexp_matches('aaaaaaaaaaaaaaaaaaaaaaaaaaaaab', '(?=a)(a|a)*\\1$')", UNDEFINED),
        ("regexp_replace('abcd', 'b(.*)d', '$1')", "ac"),
        ("regexp_replace('abcd', 'b(?<x>.*)d', '${x}\\$')", "ac$"),
        ("regexp_replace('abcd', 'b', '$7')", UNDEFINED),
        ("regexp_replace('abcd', 'b', '$')", UNDEFINED),
        ("regexp_replace('aXbX', '(?<=a)X', '-')", "a-bX"),
        ("regexp_replace('ab', '(?=a)(', 'x')", UNDEFINED),
        ("regexp_substr('foo', '(')", UNDEFINED),
        ("regexp_substr('abc', 'x')", UNDEFINED),
        ("concat(1)", "1"),  # guide ambiguous: "returned unmodified" beside this example
        ("concat(1, 'hello')", "1hello"),
        ("concat('a', 'proto')", "aproto"),  # only decode() and encode() mean the format
        ("concat([1, 2], 'x', [3])", [1, 2, "x", 3]),
        ("concat(1, 2)", UNDEFINED),
        ("lpad(1, 2)", "  1"),
        ("rpad('x', 'y')", UNDEFINED),
        ("length(rpad(lpad('x', 200000), 1000))", 2001),  # 1,000 spaces at a time
        ("regexp_replace('abcd', '(', 'x')", UNDEFINED),
        ("regexp_matches('aaaa', '(?=a)(a{1000}){1000}')", UNDEFINED),  # a million copies: too much to try
        ("regexp_matches('aaaa', '(?=a)(a{2}){2}')", True),
    ],
)
def test_text(expression: str, expected: Any) -> None:
    assert value(expression) == expected


@pytest.mark.parametrize(
    ("text", "pattern", "found", "rest"),
    [
        ("a" * 10_000, "(?<=a)a$", "a", "a" * 9_999),
        ("a" * 10_001, "(?<=a)a$", UNDEFINED, UNDEFINED),  # backtracking takes short texts only
        ("a" * 250_000, r"\p{L}+$", UNDEFINED, UNDEFINED),  # a large program on a long text
        ("x" + "a" * 512, "a" * 512, "a" * 512, "x"),
        ("a", f"{'a' * 511}|a", UNDEFINED, UNDEFINED),
    ],
    ids=["short", "too long to backtrack", "too many steps", "long pattern", "too long a pattern"],
)
def test_texts_and_patterns_beyond_the_bounds_are_undefined(
    text: str, pattern: str, found: Any, rest: Any
) -> None:
    assert patterns.substring(text, pattern) == found
    assert patterns.replace(text, pattern, "") == rest


def test_a_replacement_is_bounded_in_matches_and_in_length() -> None:
    assert patterns.replace("ab" * 2_000, "a", "") == "b" * 2_000
    assert patterns.replace("ab" * 2_001, "a", "") is UNDEFINED
    assert patterns.replace("ab", "a", "x" * (MAX_TEXT - 1)) == "x" * (MAX_TEXT - 1) + "b"
    assert patterns.replace("ab", "a", "x" * (MAX_TEXT + 1)) is UNDEFINED


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("get(['a', 'b', 'c'], 1)", "b"),
        ("get('abc', 1)", "b"),  # guide ambiguous: it prints "a"
        ("get({'a': 'b'}, 'a')", "b"),
        ("get(o, 'my-key')", 1),
        ("get(*, 's')", "hello"),
        ("get(l, 2)", UNDEFINED),
        ("get(l, -1)", UNDEFINED),
        ("get(o, 1)", UNDEFINED),
        ("get_or_default(missing, 7)", 7),
        ("nanvl(n, 3)", 3),
        ("isNull(n)", True),
        ("isNull(missing)", False),
        ("transform('other', o, [o])", UNDEFINED),
        ("transform('enrichArray', o, [1])", UNDEFINED),
        ("decode(encode(s, 'base64'), 'base64')", "hello"),
        ("decode('%', 'base64')", None),
        ("decode('/w==', 'base64')", None),
        ("encode(s, 'rot13')", UNDEFINED),
        ("encode(n, 'base64')", UNDEFINED),
        ("decode(s, 'rot13')", UNDEFINED),
        ("decode(7, 'base64')", UNDEFINED),
        ("get(7, 0)", UNDEFINED),
        ("{'a': missing, 'b': 1}", {"b": 1}),
    ],
)
def test_objects(expression: str, expected: Any) -> None:
    assert value(expression) == expected


@pytest.mark.parametrize("name", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
def test_hashes(name: str) -> None:
    assert value(f"{name}('hello')") == hashlib.new(name, b"hello").hexdigest()
    assert value(f"{name}(*)") == hashlib.new(name, PAYLOAD).hexdigest()
    assert value(f"{name}(NULL)") is UNDEFINED


def test_md2_against_rfc_1319() -> None:
    assert md2(b"") == "8350e5a3e24c153df2275c9f80692773"
    assert md2(b"message digest") == "ab4f496bfb2a530b219ff33031fe06b0"
    assert md2(b"a" * 16) == value("md2('aaaaaaaaaaaaaaaa')")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("parse_time('yyyy-MM-dd HH:mm:ss.SSS', 1481825251155)", "2016-12-15 18:07:31.155"),
        ("parse_time('E, d MMM yy h:mm a Z', 0, 'America/New_York')", "Wed, 31 Dec 69 7:00 PM -0500"),
        ("parse_time('EEEE MMMM D', 0)", "Thursday January 1"),
        ("parse_time('yyyy', 0, 'Nowhere/Land')", UNDEFINED),
        ("parse_time('yyyy', 0, 5)", UNDEFINED),
        ("parse_time('yyyy', 'x')", UNDEFINED),
        ("parse_time(NULL, 0)", UNDEFINED),
        ("parse_time('yyyy', 1E30)", UNDEFINED),
        ("parse_time('HH:mm', 0, '-0530')", "18:30"),
        ("parse_time('HH:mm', 0, 'PST')", "16:00"),
        ("parse_time('HH:mm', 0, '+24:00')", UNDEFINED),
        ("parse_time('k K xxxx-ww-e G', 0)", "24 0 1970-01-4 AD"),
        ("parse_time('MMM S SSSS', 1234)", "Jan 2 2340"),
        ("parse_time(\"d 'o''clock' ''\", 0)", "1 o'clock '"),
        ("parse_time('Q', 0)", UNDEFINED),
        ("time_to_epoch('2020-04-03 09:45:18 UTC+01:00', 'yyyy-MM-dd HH:mm:ss VV')", 1585903518000),
        ("time_to_epoch('18 December 2015', 'dd MMMM yyyy')", 1450396800000),
        (
            "time_to_epoch('2007-12-03 10:15:30.592 America/Los_Angeles', 'yyyy-MM-dd HH:mm:ss.SSS z')",
            1196705730592,
        ),
        ("time_to_epoch('2020-01-01T00:00:00Z', \"yyyy-MM-dd'T'HH:mm:ssX\")", 1577836800000),
        ("time_to_epoch('30 February 2015', 'dd MMMM yyyy')", UNDEFINED),
        ("time_to_epoch('yesterday', 'dd MMMM yyyy')", UNDEFINED),
        ("time_to_epoch('1', 'QQ')", UNDEFINED),
        ("time_to_epoch(7, 'yyyy')", UNDEFINED),
        ("time_to_epoch('2020', 2020)", UNDEFINED),
        ("time_to_epoch('sep 2020', 'MMM yyyy')", 1598918400000),
        ("time_to_epoch('2020 o''clock', \"yyyy 'o''clock'\")", 1577836800000),
        ('time_to_epoch("20\'02", "yy\'\'MM")', 1580515200000),
        ("time_to_epoch('2020 2020', 'yyyy yyyy')", UNDEFINED),
        ("time_to_epoch('1 Foo 2020', 'd MMM yyyy')", UNDEFINED),
        ("time_to_epoch('2020 Nowhere/Land', 'yyyy VV')", UNDEFINED),
        ("time_to_epoch('03.04.20 12:30 AM', 'dd.MM.yy hh:mm a')", 1585873800000),
        ("time_to_epoch('03.04.20 12:30 PM', 'dd.MM.yy hh:mm a')", 1585917000000),
        ("parse_time('HH:mm ZZ', 0, 'Asia/Kolkata')", "05:30 +05:30"),
        ("parse_time('HH:mm ZZZ', 0, 'Asia/Kolkata')", "05:30 Asia/Kolkata"),
        ("timestamp()", 1481825251155),
    ],
)
def test_times(expression: str, expected: Any) -> None:
    assert value(expression) == expected


def test_the_message_itself() -> None:
    assert value("topic()") == "things/myThings/thingOne"
    assert value("topic(3)") == "thingOne"
    assert value("topic(0)") is UNDEFINED
    assert value("topic(4)") is UNDEFINED
    assert value("topic(1)", topic="$aws/rules/r/Buildings/B5") == "Buildings"
    assert value("clientid()", client_id="") == "n/a"
    assert value("principal()") is UNDEFINED
    assert value("accountid()") == "000000000000"
    assert str(uuid.UUID(value("newuuid()"))).count("-") == 4
    assert 0 <= value("rand()") < 1


PROPERTIES = PublishProperties(
    payload_format=1,
    content_type="application/json",
    response_topic="answers/1",
    correlation_data=b"7",
    user=(("site", "a"), ("site", "b"), ("kind", "x")),
)


@pytest.mark.parametrize(
    ("expression", "with_properties", "without"),
    [
        ("get_mqtt_property('format_indicator')", "UTF8_DATA", "UNSPECIFIED_BYTES"),
        ("get_mqtt_property('content_type')", "application/json", UNDEFINED),
        ("get_mqtt_property('response_topic')", "answers/1", UNDEFINED),
        ("get_mqtt_property('correlation_data')", "Nw==", UNDEFINED),
        ("get_mqtt_property('topic_alias')", UNDEFINED, UNDEFINED),
        ("get_user_properties('site')", ["a", "b"], UNDEFINED),
        ("get_user_properties('colour')", UNDEFINED, UNDEFINED),
        ("get_user_properties()", [{"site": "a"}, {"site": "b"}, {"kind": "x"}], UNDEFINED),
    ],
)
def test_properties_of_mqtt_5(expression: str, with_properties: Any, without: Any) -> None:
    assert value(expression, properties=PROPERTIES) == with_properties
    assert value(expression) == without


def test_what_came_from_no_client_has_no_format() -> None:
    assert value("get_mqtt_property('format_indicator')", client_id="", properties=PROPERTIES) is UNDEFINED


class Answering:
    """Services that answer with what they were asked."""

    def thing_shadow(self, thing: str, name: str) -> Value:
        return [thing, name]

    def item(self, table: str, key: Mapping[str, Value]) -> Value:
        return {"table": table, "key": dict(key), "text": "x" * (9_000 if table == "large" else 1)}

    def invoke(self, function: str, document: Value) -> Value:
        return [function, document]

    def registry(self, api: str, thing: str) -> Value:
        return [api, thing]

    def secret(self, secret: str) -> Value:
        return {"bytes": b"7", "object": '{"a": 1}', "text": "word"}.get(secret, UNDEFINED)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("get_thing_shadow('t', 'role')", ["t", ""]),
        ("get_thing_shadow('t', 'name', 'role')", ["t", "name"]),
        ("get_thing_shadow(7, 'role')", UNDEFINED),
        ("get_thing_shadow('t', 7, 'role')", UNDEFINED),
        ("get_dynamodb('t', 'k', 1, 'role').key", {"k": 1}),
        ("get_dynamodb('t', 'k', 1, 's', 'two', 'role').key", {"k": 1, "s": "two"}),
        ("get_dynamodb('t', 'k', 1, 's', 'role')", UNDEFINED),
        ("get_dynamodb(1, 'k', 1, 'role')", UNDEFINED),
        ("get_dynamodb('t', 1, 1, 'role')", UNDEFINED),
        ("get_dynamodb('t', 'k', [1], 'role')", UNDEFINED),
        ("get_dynamodb('large', 'k', 1, 'role')", UNDEFINED),
        ("aws_lambda('f', {'n': 1})", ["f", {"n": 1}]),
        ("aws_lambda('f', missing)", UNDEFINED),
        ("aws_lambda(7, 1)", UNDEFINED),
        ("get_registry_data('DescribeThing', 't', 'role')", ["DescribeThing", "t"]),
        ("get_registry_data('DeleteThing', 't', 'role')", UNDEFINED),
        ("get_registry_data('DescribeThing', 7, 'role')", UNDEFINED),
        ("get_secret('bytes', 'SecretBinary', 'role')", "Nw=="),
        ("get_secret('bytes', 'SecretString', 'role')", UNDEFINED),
        ("get_secret('object', 'SecretString', 'role')", {"a": 1}),
        ("get_secret('object', 'SecretString', 'a', 'role')", 1),
        ("get_secret('object', 'SecretString', 'b', 'role')", UNDEFINED),
        ("get_secret('object', 'SecretBinary', 'role')", UNDEFINED),
        ("get_secret('text', 'SecretString', 'role')", "word"),
        ("get_secret('text', 'SecretString', 'a', 'role')", UNDEFINED),
        ("get_secret('none', 'SecretString', 'role')", UNDEFINED),
        ("get_secret(7, 'SecretString', 'role')", UNDEFINED),
    ],
)
def test_what_is_asked_of_a_service(expression: str, expected: Any) -> None:
    assert value(expression, services=Answering()) == expected
    assert value(expression) is UNDEFINED  # nobody to ask


def test_names_in_any_case() -> None:
    assert value("Ltrim(' h i ')") == "h i "
    assert value("NANVL(8, 3)") == 8


def test_what_is_not_available_says_why() -> None:
    assert not UNAVAILABLE.keys() & FUNCTIONS.keys()
    for name, reason in UNAVAILABLE.items():
        with pytest.raises(BadRule) as caught:
            value(f"{name}('x')")
        assert reason in caught.value.fix
