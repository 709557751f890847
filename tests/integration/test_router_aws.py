"""Router, SNS action and rule source against a real emulator: messages in, bodies out of SQS."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import boto3
import pytest
from anyio import to_thread
from botocore.config import Config
from ports import free_port

from contracts.errors import UnknownName
from contracts.messages import Message
from contracts.streams import BatchStream
from pipeline.actions import ActionContext, Actions, Refused, Undelivered
from pipeline.actions.base import Item
from pipeline.actions.sns import MAX_BYTES, SnsAction
from pipeline.aws.rule_services import AwsServices
from pipeline.router import Router
from pipeline.rules.engine import DEFAULT_RULES, Engine, Rule, load_rules
from pipeline.rules.sources import RuleSource

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    log = tmp_path_factory.mktemp("ministack") / "log"
    environment = {**os.environ, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"}
    with log.open("wb") as output:
        child = subprocess.Popen(
            [str(Path(sys.executable).with_name("ministack"))], env=environment, stdout=output, stderr=output
        )
    try:
        _wait(child, f"http://127.0.0.1:{port}/_ministack/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait(child: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert child.poll() is None, "the emulator ended"
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the emulator does not answer")


def client(service: str, endpoint: str) -> Any:
    return boto3.client(  # type: ignore[call-overload] # the name is no literal here
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 1}),
    )


class Aws:
    """One sns_topic with a queue that gets its messages raw."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.sns, self.sqs, self.iot = (client(service, endpoint) for service in ("sns", "sqs", "iot"))
        self.arn = self.sns.create_topic(Name=name)["TopicArn"]
        self.queue = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        self.sns.subscribe(
            TopicArn=self.arn,
            Protocol="sqs",
            Endpoint=attributes["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )

    def received(self, count: int) -> list[str]:
        bodies: list[str] = []
        deadline = time.monotonic() + 10
        while len(bodies) < count and time.monotonic() < deadline:
            answer = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for entry in answer.get("Messages", []):
                bodies.append(entry["Body"])
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=entry["ReceiptHandle"])
        return bodies


@pytest.fixture
def aws(endpoint: str, unique: str) -> Aws:
    return Aws(endpoint, f"t-{unique}")


class Archive:
    """A delivery stream that keeps what it takes."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    async def put(self, records: Any) -> None:
        self.records += records


def message(number: int, payload: bytes | None = None) -> Message:
    body = json.dumps({"seq": number, "temp_c": 21.5}).encode() if payload is None else payload
    return Message(
        f"id-{number}",
        "meter-1",
        "p",
        "dt/meter/meter-1/telemetry",
        body,
        1,
        False,
        1_700_000_000_000_000_000,
    )


async def test_the_default_rules_carry_every_message_to_queue_and_archive(aws: Aws) -> None:
    stream: BatchStream[Message] = BatchStream("messages", capacity=1_000, max_batch=50)
    archive = Archive()
    topics = {"telemetry": aws.arn, "device-metrics": aws.arn, "device-events": aws.arn}
    actions = Actions(ActionContext(sns=aws.sns, topics=topics, streams={"archive": archive}))
    router = Router("router", stream, Engine(load_rules(DEFAULT_RULES)), actions)
    async with anyio.create_task_group() as group:
        await group.start(lambda task_status: router.run(task_status=task_status))
        for number in range(120):
            await stream.put(message(number))
        await router.drain()
        group.cancel_scope.cancel()
    bodies = [json.loads(body) for body in await to_thread.run_sync(aws.received, 120)]
    assert sorted(body["payload"]["seq"] for body in bodies) == list(range(120))
    assert {(body["device_id"], body["device_type"]) for body in bodies} == {("meter-1", "meter")}
    assert {body["message_id"] for body in bodies} == {f"id-{number}" for number in range(120)}
    assert [json.loads(record)["payload"]["seq"] for record in sorted(archive.records, key=_seq)] == list(
        range(120)
    )
    assert all(record.endswith(b"}\n") for record in archive.records)
    counters = router.health().counters
    assert (counters["sns"], counters["firehose"], counters["failed"]) == (120, 120, 0)


def _seq(record: bytes) -> int:
    number: int = json.loads(record)["payload"]["seq"]
    return number


def sns(aws: Aws, **options: Any) -> SnsAction:
    settings = {"targetArn": aws.arn, **options}
    action: SnsAction = SnsAction.build(settings, ActionContext(sns=aws.sns))
    return action


async def test_what_sns_cannot_take_is_refused_and_the_rest_is_delivered(aws: Aws) -> None:
    bodies = [b"one", b"", b"\xff", b"x" * (MAX_BYTES + 1), "zwölf".encode()]
    with pytest.raises(Refused) as caught:
        await sns(aws).deliver([Item(body) for body in bodies])
    assert caught.value.refused.keys() == {1, 2, 3}
    assert "encode(*" in caught.value.refused[2]
    assert sorted(await to_thread.run_sync(aws.received, 2)) == ["one", "zwölf"]


async def test_a_topic_that_is_not_there_is_terminal(aws: Aws) -> None:
    with pytest.raises(Refused, match="PublishBatch"):
        await sns(aws, targetArn=aws.arn + "-none").deliver([Item(b"a"), Item(b"b")])


async def test_an_emulator_that_is_away_is_transient(aws: Aws) -> None:
    away = client("sns", "http://127.0.0.1:9")
    action = SnsAction.build({"targetArn": aws.arn}, ActionContext(sns=away))
    with pytest.raises(Undelivered) as caught:
        await action.deliver([Item(b"a")] * 11)
    assert caught.value.retry == tuple(range(11))
    assert not caught.value.refused


async def test_a_plain_name_is_resolved_or_refused(aws: Aws) -> None:
    context = ActionContext(sns=aws.sns, topics={"telemetry": aws.arn})
    assert SnsAction.build({"targetArn": "telemetry"}, context).resource == aws.arn
    with pytest.raises(UnknownName, match="telemetri"):
        SnsAction.build({"targetArn": "telemetri"}, context)


async def test_a_lane_waits_for_its_topic_and_somebodys_own_rule_does_not(aws: Aws) -> None:
    """What the gateway acknowledged is not dropped because the topic is gone, and a wrong rule holds up nothing."""
    lane = SnsAction.build(
        {"targetArn": "telemetry"}, ActionContext(sns=aws.sns, topics={"telemetry": aws.arn})
    )
    aws.sns.delete_topic(TopicArn=aws.arn)
    with pytest.raises(Undelivered, match="PublishBatch failed: NotFound") as caught:
        await lane.deliver([Item(b"kept"), Item(b"too")])
    assert (caught.value.retry, caught.value.refused) == ((0, 1), {})
    assert "fix: it is not there: make it with `thingstorm deploy`" in caught.value.what
    with pytest.raises(Refused, match="NotFound"):
        await sns(aws, targetArn=f"{aws.arn}-of-somebody").deliver([Item(b"x")])


async def test_json_messages_carry_a_text_for_the_protocol(aws: Aws) -> None:
    await sns(aws, messageFormat="JSON").deliver([Item(b'{"default":"d","sqs":"for queues"}')])
    assert await to_thread.run_sync(aws.received, 1) == ["for queues"]


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.02)


async def test_rules_of_the_control_plane_come_change_and_go(aws: Aws, unique: str) -> None:
    engine = Engine()
    actions = Actions(ActionContext(sns=aws.sns, topics={"telemetry": aws.arn}))
    mine, wrong, hidden = f"mine_{unique}", f"wrong_{unique}", f"hidden_{unique}"
    file_rule = Rule(name=hidden, sql="SELECT * FROM 'file/#'")
    source = RuleSource(
        engine, file_rules=[file_rule], iot=aws.iot, check=actions.prepare, prefix="my-stack", interval=0.05
    )
    deployed = f"my_stack_{hidden}"  # the template's own of the same name

    def payload(sql: str, target: str = "telemetry") -> dict[str, Any]:
        return {
            "sql": sql,
            "awsIotSqlVersion": "2016-03-23",
            "actions": [{"sns": {"targetArn": target, "roleArn": "arn:aws:iam::000000000000:role/r"}}],
        }

    def sql(name: str) -> str:
        rule = engine.rule(name)
        return rule.sql if rule else ""

    aws.iot.create_topic_rule(ruleName=mine, topicRulePayload=payload("SELECT a FROM 'x/#'"))
    aws.iot.create_topic_rule(ruleName=hidden, topicRulePayload=payload("SELECT b FROM 'x/#'"))
    aws.iot.create_topic_rule(ruleName=deployed, topicRulePayload=payload("SELECT * FROM 'file/#'"))
    async with anyio.create_task_group() as group:
        await group.start(lambda task_status: source.run(task_status=task_status))
        assert sql(mine) == "SELECT a FROM 'x/#'"  # ready means: the first poll is over
        assert sql(hidden) == "SELECT * FROM 'file/#'"
        assert f"'{hidden}'" in source.health().detail
        assert f"'{deployed}'" in source.health().detail
        assert engine.rule(deployed) is None
        swaps = source.health().counters["swaps"]
        polls = source.health().counters["polls"]
        await until(lambda: source.health().counters["polls"] > polls + 3)
        assert source.health().counters["swaps"] == swaps  # nothing changed, nothing swapped
        aws.iot.replace_topic_rule(ruleName=mine, topicRulePayload=payload("SELECT c FROM 'x/#'"))
        aws.iot.create_topic_rule(ruleName=wrong, topicRulePayload=payload("SELECT uper(a) AS a FROM 'x/#'"))
        await until(lambda: sql(mine) == "SELECT c FROM 'x/#'" and wrong in source.health().detail)
        assert "did you mean 'upper'" in source.health().detail
        assert source.health().counters["wrong_rules"] == 1
        assert engine.rule(wrong) is None
        aws.iot.replace_topic_rule(ruleName=mine, topicRulePayload=payload("SELECT c FROM 'x/#'", "nowhere"))
        await until(lambda: "nowhere" in source.health().detail and engine.rule(mine) is None)
        for name in (mine, wrong, hidden, deployed):
            aws.iot.delete_topic_rule(ruleName=name)
        await until(lambda: source.health().detail == "")
        assert [rule.name for rule in engine.rules] == [hidden]
        group.cancel_scope.cancel()


async def test_an_unreachable_control_plane_is_reported_and_asked_again() -> None:
    engine = Engine()
    away = client("iot", "http://127.0.0.1:9")
    source = RuleSource(engine, file_rules=[Rule(name="r", sql="SELECT * FROM 'a'")], iot=away, interval=0.05)
    async with anyio.create_task_group() as group:
        await group.start(lambda task_status: source.run(task_status=task_status))
        assert engine.rule("r") is not None
        assert "127.0.0.1:9" in source.health().detail
        await until(lambda: source.health().counters["poll_errors"] > 1)
        group.cancel_scope.cancel()


def test_what_a_function_could_not_ask_is_shown_with_its_mend() -> None:
    services = AwsServices(lambda service: client(service, "http://127.0.0.1:9"))
    rule = Rule(name="r", sql="SELECT get_thing_shadow('t', 'role') AS s, 1 AS n FROM 'dt/#'")
    engine = Engine([rule], services=services)
    source = RuleSource(engine, file_rules=[rule], services=services)
    assert (source.health().detail, source.health().counters["unanswered"]) == ("", 0)
    (match,) = engine.match(message(1))
    assert match.result == {"n": 1}  # Undefined fails no rule
    health = source.health()
    assert health.counters["unanswered"] == 1
    assert "get_thing_shadow(): AWS cannot be reached" in health.detail
    assert "127.0.0.1:9" in health.detail
    assert "fix: see that the service at that address runs" in health.detail
