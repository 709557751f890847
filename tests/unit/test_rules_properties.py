"""Whatever anybody writes or sends: a statement is either compiled or refused as BadRule, and evaluation never raises."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rules_statements import COMMON, documents, expressions, message, payloads

from contracts.errors import BadRule
from pipeline.rules.context import Context
from pipeline.rules.evaluator import NOT_SELECTED, VERSIONS, compile_statement
from pipeline.rules.parser import parse
from pipeline.rules.payload import decode, encode
from pipeline.rules.substitution import Template
from pipeline.rules.values import UNDEFINED


def run(sql: str, payload: bytes, version: str = "2016-03-23") -> Any:
    return compile_statement(parse(sql), version)(Context(message(payload)))


def _complete(error: BadRule, what: str = "") -> None:
    assert what in error.what
    assert error.line >= 1
    assert error.column >= 1
    assert error.fix


@COMMON
@given(expressions, expressions, payloads, st.sampled_from(VERSIONS))
def test_evaluation_never_raises_and_its_result_is_json(
    item: str, where: str, payload: bytes, version: str
) -> None:
    try:
        program = compile_statement(parse(f"SELECT *, {item} AS x.y FROM 'a/#' WHERE {where}"), version)
    except BadRule:
        return
    result = program(Context(message(payload)))
    if result is not NOT_SELECTED:
        json.loads(encode(result))


@COMMON
@given(expressions, payloads)
def test_a_single_value_is_bytes_json_or_nothing(item: str, payload: bytes) -> None:
    try:
        result = run(f"SELECT VALUE {item} FROM 'a/#'", payload)
    except BadRule:
        return
    body = encode(result)
    if type(result) is not bytes and result is not UNDEFINED:
        json.loads(body)


@COMMON
@given(st.text(max_size=60))
@example("SELECT a FROM 'a' WHERE \x00")
@example("'")
def test_any_text_is_a_statement_or_a_bad_rule(text: str) -> None:
    try:
        parse(text)
    except BadRule as error:
        _complete(error)


@COMMON
@given(
    st.lists(
        st.sampled_from(
            [
                "SELECT",
                "VALUE",
                "FROM",
                "WHERE",
                "AS",
                "a",
                "'x'",
                ",",
                ".",
                "(",
                ")",
                "[",
                "]",
                "{",
                "}",
                ":",
                "*",
                "-",
                "+",
                "=",
                "@v",
                "SET",
                "1",
                "CASE",
                "END",
                "WHEN",
                "THEN",
                "NOT",
                "AND",
                "f",
            ]
        ),
        max_size=14,
    )
)
def test_any_sequence_of_words_is_compiled_or_refused(words: list[str]) -> None:
    try:
        compile_statement(parse(" ".join(words)))
    except BadRule as error:
        _complete(error)


@COMMON
@given(st.text("${}'\"ab(). ", max_size=30), payloads)
def test_a_template_renders_or_is_refused(text: str, payload: bytes) -> None:
    try:
        template = Template(text)
    except BadRule:
        return
    assert isinstance(template.render(Context(message(payload))), str)


def _exactly(text: bytes) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@COMMON
@given(documents)
def test_a_payload_survives_unchanged_in_value(document: Any) -> None:
    """`SELECT *`: numbers keep their value to the last digit."""
    payload = json.dumps(document).encode()
    assert _exactly(encode(decode(payload))) == _exactly(payload)


@pytest.mark.parametrize(
    "payload", [b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"[" * 100_000]
)
def test_a_deep_payload_is_not_json_and_answers_quickly(payload: bytes) -> None:
    started = time.process_time()
    assert run("SELECT * FROM 'a/#'", payload) == payload
    assert run("SELECT a.a AS x, encode(*, 'base64') AS raw FROM 'a/#'", payload).keys() == {"raw"}
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 5_000 + "a" + ")" * 5_000,
        "abs(" * 500 + "a" + ")" * 500,
        "NOT " * 500 + "a",
        "[" * 500 + "]" * 500,
        " + ".join(["a"] * 900),
        " + ".join(["a"] * 20_000),
        ".".join(["a"] * 20_000),
        "-(" * 300 + "1" + ")" * 300,
    ],
    ids=["parentheses", "calls", "not", "arrays", "sum", "long sum", "path", "minus"],
)
def test_a_deep_or_long_statement_is_compiled_or_refused(expression: str) -> None:
    try:
        result = run(f"SELECT {expression} AS x FROM 'a/#'", b'{"a": 1}')
    except BadRule as error:
        _complete(error)
        assert "deep" in error.what or "words and signs" in error.what
    else:
        assert isinstance(result, dict)


def test_variables_cannot_blow_a_small_statement_up() -> None:
    doubling = ", ".join(f"@v{n + 1} = [@v{n}, @v{n}]" for n in range(40))
    with pytest.raises(BadRule, match="too large"):
        run(f"SET @v0 = 1, {doubling} SELECT @v40 AS x FROM 'a/#'", b"{}")


@pytest.mark.parametrize(
    "call",
    [
        "lpad('{big}', 1000) + '{big}'",
        "replace('aaaa', '', '{big}')",
        "concat('{big}', '{big}')",
    ],
)
def test_text_cannot_grow_beyond_its_bound(call: str) -> None:
    expression = call.replace("{big}", "x" * 100_000)
    assert run(f"SELECT VALUE isUndefined({expression}) FROM 'a/#'", b"{}") is True
