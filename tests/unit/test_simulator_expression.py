"""Expressions: arithmetic, names, what they cannot do, and where an error stands."""

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.errors import BadScenario
from contracts.messages import SECOND
from simulator.device import Device
from simulator.expression import MAX_LENGTH, MAX_PARTS, compiled
from simulator.payloads import Field
from simulator.scenario import load
from simulator.schedule import Every


def value(formula: Any, now: int = 0, seed: int = 1) -> Any:
    return Field.model_validate({"expression": formula}).generator(random.Random(seed))(now)


def device(device_id: str = "meter-0007", **payload: Any) -> Device:
    rng = random.Random(3)
    fields = {name: Field.model_validate(spec) for name, spec in payload.items()}
    return Device(
        device_id=device_id,
        device_type="meter",
        topic="t",
        qos=1,
        every=Every.model_validate("1s"),
        listens=(),
        rng=rng,
        generators={name: field.generator(rng) for name, field in fields.items()},
    )


def body(one: Device, now: int = 0) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(one.reading(now).payload)
    return read


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("1 + 2 * 3 - 4 / 8", 6.5),
        ("-(2 ** 3) % 5 // 1", 2.0),
        ("+7", 7.0),
        (5, 5.0),
        ("  max(1, min(5, 3)) \n + abs(-2)  ", 5.0),
        ("round(2.71828, 2) + sqrt(16)", 6.72),
        ("round(1234, -2)", 1200.0),
        ("sin(pi / 2) + cos(0)", 2.0),
        ("device * 10", 10.0),
        ("1 / 3", 0.333333),
    ],
)
def test_arithmetic(formula: Any, expected: float) -> None:
    assert value(formula) == expected


@pytest.mark.parametrize(
    "formula",
    ["1 / 0", "1 % 0", "sqrt(-1)", "(-8) ** 0.5", "9 ** 9 ** 9", "1e308 * 10", "sin(1e308 * 10)", "0 ** -1"],
)
def test_what_is_undefined_is_null(formula: str) -> None:
    assert value(formula) is None


def test_time_is_that_of_the_day_and_age_that_of_the_device() -> None:
    generate = Field.model_validate({"expression": "t * 1000 + age"}).generator(random.Random(1))
    day = 86_400 * SECOND
    assert [generate(now) for now in (3 * day + 5 * SECOND, 3 * day + 8 * SECOND, 4 * day)] == [
        5000.0,
        8003.0,
        86_395.0,
    ]


def test_noise_is_normal_and_seeded() -> None:
    generate = Field.model_validate({"expression": "noise()"}).generator(random.Random(4))
    values = [generate(0) for _ in range(5000)]
    assert sum(values) / len(values) == pytest.approx(0, abs=0.06)
    assert math.sqrt(sum(one * one for one in values) / len(values)) == pytest.approx(1, abs=0.06)
    assert value("noise()", seed=4) == values[0] != value("noise()", seed=5)


def test_an_expression_sees_the_number_of_its_device_and_the_fields_before_it() -> None:
    one = device(
        a={"series": [1, 2, 3]},
        b={"expression": "a * 10 + device"},
        c={"expression": "b + a"},
        d={"const": 1},
    )
    readings = [body(one, now) for now in (0, 0, 5)]
    assert [(read["a"], read["b"], read["c"]) for read in readings] == [(1, 17, 18), (2, 27, 29), (3, 37, 40)]
    assert body(device("gateway", b={"expression": "device"}))["b"] == 1


def test_devices_do_not_see_each_other() -> None:
    spec = {"a": {"series": [1, 2]}, "b": {"expression": "a"}}
    first, second = device("m-1", **spec), device("m-2", **spec)
    body(first)
    assert (body(second)["b"], body(first)["b"]) == (1, 2)


def test_a_gap_in_a_field_is_a_gap_in_what_is_made_of_it() -> None:
    one = device(a={"series": [1, None]}, b={"expression": "a + 1"}, c={"expression": "b * 2"})
    assert [(body(one)["b"], body(one)["c"])] == [(2.0, None)]


@pytest.mark.parametrize(
    ("formula", "column", "told"),
    [
        ("1 + __import__('os')", 5, "only these can be called"),
        ("t.real", 1, "only numbers"),
        ("1 + [1][0]", 5, "only numbers"),
        ("2 * (t if t else 1)", 6, "only numbers"),
        ("1 + 'a'", 5, "'a' is no number"),
        ("1 + True", 5, "True is no number"),
        ("3j", 1, "no number"),
        ("1 < 2", 1, "only numbers"),
        ("1 << 2", 1, "only numbers"),
        ("~1", 1, "only numbers"),
        ("(lambda: 1)()", 1, "only these can be called"),
        ("(x := 1)", 2, "only numbers"),
        ("1, 2", 1, "only numbers"),
        ("exp(1)", 1, "only these can be called"),
        ("min(1)", 1, "min takes 2 to 20 arguments"),
        ("sin(1, 2)", 1, "sin takes 1 arguments"),
        ("round(1, ndigits=2)", 1, "without keywords"),
        ("max(*t)", 1, "max takes"),
        ("1 + sin", 5, "sin is a function"),
        ("2 * noise", 5, "noise is a function"),
        ("noise(2)", 1, "noise() takes nothing"),
        ("1 +* 2", 4, "invalid syntax"),
        ("1if 2 else 3", 1, "decimal literal"),
        ("9" * 400, 1, "too large"),
        ("1e999", 1, "too large"),
    ],
)
def test_what_is_no_arithmetic_is_refused_with_its_column(formula: str, column: int, told: str) -> None:
    with pytest.raises(ValueError, match=f"^column {column}: .*{re.escape(told)}"):
        compiled(formula)


@pytest.mark.parametrize(
    ("formula", "told"),
    [
        ("1+" * (MAX_LENGTH // 2) + "1", f"at most {MAX_LENGTH} characters"),
        ("1+" * (MAX_PARTS // 2) + "1", f"at most {MAX_PARTS} parts"),
        ("(" * 300 + "1" + ")" * 300, "nested"),
        ("-" * 900 + "1", f"at most {MAX_PARTS} parts"),
        (" ", "empty"),
        ("\x00", "^column [0-9]+: .*null bytes"),
    ],
)
def test_what_is_too_much_is_refused(formula: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        compiled(formula)


WORDS = st.sampled_from(
    ["t", "age", "device", "pi", "x", "1", "0", "2.5", "1e300", "(", ")", ",", "+", "-", "*", "**", "/", "//", "%",
     "sin(", "sqrt(", "round(", "min(", "max(", "abs(", "noise()", "lambda", ".", "[", "'a'", ":=", "#", "\\"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=25), st.integers(0, 10**18))
def test_any_text_is_refused_or_gives_a_number_or_null(words: list[str], now: int) -> None:
    try:
        seen = value(" ".join(words), now)
    except ValidationError:
        return
    assert seen is None or (isinstance(seen, float) and math.isfinite(seen))


def in_a_file(folder: Path, payload: str) -> Path:
    file = folder / "x.yaml"
    file.write_text(
        "scenario: v1\nname: a\nduration: 30s\nfleet:\n"
        f"  - group: m\n    count: 1\n    topic: t\n    every: 1s\n    payload:\n{payload}"
    )
    return file


@pytest.mark.parametrize(
    ("payload", "line", "told", "fix"),
    [
        ("      a: {const: 1}\n      b: {expression: a + aa}\n", 11, "column 5: there is no field 'aa'", "did you mean 'a'?"),
        ("      b: {expression: a}\n      a: {const: 1}\n", 10, "column 1: the field 'a' does not stand before it", "none"),
        ("      a: {const: x}\n      b: {expression: 2 * a}\n", 11, "the field 'a' is no number", "none"),
        ("      t: {const: 1}\n      b: {expression: 2 * t}\n", 11, "column 5: 't' is a field and a word", "rename"),
        ("      b: {expression: b}\n", 10, "the field 'b' does not stand before it", "none"),
        ("      b:\n        expression: 1 + foo.bar\n", 11, "column 5: only numbers", "'expression'"),
        ("      b:\n        expression: {formula: '('}\n", 11, "column 1: '(' was never closed", "'formula'"),
        ("      b: {expression: ''}\n", 10, "expression is empty", "b"),
        ("      b: {expression: true}\n", 10, "valid dictionary", "expression"),
    ],
)  # fmt: skip
def test_an_error_has_file_line_and_column(
    tmp_path: Path, payload: str, line: int, told: str, fix: str
) -> None:
    file = in_a_file(tmp_path, payload)
    with pytest.raises(BadScenario) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert told in str(caught.value)
    assert fix in caught.value.fix


def test_a_field_may_have_the_name_of_a_word_that_no_expression_uses(tmp_path: Path) -> None:
    payload = "      t: {const: 1}\n      sin: {const: 2}\n      b: {expression: sin(age)}\n"
    assert load(in_a_file(tmp_path, payload)).fleet[0].payload["b"].expression is not None
