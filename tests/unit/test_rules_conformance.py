"""Files of examples (`rules test`): what fails shows both sides, and a file of another form is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError
from pipeline.rules.conformance import run_file


def run(tmp_path: Path, content: Any) -> list[Any]:
    file = tmp_path / "examples.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return list(run_file(file))


@pytest.mark.parametrize(
    ("case", "expected", "seen"),
    [
        ({"sql": "SELECT a FROM 'a'", "topic": "b", "expected": {"a": 1}}, '{"a":1}', "no action"),
        (
            {"sql": "SELECT a FROM 'a'", "topic": "a", "payload": {"a": 1}, "no_action": True},
            "no action",
            '{"a":1}',
        ),
        (
            {"sql": "SELECT uper(a) FROM 'a'", "topic": "a", "no_action": True},
            "no action",
            "refused: unknown",
        ),
        (
            {"sql": "SELECT VALUE * FROM 'a'", "topic": "a", "payload_base64": "/w==", "expected": 1},
            "1",
            r"b'\xff'",
        ),
        (
            {"sql": "SELECT a FROM 'a'", "topic": "a", "payload": {"a": [1]}, "expected": {"a": [1, 2]}},
            "2]",
            "[1]",
        ),
        (
            {"sql": "SELECT a FROM 'a'", "topic": "a", "payload": {"a": "1"}, "expected": {"a": 1}},
            ":1",
            '"1"',
        ),
        ({"sql": "SELECT a FROM 'a'", "topic": "a", "payload": {"a": 1}, "expected": {"b": 1}}, "b", "a"),
    ],
)
def test_an_example_that_fails_shows_both_sides(tmp_path: Path, case: Any, expected: str, seen: str) -> None:
    (outcome,) = run(tmp_path, {"statements": [case]})
    assert not outcome.passed
    assert outcome.case == outcome.what == case["sql"]
    assert expected in outcome.expected
    assert seen in outcome.seen


def test_examples_that_pass_say_client_version_and_the_last_bit(tmp_path: Path) -> None:
    statement = {"sql": "SELECT clientid() AS c, b / 2 AS h FROM 'a'", "topic": "a", "client_id": "c-1"}
    old = {**statement, "version": "2015-10-08", "payload": {"b": 3.0}, "expected": {"c": "c-1", "h": 1.5}}
    functions = [
        {"expr": "sin(1)", "expected": 0.8414709848078966},
        {"expr": "['a', {'b': [1]}]", "expected": ["a", {"b": [1]}]},
        {"expr": "upper(NULL)", "undefined": True},
    ]
    outcomes = run(tmp_path, {"statements": [old], "functions": functions})
    assert [one.passed for one in outcomes] == [True] * 4


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "cannot be read"),
        ([], "no examples"),
        ({"statements": {}}, "no examples"),
        ({"functions": 7}, "no examples"),
        ({"statements": [{"sql": "SELECT a FROM 'a'", "expected": 1}]}, "without topic"),
        ({"functions": ["1 + 1"]}, "without expr"),
        ({"functions": [{"id": "f", "expr": "1"}]}, "example f expects nothing"),
        ({"statements": [{"sql": "s", "topic": "a", "no_action": True, "payload_base64": "#"}]}, "no base64"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        run(tmp_path, content)
    assert caught.value.fix
