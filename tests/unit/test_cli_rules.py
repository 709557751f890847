"""`thingstorm rules`: eval, test, explain, lint, and the page that is made from the code."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.errors import BadRule, ConfigError, ExpectationFailed
from pipeline.rules.conformance import run_file
from pipeline.rules.linting import lint
from pipeline.rules.loading import DEFAULT_RULES
from thingstorm.cli import app
from thingstorm.rules_reference import page

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "tests" / "conformance" / "iot_sql_guide.json"


def rules(*arguments: str, given: bytes | None = None) -> str:
    done = CliRunner().invoke(app, ["rules", *arguments], input=given)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("outcome", list(run_file(GUIDE)), ids=lambda one: one.case)
def test_the_examples_that_the_guide_prints(outcome: Any) -> None:
    assert outcome.passed, f"{outcome.what}: {outcome.seen}, the guide has {outcome.expected}"


def test_the_page_is_what_the_code_says() -> None:
    """Made again with `thingstorm rules reference tests/conformance/iot_sql_guide.json > docs/iot-sql.md`."""
    assert (ROOT / "docs" / "iot-sql.md").read_text() == page([GUIDE])


@pytest.mark.parametrize(
    ("sql", "flags", "result"),
    [
        ("SELECT topic(2) AS d FROM 'dt/+' WHERE t > 50", ["--payload", '{"t": 51}'], '{"d":"any"}'),
        ("SELECT VALUE topic() FROM 'dt/#'", ["--topic", "dt/a/b"], '"dt/a/b"'),
        ("SELECT VALUE clientid() FROM 'a'", ["--client-id", ""], '"n/a"'),
        ("SELECT VALUE topic()", [], '"topic"'),  # without FROM: Basic Ingest
        ("SELECT VALUE traceid() FROM 'a'", ["--client-id", ""], ""),
    ],
)
def test_eval(sql: str, flags: list[str], result: str) -> None:
    assert rules("eval", sql, *flags).strip("\n") == result


def test_eval_reads_payloads_from_files_and_from_its_input(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"\xff\x00")
    sql = "SELECT encode(*, 'base64') AS b FROM 'a'"
    assert json.loads(rules("eval", sql, "--payload", f"@{tmp_path / 'p'}")) == {"b": "/wA="}
    assert json.loads(rules("eval", "SELECT a FROM 'a'", "--payload", "-", given=b'{"a": 1}')) == {"a": 1}
    with pytest.raises(ConfigError, match="cannot be read"):
        rules("eval", sql, "--payload", "@nowhere")


def test_eval_tells_what_does_not_fire_and_what_is_wrong() -> None:
    with pytest.raises(ExpectationFailed, match="does not fire"):
        rules("eval", "SELECT a FROM 'a' WHERE a > 1")
    with pytest.raises(BadRule, match="line 1, column 8"):
        rules("eval", "SELECT uper(a) FROM 'a'")
    with pytest.raises(BadRule, match="protobuf is not available"):
        rules("eval", "SELECT decode(a, 'proto', 'b', 'f.desc', 'f', 'M') FROM 'a'")


def test_test_shows_what_fails(tmp_path: Path) -> None:
    file = tmp_path / "examples.json"
    file.write_text(json.dumps({"functions": [{"id": "one", "expr": "1 + 1", "expected": 2}]}))
    assert "1 of 1 examples pass" in rules("test", str(file))
    file.write_text(json.dumps({"functions": [{"id": "one", "expr": "1 + 1", "expected": 3}]}))
    done = CliRunner().invoke(app, ["rules", "test", str(file)])
    assert isinstance(done.exception, ExpectationFailed)
    assert "one" in done.output
    assert "0 of 1 examples pass" in done.output
    done = CliRunner().invoke(app, ["rules", "test", str(file), "--format", "json"])
    (told,) = json.loads(done.output)
    assert (told["passed"], told["expected"], told["seen"]) == (False, '{"value":3}', '{"value":2}')


def test_explain_names_the_clause_and_the_value_that_decided(tmp_path: Path) -> None:
    told = rules(
        "explain",
        "a/b",
        "--sql",
        "SELECT x FROM 'a/+' WHERE x > 1 AND y = 2",
        "--payload",
        '{"x": 2, "y": 3}',
    )
    assert "does not fire, decided by WHERE" in told
    assert "y = 2 -> false   <- decides" in told
    assert "decided by FROM" in rules("explain", "b", "--sql", "SELECT x FROM 'a'")
    file = tmp_path / "rules.yaml"
    file.write_text("rules: {one: {sql: \"SELECT x FROM 'a'\"}, two: {sql: \"SELECT x FROM 'b'\"}}")
    answer = rules(
        "explain", "b", "--rules", str(file), "--rule", "two", "--format", "json", "--payload", '{"x": 5}'
    )
    (one,) = json.loads(answer)
    assert (one["rule"], one["fires"], one["steps"][0]["value"]) == ("two", True, 5)
    with pytest.raises(ConfigError, match="there is no rule 'three'"):
        rules("explain", "b", "--rules", str(file), "--rule", "three")


ROLE = {"roleArn": "arn:aws:iam::000000000000:role/r"}
SQS = {"sqs": {"queueUrl": "https://sqs/q", **ROLE}}
RIGHT = {
    "sql": "SELECT * FROM 'dt/#'",
    "awsIotSqlVersion": "2016-03-23",
    "actions": [SQS],
    "errorAction": SQS,
}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"awsIotSqlVersion": None}, [("differs", "2015-10-08 by AWS's API")]),
        ({"awsIotSqlVersion": "beta"}, [("differs", "may change")]),
        ({"sql": "SELECT uper(a) FROM 'a'"}, [("refused", "unknown function uper()")]),
        ({"actions": [SQS] * 11}, [("refused", "has 11 actions")]),
        ({"actions": [SQS] * 2}, [("costs", "each of the 2 actions")]),
        ({"actions": []}, [("advice", "does nothing")]),
        ({"errorAction": None}, [("advice", "no errorAction")]),
        ({"actions": [{"sqs": {"queueUrl": "q"}}]}, [("refused", "no roleArn")]),
        ({"actions": [{"sns": {"targetArn": "t", **ROLE}}]}, [("refused", "no ARN")]),
        ({"actions": [{"http": {"url": "http://h/p"}}]}, [("refused", "not https")]),
        ({"actions": [{"republish": {"topic": "$aws/x", **ROLE}}]}, [("refused", "begins with one $")]),
        ({"actions": [{"republish": {"topic": "out", **ROLE}}]}, [("costs", "billed as a message")]),
        (
            {"actions": [{"republish": {"topic": "dt/x", **ROLE}}]},
            [("costs", "billed as a message"), ("costs", "fires it again")],
        ),
        ({"sql": "SELECT * FROM 'a/b/c/d/e/f/g/h/i'"}, [("refused", "more than 7 slashes")]),
        ({"sql": f"SELECT * FROM '{'x' * 257}'"}, [("refused", "more than 256 bytes")]),
        ({"sql": "SELECT * FROM '$aws/rules/mine/#'"}, [("advice", "Basic Ingest")]),
        ({"sql": "SELECT * FROM '$own/x'"}, [("advice", "reserved")]),
        ({"sql": "SELECT * FROM '#'"}, [("costs", "every message")]),
        (
            {
                "sql": "SELECT get_thing_shadow('t', 'r') AS s, get_secret('s', 'SecretString', 'r') AS k FROM 'a'"
            },
            [("costs", "get_thing_shadow() is billed")],
        ),
    ],
)
def test_lint(changed: dict[str, Any], found: list[tuple[str, str]]) -> None:
    remarks = lint("mine", {**RIGHT, **changed})
    assert [one.level for one in remarks] == [level for level, _ in found]
    for remark, (_, what) in zip(remarks, found, strict=True):
        assert what in remark.what
        assert remark.fix


def test_lint_reads_every_rule_of_a_file_and_fails_on_what_aws_refuses(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"rules": {"right": RIGHT, "wrong": {"sql": "SELECT"}, "empty": None}}))
    done = CliRunner().invoke(app, ["rules", "lint", str(file), "--format", "json"])
    assert isinstance(done.exception, ExpectationFailed)
    assert [one["rule"] for one in json.loads(done.output)] == ["wrong", "empty"]
    file.write_text(json.dumps({"rules": {"right": RIGHT}}))
    assert json.loads(rules("lint", str(file), "--format", "json")) == []


def test_lint_without_a_file_reads_what_deploy_makes_and_aws_refuses_none_of_it() -> None:
    remarks = json.loads(rules("lint", "--format", "json"))
    assert {one["where"] for one in remarks} == {"template.yaml"}
    assert {(one["rule"], one["level"]) for one in remarks} == {("thingstorm_telemetry", "costs")}
    done = CliRunner().invoke(app, ["rules", "lint", str(DEFAULT_RULES)])
    assert isinstance(
        done.exception, ExpectationFailed
    )  # as a local stack may, they name their targets plainly
