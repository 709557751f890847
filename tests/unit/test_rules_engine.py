"""Which rules a message reaches, and rules from a file."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import BadRule, ConfigError
from contracts.messages import Message
from pipeline.rules.engine import DEFAULT_RULES, Engine, Rule, load_rules
from pipeline.rules.substitution import Template
from pipeline.rules.topics import TopicTable, flaw


def message(topic: str = "a/b", payload: bytes = b'{"t": 60}') -> Message:
    return Message("id-1", "device-1", "cert-1", topic, payload, 1, False, 1_700_000_000_000_000_000)


def fired(engine: Engine, topic: str, payload: bytes = b'{"t": 60}') -> list[str]:
    return [match.rule for match in engine.match(message(topic, payload))]


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", False),  # AWS: unlike MQTT
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a/b/c", False),
        ("+/+", "/b", True),
        ("#", "a/b", True),
        ("#", "$aws/events/x", False),
        ("+/events/x", "$aws/events/x", False),
        ("$aws/events/#", "$aws/events/presence/connected/d", True),
        ("$aws/+/x", "$aws/events/x", True),
        ("a//b", "a//b", True),
    ],
)
def test_topic_filters(topic_filter: str, topic: str, *, matches: bool) -> None:
    assert (TopicTable([(topic_filter, "r")]).find(topic) == ("r",)) is matches


def _matches(topic_filter: str, topic: str) -> bool:
    """The definition, one pair at a time."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return len(levels) > index
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


levels = st.lists(st.sampled_from(["a", "b", "", "$x"]), min_size=1, max_size=4)
filters = st.lists(st.sampled_from(["a", "b", "", "+", "$x"]), min_size=1, max_size=4)


@given(st.lists(st.tuples(filters, st.booleans()), max_size=8), levels)
def test_the_table_finds_what_the_definition_says(
    some: list[tuple[list[str], bool]], topic: list[str]
) -> None:
    chosen = ["/".join([*parts, "#"] if deep else parts) for parts, deep in some]
    table = TopicTable((text, number) for number, text in enumerate(chosen))
    expected = tuple(number for number, text in enumerate(chosen) if _matches(text, "/".join(topic)))
    assert table.find("/".join(topic)) == expected
    assert table.find("/".join(topic)) == expected  # from the cache


def test_flaws_of_topic_filters() -> None:
    assert not flaw("dt/+/x/#")
    assert all(map(flaw, ["", "#/a", "a+/b", "a/#b", "a\0b"]))


def test_rules_fire_in_order_and_swap_at_once() -> None:
    engine = Engine(
        [Rule(name="all", sql="SELECT * FROM '#'"), Rule(name="hot", sql="SELECT t FROM 'a/+' WHERE t > 50")]
    )
    assert fired(engine, "a/b") == ["all", "hot"]
    assert fired(engine, "a/b", b'{"t": 40}') == ["all"]
    engine.replace(
        [
            Rule(name="off", sql="SELECT * FROM '#'", enabled=False),
            Rule(name="new", sql="SELECT * FROM 'a/b'"),
        ]
    )
    assert fired(engine, "a/b") == ["new"]
    assert engine.rule("off") is not None
    assert engine.rule("all") is None


def test_basic_ingest_calls_one_rule_whatever_its_topic_filter() -> None:
    engine = Engine(
        [
            Rule(name="r1", sql="SELECT topic() AS t, topic(2) AS two FROM 'x/#'"),
            Rule(name="r2", sql="SELECT * FROM '#'"),
        ]
    )
    [match] = engine.match(message("$aws/rules/r1/Buildings/B5"))
    assert match.rule == "r1"
    assert match.result == {"t": "Buildings/B5", "two": "B5"}
    assert fired(engine, "$aws/rules/none/x") == []
    assert engine.rules_not_found == 1


def test_an_undefined_result_is_an_empty_body() -> None:
    [match] = Engine([Rule(name="r", sql="SELECT VALUE missing FROM '#'")]).match(message())
    assert match.result == b""


def test_a_defect_in_one_rule_does_not_stop_the_others() -> None:
    broken, good = Rule(name="broken", sql="SELECT * FROM '#'"), Rule(name="good", sql="SELECT * FROM '#'")
    object.__setattr__(broken, "program", lambda _context: 1 / 0)
    engine = Engine([broken, good])
    assert fired(engine, "a") == ["good"]
    assert engine.rule_errors == 1
    assert "broken" in engine.last_error
    assert "ZeroDivisionError" in engine.last_error


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain", "plain"),
        ("${topic(2)}/${t}", "b/60"),
        ("x-${get({'a': '}'}, 'a')}-y", "x-}-y"),
        ("${missing}.", "."),
        ("${parse_time('yyyy', timestamp(), 'UTC')}", "2023"),
        ("$$aws/things/${clientid()}", "$$aws/things/device-1"),
    ],
)
def test_substitution(text: str, rendered: str) -> None:
    assert Template(text).render(Engine().context(message())) == rendered


def test_substitution_sees_variables_but_no_alias() -> None:
    rule = Rule(name="r", sql="SET @x = t + 1 SELECT t AS alias FROM '#'")
    assert rule.template("${@x},${alias}").render(Engine().context(message())) == "61,"


SNS = {"sns": {"targetArn": "x"}}


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        ({"name": "a b"}, "rule name", "letters"),
        ({"actions": (SNS,) * 11}, "11 actions", "at most 10"),
        ({"actions": ({"lamda": {"functionArn": "x"}},)}, "unknown rule action of 'r' 'lamda'", "sns"),
        ({"actions": ({"timestream": {}},)}, "AWS has the action timestream", "sns"),
        ({"actions": ({"sqs": {"queueUrl": "q", "useBase64": 1}},)}, "sqs.useBase64 is 1", "True"),
        ({"actions": ({"dynamoDBv2": {"putItem": {}}},)}, "dynamoDBv2.putItem is wrong", "tableName"),
        ({"actions": ({"http": {"url": "https://a/${b}"}},)}, "no confirmationUrl", "fixed part"),
        ({"actions": ({"http": {"url": "https://a", "headers": {"k": "v"}}},)}, "http.headers", "key"),
        ({"actions": ({"republish": {"topic": "$aws/x"}},)}, "one $", "$$aws/x"),
        ({"actions": ({"republish": {"topic": "x", "headers": {"ttl": 1}}},)}, "headers", "messageExpiry"),
        ({"error_action": {"sqs": {"queueUrl": "${get_thing_shadow('a', 'r')}"}}}, "error action asks", "every function"),
        ({"sql": "SELECT get_dynamodb('t', 'k', 1, 'r'), get_dynamodb('t', 'k', 2, 'r') FROM 'a'"}, "more than once", "SET"),
        ({"actions": ({"sns": {}},)}, "lacks targetArn", "messageFormat"),
        ({"actions": ({"sns": {"targetArn": "x", "topicArn": "y"}},)}, "unknown key topicArn", "targetArn"),
        ({"actions": ({"sns": {"targetArn": "x.fifo"}},)}, "FIFO", "standard"),
        ({"actions": ({"sns": {"targetArn": "x", "messageFormat": "XML"}},)}, "messageFormat", "RAW"),
        ({"actions": ({"firehose": {"deliveryStreamName": "x", "separator": ";"}},)}, "separator", "','"),
        ({"actions": ({"sns": {"targetArn": 5}},)}, "no name", "targetArn"),
        ({"actions": ({"sns": "x"},)}, "no settings", "targetArn"),
        ({"actions": ("sns",)}, "one kind", "sns"),
        ({"error_action": {"s3": {}}}, "lacks bucketName", "key"),
    ],
)  # fmt: skip
def test_wrong_rules_are_refused(options: dict[str, Any], what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Rule(**{"name": "r", "sql": "SELECT * FROM 'a'", **options})
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_a_wrong_template_in_an_action_is_refused() -> None:
    with pytest.raises(BadRule, match="uper"):
        Rule(name="r", sql="SELECT * FROM 'a'", actions=({"sns": {"targetArn": "${uper(a)}"}},))


def test_the_rules_that_ship() -> None:
    engine = Engine(load_rules(DEFAULT_RULES))
    [telemetry] = engine.match(message("dt/meter/device-1/telemetry", b'{"ts":1,"temp_c":21.50}'))
    assert telemetry.result == {
        "payload": {"ts": 1, "temp_c": 21.5},
        "device_id": "device-1",
        "device_type": "meter",
        "topic": "dt/meter/device-1/telemetry",
        "message_id": "id-1",
        "received_at": 1_700_000_000_000,
    }
    assert fired(engine, "$thingstorm/metrics") == ["device_metrics"]
    assert fired(engine, "$aws/events/presence/connected/d") == ["presence"]
    assert fired(engine, "$thingstorm/devices/quarantined/d") == ["devices"]
    assert fired(engine, "other/x") == []
    [not_json] = engine.match(message("dt/meter/device-1/telemetry", b"\xff"))
    assert "payload" not in not_json.result


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("rules:\n  good: {sql: SELECT * FROM 'a'}\n  bad:\n    sql: SELECT FROM 'a'\n", ":3", "rule 'bad': unexpected"),
        ("rules:\n  bad: {sql: SELECT * FROM 'a', action: []}\n", ":2", "unknown key 'action'"),
        ("rules:\n  bad: {actions: []}\n", ":2", "sql is missing"),
        ("rules:\n  bad:\n", ":2", "empty"),
        ("rules:\n  bad: {sql: SELECT * FROM 'a', ruleDisabled: 'no'}\n", ":2", "ruleDisabled"),
        ("rules:\n  bad: {sql: SELECT * FROM 'a', actions: {sns: 1}}\n", ":2", "no list"),
        ("rules:\n  bad: {sql: SELECT * FROM 'a', awsIotSqlVersion: '1'}\n", ":2", "version '1'"),
        ("rules: {\n", ":2", "YAML"),
        ("rule: {}\n", ":1", "no rules"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_line(tmp_path: Path, text: str, where: str, what: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    assert str(path) + where in caught.value.what
    assert what in caught.value.what


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rules(tmp_path / "none.yaml")


def test_the_version_is_the_latest_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "rules:\n  a: {sql: SELECT * FROM 'a'}\n  b: {sql: SELECT * FROM 'a', awsIotSqlVersion: '2015-10-08', ruleDisabled: true}\n"
    )
    first, second = load_rules(path)
    assert (first.version, first.enabled) == ("2016-03-23", True)
    assert (second.version, second.enabled) == ("2015-10-08", False)
