"""`Stack` and its devices, on one real stack for the whole file; a second one where a test breaks it."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg
import pytest
import yaml
from alert_samples import Receiver
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

import thingstorm
from contracts.errors import BackendError, BadScenario, ConfigError, NotReady, ThingstormError
from pipeline.aws.provision import LANES
from simulator.transports.device_client import DeviceClient
from thingstorm import Stack
from thingstorm.cli import app

HOT = "arn:aws:sns:us-east-1:000000000000:hot"
RULES = f"""\
  too_hot:
    sql: SELECT clientid() AS device, temp_c FROM 'dt/#' WHERE temp_c > 60
    actions:
      - sns: {{targetArn: "{HOT}", messageFormat: RAW}}
"""
SCENARIO = """\
scenario: v1
name: calm
vars: {devices: 5}
seed: 3
path: aws
duration: 4s
fleet:
  - group: lamp
    count: $devices
    topic: "dt/lamp/{device}/telemetry"
    every: 500ms
    payload: {temp_c: {const: 70}}
train: {until: 3s}
expect:
  overall: {lost: 0, duplicates: 0, dead_letters: 0}
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Stack]:
    """With a rule of the user's own beside the default ones, and two webhooks: one listens, one does not."""
    rules = tmp_path_factory.mktemp("own") / "rules.yaml"
    rules.write_text((Path(thingstorm.__file__).parents[1] / "pipeline/rules.yaml").read_text() + RULES)
    hooks = f"[{{url: '{receiver.url}', name: soar}}, {{url: 'http://127.0.0.1:9/', name: gone}}]"
    with Stack(settings=[f"pipeline.rules={rules}", f"alerts.webhooks={hooks}"]) as stack:
        stack.boto("sns").create_topic(Name="hot")
        yield stack


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as receiver:
        yield receiver


def test_a_test_of_the_alerts_reaches_every_channel_and_says_which_it_does_not(
    stack: Stack, receiver: Receiver
) -> None:
    queue = stack.queue("security-team")
    called = CliRunner().invoke(app, ["alerts", "test", "--format", "json", "--api", stack.addresses["api"]])
    assert isinstance(called.exception, NotReady), called.output
    assert "gone" in str(called.exception)
    outcomes = {one["channel"]: one["outcome"] for one in json.loads(called.stdout)}
    assert (outcomes["sns"], outcomes["soar"]) == ("done", "done")
    assert outcomes["gone"].startswith("failed: gone does not answer")
    told = json.loads(receiver.got[-1][1])
    assert told["test"] is True
    assert told["link"] == f"{stack.addresses['api']}/#/incidents/{told['incident_id']}"
    (message,) = stack.boto("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
    assert told["incident_id"] in message["Body"]
    stack.boto("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    listed = CliRunner().invoke(app, ["alerts", "list", "--api", stack.addresses["api"]])
    assert listed.exit_code == 0, listed.output
    assert {"sns", "soar", "gone"} <= set(listed.stdout.split())
    one = CliRunner().invoke(app, ["alerts", "test", "--to", "soar", "--api", stack.addresses["api"]])
    assert one.exit_code == 0, one.output
    unknown = CliRunner().invoke(app, ["alerts", "test", "--to", "saor", "--api", stack.addresses["api"]])
    assert isinstance(unknown.exception, ConfigError)
    retried = CliRunner().invoke(app, ["alerts", "retry", "--api", stack.addresses["api"]])
    assert retried.stdout == "0 undelivered alerts are tried again\n"


def messages_of(stack: Stack, device_id: str) -> int:
    (row,) = stack.sql("SELECT count(*) AS n FROM telemetry WHERE device_id = $device", {"device": device_id})
    return int(row["n"])


def test_what_a_device_published_is_in_the_view_once_the_stack_has_settled(stack: Stack, unique: str) -> None:
    with stack.mqtt(unique) as device:
        for number in range(50):
            device.publish(f"dt/lamp/{unique}/telemetry", {"temp_c": 20, "n": number})
    stack.settle()
    assert messages_of(stack, unique) == 50


@pytest.mark.parametrize("payload", [b'{"temp_c": 1}', '{"temp_c": 1}', {"temp_c": 1}])
def test_a_payload_is_bytes_text_or_json(stack: Stack, unique: str, payload: bytes | str) -> None:
    with stack.mqtt(unique) as device:
        device.publish(f"dt/lamp/{unique}/telemetry", payload, qos=0)
        device.publish(f"dt/lamp/{unique}/telemetry", payload, qos=1)
    stack.settle()
    rows = stack.sql(
        "SELECT DISTINCT payload->>'temp_c' AS t FROM telemetry WHERE device_id = $d", {"d": unique}
    )
    assert rows == [{"t": "1"}]
    assert messages_of(stack, unique) == 2


def test_a_rule_that_sends_the_same_message_elsewhere_too_does_not_keep_it_from_settling(
    stack: Stack, unique: str
) -> None:
    sns, sqs = stack.boto("sns"), stack.boto("sqs")
    url = sqs.create_queue(QueueName=unique)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscription = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=HOT, Protocol="sqs", Endpoint=arn, Attributes=subscription)
    with stack.mqtt(unique) as device:
        for temperature in (20, 61, 62):
            device.publish(f"dt/lamp/{unique}/telemetry", {"temp_c": temperature})
    stack.settle()
    told = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    bodies = sorted((json.loads(one["Body"]) for one in told), key=lambda body: int(body["temp_c"]))
    assert bodies == [{"device": unique, "temp_c": 61}, {"device": unique, "temp_c": 62}]
    assert messages_of(stack, unique) == 3


def asked(stack: Stack, *arguments: str) -> tuple[int, Any]:
    """The exit code of a command against this stack, and what it printed as JSON."""
    done = CliRunner().invoke(app, [*arguments, "--api", stack.addresses["api"]])
    if isinstance(done.exception, ThingstormError):
        return done.exception.exit_code, str(done.exception)
    return done.exit_code, json.loads(done.output) if done.output.startswith(("[", "{")) else done.output


def test_one_message_is_followed_from_the_device_to_the_verdict(stack: Stack, unique: str) -> None:
    with stack.mqtt(unique) as device:
        for _ in range(3):
            device.publish(f"dt/lamp/{unique}/telemetry", {"temp_c": 20, "ts": time.time_ns() // 10**6})
    stack.settle()
    rows = stack.sql("SELECT message_id FROM telemetry WHERE device_id = $d", {"d": unique})
    code, steps = asked(stack, "trace", rows[0]["message_id"], "--format", "json")
    assert code == 0
    hops = [step["hop"] for step in steps]
    path = ["measured", "accepted", "routed", "handed on", "received", "changed", "viewed"]
    assert "handled" in hops, "written and deleted from the queue; the stream may have told before"
    assert [hop for hop in dict.fromkeys(hops) if hop in path] == path
    assert {step["detail"] for step in steps if step["hop"] == "handed on"} == {
        f"sns {stack.boto('sns').create_topic(Name='thingstorm-telemetry')['TopicArn']}", "firehose archive",
    }  # fmt: skip
    assert [float(step["ms"]) for step in steps] == sorted(float(step["ms"]) for step in steps)
    assert asked(stack, "trace", "of-nothing")[0] == 2


def test_a_dead_letter_is_listed_shown_and_put_back(stack: Stack, unique: str) -> None:
    body = {"device_id": unique, "message_id": f"{unique}-1", "topic": "t", "received_at": 1_700_000_000_000}
    sent = stack.boto("sqs").send_message(QueueUrl=stack.queue("telemetry-dlq"), MessageBody=json.dumps(body))
    assert asked(stack, "dlq", "redrive", "of-nothing")[0] == 2
    _, letters = asked(stack, "dlq", "list", "--format", "json")
    (letter,) = [one for one in letters if one["message_id"] == sent["MessageId"]]
    assert (letter["lane"], letter["reason"][:22]) == ("telemetry", "none was recorded: its")
    _, fields = asked(stack, "dlq", "show", sent["MessageId"], "--format", "json")
    assert {"field": "body", "value": json.dumps(body)} in fields
    assert asked(stack, "dlq", "show", "of-nothing")[0] == 2
    assert asked(stack, "dlq", "redrive", sent["MessageId"]) == (0, "1 message is back in the queue\n")
    stack.settle()
    assert messages_of(stack, unique) == 1
    assert asked(stack, "dlq", "list", "--format", "json") == (0, [])
    assert asked(stack, "dlq", "redrive") == (0, "0 messages are back in the queue\n")


def test_the_shell_reads_standard_input_and_the_postgresql_port_answers(stack: Stack) -> None:
    lines = ".tables\n.format json\nSELECT count(*) >= 0\n  AS counted FROM telemetry;\n.run fleet_overview\n.describe devices"
    done = CliRunner().invoke(app, ["sql", "--api", stack.addresses["api"]], input=lines)
    assert done.exit_code == 0, done.output
    for piece in ("telemetry", '[{"counted": true}]', '"column": "_id"'):
        assert piece in done.output
    host, port = stack.addresses["postgres"].split(":")
    with psycopg.connect(host=host, port=int(port), user="me", dbname="any") as connection:
        assert connection.execute("SELECT count(*) >= 0 FROM telemetry").fetchone() == (True,)


def test_a_scenario_is_played_against_this_stack(stack: Stack, tmp_path: Path) -> None:
    """Twice, the second time with another seed and variable: what is counted is what came since its start."""
    (tmp_path / "calm.yaml").write_text(SCENARIO)
    first = stack.run(tmp_path / "calm.yaml")
    second = stack.run(tmp_path / "calm.yaml", seed=4, variables={"devices": "3"})
    assert (first.passed, first.seed, first.path) == (True, 3, "aws")
    assert (second.passed, second.seed) == (True, 4)
    assert first.ledger.published > second.ledger.published > 0
    assert second.ledger.viewed == second.ledger.queued == second.ledger.published
    assert messages_of(stack, "lamp-0005") < messages_of(stack, "lamp-0001")


@pytest.mark.parametrize(
    ("changed", "error", "told"),
    [
        ("duratoin: 4s", BadScenario, r"calm.yaml:6: unknown key 'duratoin'"),
        ("clock: {speed: 60}\nduration: 4s", ConfigError, "a stack lives in real time"),
    ],
)
def test_a_scenario_that_cannot_be_played_is_refused(
    stack: Stack, tmp_path: Path, changed: str, error: type[ConfigError], told: str
) -> None:
    (tmp_path / "calm.yaml").write_text(SCENARIO.replace("duration: 4s", changed))
    with pytest.raises(error, match=told):
        stack.run(tmp_path / "calm.yaml")


def test_clients_that_know_nothing_of_the_stack_find_its_aws_services(stack: Stack, unique: str) -> None:
    boto3.client("sqs").create_queue(QueueName=unique)
    assert any(unique in url for url in stack.boto("sqs").list_queues()["QueueUrls"])
    assert os.environ["AWS_ENDPOINT_URL"] == stack.endpoint == stack.addresses["aws"]


def test_the_addresses_are_those_of_the_running_parts(stack: Stack) -> None:
    assert {"mqtt", "mqtts", "websocket", "aws", "api", "page", "postgres"} <= set(stack.addresses)
    with urllib.request.urlopen(f"{stack.addresses['api']}/healthz", timeout=5) as answer:
        assert answer.status == 200
    host, _, port = stack.addresses["mqtt"].partition(":")
    DeviceClient("by-address", host=host, port=int(port)).connect().close()


def test_the_queues_of_the_stack_are_known_by_name(stack: Stack) -> None:
    assert stack.queue("security-team").endswith("thingstorm-security-team")
    with pytest.raises(ConfigError, match="no queue 'security'") as caught:
        stack.queue("security")
    assert "security-team" in caught.value.fix


def test_a_wrong_query_says_what_and_how_to_mend_it_where_pytest_shows_it(stack: Stack) -> None:
    with pytest.raises(ConfigError, match="nonsense") as caught:
        stack.sql("SELECT nonsense")
    assert caught.value.__notes__ == [f"fix: {caught.value.fix}"]


def test_a_device_gets_what_it_subscribed_to(stack: Stack, unique: str) -> None:
    with stack.mqtt(unique) as device, stack.mqtt(f"{unique}-app") as app:
        device.subscribe(f"cmd/lamp/{unique}/#")
        assert device.messages == []
        app.publish(f"cmd/lamp/{unique}/dim", {"to": 50})
        app.publish(f"cmd/lamp/{unique}/off", "now")
        dim, off = device.wait_for(2)
    assert (dim.topic, dim.json(), off.payload) == (f"cmd/lamp/{unique}/dim", {"to": 50}, b"now")


def test_a_device_that_waits_in_vain_says_how_much_came(stack: Stack, unique: str) -> None:
    with stack.mqtt(unique) as device, pytest.raises(NotReady, match=r"0 of 1 messages came to .* in 0\.1 s"):
        device.wait_for(timeout=0.1)


@pytest.mark.parametrize("topic", ["dt/#", "dt/+/x", ""])
def test_a_topic_that_mqtt_does_not_have_is_refused_before_it_is_sent(stack: Stack, topic: str) -> None:
    with stack.mqtt("careless") as device, pytest.raises(ConfigError, match="cannot publish to"):
        device.publish(topic, "x")


def test_a_filter_that_mqtt_does_not_have_is_refused_before_it_is_sent(stack: Stack) -> None:
    with stack.mqtt("careless") as device, pytest.raises(ConfigError, match="cannot subscribe to"):
        device.subscribe("dt/#/x")


def test_a_device_that_was_cut_off_says_so_instead_of_waiting(stack: Stack, unique: str) -> None:
    """A second client of the same name takes the session, as on AWS."""
    with stack.mqtt(unique) as device, stack.mqtt(unique) as other:
        _until_it_is_cut(device)
        with pytest.raises(BackendError, match=f"{unique} is not connected: the gateway closed the conn"):
            device.publish(f"dt/lamp/{unique}/telemetry", {"temp_c": 1})
        assert not device.connected
        assert other.connected


def test_a_device_in_quarantine_is_refused(stack: Stack, unique: str) -> None:
    api = stack.addresses["api"]
    request = urllib.request.Request(
        f"{api}/devices/{unique}/quarantine",
        data=json.dumps({"reason": "test"}).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=5):
        pass
    with pytest.raises(BackendError, match="the gateway answered"):
        stack.mqtt(unique)


def test_nobody_at_the_address_is_an_error_with_the_address() -> None:
    with pytest.raises(BackendError, match=r"no broker answers at 127\.0\.0\.1:1"):
        DeviceClient("lost", host="127.0.0.1", port=1).connect()


def test_a_stack_that_is_not_open_says_how_to_open_it() -> None:
    with pytest.raises(NotReady, match="not open") as caught:
        Stack().sql("SELECT 1")
    assert "with Stack()" in caught.value.fix


def test_an_open_stack_is_not_opened_again(stack: Stack) -> None:
    with pytest.raises(NotReady, match="open already"):
        stack.open()


def test_a_wrong_setting_starts_nothing(tmp_path: Path) -> None:
    before = dict(os.environ)
    with pytest.raises(ConfigError, match="cannot be read"):
        Stack(settings=[f"pipeline.rules={tmp_path / 'none.yaml'}"]).open()
    with pytest.raises(ConfigError, match="no configuration file"):
        Stack(config=tmp_path / "none.toml").open()
    assert dict(os.environ) == before


def test_a_rule_made_with_boto3_evaluates_the_guide_s_functions_over_the_wire(stack: Stack) -> None:
    """CreateTopicRule, PUBLISH, ReceiveMessage: as a user's own template makes it; in effect within two seconds."""
    guide = json.loads(
        (Path(thingstorm.__file__).parents[1] / "tests/conformance/iot_sql_guide.json").read_text()
    )
    cases = {f"v{i}": case for i, case in enumerate(guide["functions"]) if "version" not in case}
    select = ", ".join(f"{case['expr']} AS {name}" for name, case in cases.items())
    queue = stack.boto("sqs").create_queue(QueueName="guide")["QueueUrl"]
    actions = [{"sqs": {"queueUrl": queue, "roleArn": "arn:aws:iam::000000000000:role/r"}}]
    payload = {
        "sql": f"SELECT {select} FROM 'dt/guide/+/telemetry'",
        "awsIotSqlVersion": "2016-03-23",
        "actions": actions,
    }
    stack.boto("iot").create_topic_rule(ruleName="guide", topicRulePayload=payload)
    deadline, received = time.monotonic() + 20, []
    with stack.mqtt("reader") as device:
        while not received and time.monotonic() < deadline:
            device.publish("dt/guide/reader/telemetry", {})
            received = (
                stack.boto("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", [])
            )
    stack.boto("iot").delete_topic_rule(ruleName="guide")
    seen = json.loads(received[0]["Body"])
    expected = {name: case["expected"] for name, case in cases.items() if not case.get("undefined")}
    assert seen.keys() == expected.keys()
    for name, value in expected.items():  # C libraries differ in the last bit of a double
        wanted = pytest.approx(value, rel=4e-16) if isinstance(value, float) else value
        assert seen[name] == wanted, cases[name]["expr"]


def test_what_does_not_settle_and_what_dies_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[aws]\nprefix = "mine"\n')
    outside = os.environ.get("AWS_ENDPOINT_URL")
    stack = Stack(config=tmp_path / "own.toml").open()
    assert stack.queue("security-team").endswith("/mine-security-team")
    assert os.environ["AWS_ENDPOINT_URL"] == stack.endpoint != outside
    stack.boto("sqs").send_message(QueueUrl=stack.queue("telemetry"), MessageBody="poison")
    with pytest.raises(NotReady, match=r"not become quiet within 1 s: 1 messages wait for worker-telemetry"):
        stack.settle(timeout=1)
    _emulator(stack).kill()
    with pytest.raises(BackendError, match=r"ministack .* ended with signal 9"):
        stack.settle(timeout=5)
    with pytest.raises(BackendError, match=r"ministack .* ended with signal 9"):
        stack.close()
    assert os.environ.get("AWS_ENDPOINT_URL") == outside
    stack.close()  # nothing is left to close


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    page = (Path(thingstorm.__file__).parents[1] / "docs/testing.md").read_text()
    code = page.partition("## Without pytest")[2].partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == """[{'device_id': 'meter-1', 'payload': '{"power_w":400}'}]\n"""


def _until_it_is_cut(device: DeviceClient) -> None:
    deadline = time.monotonic() + 5
    while device.connected:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _emulator(stack: Stack) -> psutil.Process:
    port = int(stack.endpoint.rpartition(":")[2])
    (found,) = [
        child
        for child in psutil.Process().children(recursive=True)
        if any(one.laddr.port == port and one.status == "LISTEN" for one in child.net_connections("tcp"))
    ]
    return found


def test_the_dashboard_and_the_rules_name_only_metrics_that_there_are(stack: Stack, unique: str) -> None:
    with stack.mqtt(unique) as device:
        device.publish(f"dt/lamp/{unique}/telemetry", {"temp_c": 20})
    stack.settle()
    with urllib.request.urlopen(f"{stack.addresses['api']}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    labels: dict[str, set[str]] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
    monitoring = Path(thingstorm.__file__).parents[1] / "examples/monitoring"
    dashboard = json.loads((monitoring / "grafana/dashboards/thingstorm.json").read_text())
    rules = yaml.safe_load((monitoring / "rules.yml").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked += [one["expr"] for one in dashboard["annotations"]["list"]]
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    names = {name for expression in asked for name in re.findall(r"\b(?:thingstorm|process)_\w+", expression)}
    assert len(names) >= 35
    assert names <= set(labels), names - set(labels)
    for expression in asked:  # what is grouped by or selected is a label of one of the metrics
        known = {"le", "job", "instance"}.union(*(labels[name] for name in names if name in expression))
        grouped = {one.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for one in by.split(",")}
        chosen = set(re.findall(r"[{,](\w+)(?:=|!~|=~)", expression))
        # what was done about incidents is labelled once something was done
        assert grouped | chosen <= known | {"action", "outcome", "by", "kind"}, expression
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(identifiers) == len(set(identifiers))
    assert {dashboard["uid"], dashboard["title"]} == {"thingstorm"}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def _documented() -> set[str]:
    """The names in the tables of docs/operating.md: `*` stands for the words of the last column."""
    page = (Path(thingstorm.__file__).parents[1] / "docs/operating.md").read_text()
    names: set[str] = set()
    for name, _, told in re.findall(r"^\| `([a-z_*]+)` \|([^|]*)\| (.*) \|$", page, re.MULTILINE):
        words = re.findall(r"`([a-z_]+)`", told) if "*" in name else [""]
        names.update(name.replace("*", word) for word in words)
    return names


def test_every_metric_is_documented_and_no_other(stack: Stack) -> None:
    with urllib.request.urlopen(f"{stack.addresses['api']}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    told = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    documented = _documented()
    assert told <= documented, told - documented
    # what a stack without simulator, page, or changes of a kind does not tell
    rare = (
        "thingstorm_page_",
        "thingstorm_sync_",
        "thingstorm_simulator_",
        "thingstorm_theatre_",
        "thingstorm_broker_link_",
    )
    assert {name for name in documented - told if not name.startswith(rare)} <= {
        "thingstorm_rule_matches_total", "thingstorm_deliveries_total", "thingstorm_gate_closed_total"
    }  # fmt: skip


def test_queue_depths_are_asked_when_somebody_scrapes(stack: Stack) -> None:
    with urllib.request.urlopen(f"{stack.addresses['api']}/metrics") as answer:
        text = answer.read().decode()
    queues = set(re.findall(r'thingstorm_queue_messages\{queue="([^"]+)"\}', text))
    assert queues == {f"{lane}{dead}" for lane in LANES for dead in ("", "-dlq")}
