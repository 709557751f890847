"""Every action against the real emulator: what a message makes of the rule's settings, and what AWS would see."""

import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, ClassVar

import anyio
import pytest
from anyio import to_thread
from conftest import Aws

from contracts.clock import SystemClock
from contracts.errors import ConfigError, Transient
from contracts.messages import Message, PublishProperties
from contracts.streams import BatchStream
from pipeline.actions import ActionContext, Actions
from pipeline.actions.destinations import Destinations
from pipeline.aws.rule_services import AwsServices
from pipeline.router import Router
from pipeline.rules.engine import Engine, Rule

pytestmark = pytest.mark.anyio

PAYLOAD = b'{"device": "m-7", "temperature": 61.5, "level": "WARN", "n": 3}'


class Devices:
    """A broker that keeps what is republished, after failing as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.published: list[tuple[str, bytes, int, PublishProperties | None]] = []

    async def republish(
        self, topic: str, payload: bytes, *, qos: int = 0, properties: PublishProperties | None = None
    ) -> None:
        if self.failures:
            self.failures -= 1
            raise Transient("no room", fix="again")
        self.published.append((topic, payload, qos, properties))


@asynccontextmanager
async def routing(aws: Aws, rules: Sequence[Rule], **context: Any) -> AsyncIterator[tuple[Router, Any]]:
    stream: BatchStream[Message] = BatchStream("messages", capacity=100)
    client = aws.factory.client
    actions = Actions(
        ActionContext(sns=client("sns"), topics=aws.resources.sns_topics, clients=client, **context)
    )
    engine = Engine(rules, services=AwsServices(client))
    router = Router("router", stream, engine, actions, linger=0, clock=SystemClock())
    async with anyio.create_task_group() as group:
        await group.start(lambda task_status: router.run(task_status=task_status))

        async def send(*payloads: bytes, topic: str = "dt/meter/m-7") -> dict[str, int]:
            for number, payload in enumerate(payloads):
                stream.offer(
                    Message(f"id-{number}", "m-7", "p", topic, payload, 1, False, 1_700_000_000_000_000_000)
                )
            with anyio.fail_after(20):
                await router.drain()
            return dict(router.health().counters)

        yield router, send
        group.cancel_scope.cancel()


def rule(*actions: dict[str, Any], sql: str = "SELECT * FROM 'dt/#'", **options: Any) -> Rule:
    return Rule(name="r", sql=sql, actions=actions, **options)


async def test_a_message_reaches_ten_actions_of_one_rule(provisioned: Aws) -> None:
    """Storage and streams: the settings are filled in from the original payload, aliases are not seen."""
    aws, name = provisioned, provisioned.prefix
    sqs, s3, kinesis, db = (aws.client(one) for one in ("sqs", "s3", "kinesis", "dynamodb"))
    queue = sqs.create_queue(QueueName=f"{name}-q")["QueueUrl"]
    coded = sqs.create_queue(QueueName=f"{name}-64")["QueueUrl"]
    s3.create_bucket(Bucket=f"{name}-b")
    kinesis.create_stream(StreamName=f"{name}-s", ShardCount=1)
    for table, sort in ((f"{name}-one", "at"), (f"{name}-two", "")):
        keys = [{"AttributeName": "device", "KeyType": "HASH"}] + (
            [{"AttributeName": sort, "KeyType": "RANGE"}] if sort else []
        )
        types = [{"AttributeName": "device", "AttributeType": "S"}] + (
            [{"AttributeName": sort, "AttributeType": "N"}] if sort else []
        )
        db.create_table(
            TableName=table, KeySchema=keys, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST"
        )
    devices = Devices()
    rules = [
        rule(
            {"sqs": {"queueUrl": queue, "roleArn": "arn:aws:iam::1:role/x"}},
            {"sqs": {"queueUrl": f"{name}-64", "useBase64": True}},
            {"s3": {"bucketName": f"{name}-b", "key": "${topic(2)}/${device}/${timestamp()}"}},
            {"kinesis": {"streamName": f"{name}-s", "partitionKey": "${device}"}},
            {"dynamoDB": {"tableName": f"{name}-one", "hashKeyField": "device", "hashKeyValue": "${device}",
                          "rangeKeyField": "at", "rangeKeyType": "NUMBER", "rangeKeyValue": "${timestamp()}",
                          "payloadField": "reading"}},
            {"dynamoDBv2": {"putItem": {"tableName": f"{name}-two"}}},
            {"republish": {"topic": "$$aws/things/${device}/shadow/update", "qos": 1, "headers": {
                "payloadFormatIndicator": "UTF8_DATA", "contentType": "application/${'json'}",
                "correlationData": base64.b64encode(b"c").decode(), "messageExpiry": "${n * 10}",
                "userProperties": [{"key": "level", "value": "${level}"}]}}},
            {"sns": {"targetArn": "alerts"}},
            sql="SELECT device, temperature, [n, level] AS more FROM 'dt/#' WHERE temperature > 50",
        )
    ]  # fmt: skip
    async with routing(aws, rules, republisher=devices) as (_, send):
        counters = await send(PAYLOAD)
    assert counters["failed"] == 0
    expected = {"device": "m-7", "temperature": 61.5, "more": [3, "WARN"]}
    (plain,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(plain["Body"]) == expected
    (encoded,) = sqs.receive_message(QueueUrl=coded)["Messages"]
    assert json.loads(base64.b64decode(encoded["Body"])) == expected
    key = "meter/m-7/1700000000000"
    assert json.loads(s3.get_object(Bucket=f"{name}-b", Key=key)["Body"].read()) == expected
    shard = kinesis.describe_stream(StreamName=f"{name}-s")["StreamDescription"]["Shards"][0]["ShardId"]
    position = kinesis.get_shard_iterator(
        StreamName=f"{name}-s", ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    (record,) = kinesis.get_records(ShardIterator=position)["Records"]
    assert (json.loads(record["Data"]), record["PartitionKey"]) == (expected, "m-7")
    (row,) = db.scan(TableName=f"{name}-one")["Items"]
    assert row["at"] == {"N": "1700000000000"}
    assert row["reading"]["M"]["temperature"] == {"N": "61.5"}
    (item,) = db.scan(TableName=f"{name}-two")["Items"]
    assert item == {
        "device": {"S": "m-7"},
        "temperature": {"N": "61.5"},
        "more": {"L": [{"N": "3"}, {"S": "WARN"}]},
    }
    told = PublishProperties(1, "application/json", None, b"c", 30, (("level", "WARN"),))
    ((topic, payload, qos, properties),) = devices.published
    assert (topic, qos, properties) == ("$aws/things/m-7/shadow/update", 1, told)
    assert json.loads(payload) == expected


async def test_the_operations_of_dynamodb_and_its_refusals(provisioned: Aws) -> None:
    aws, table = provisioned, f"{provisioned.prefix}-t"
    db, sqs = aws.client("dynamodb"), aws.client("sqs")
    db.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "device", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "device", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    errors = sqs.create_queue(QueueName=f"{provisioned.prefix}-errors")["QueueUrl"]
    action = {
        "dynamoDB": {
            "tableName": table,
            "hashKeyField": "device",
            "hashKeyValue": "${device}",
            "operation": "${op}",
        }
    }
    wrong = {"dynamoDBv2": {"putItem": {"tableName": table}}}
    failing = rule(
        action, wrong, sql="SELECT VALUE n FROM 'dt/#'", error_action={"sqs": {"queueUrl": errors}}
    )
    async with routing(aws, [failing]) as (_, send):
        for op, left in (("INSERT", {"N": "1"}), ("UPDATE", {"N": "2"}), ("DELETE", None)):
            number = 1 if op == "INSERT" else 2
            await send(json.dumps({"device": "d", "op": op, "n": number}).encode())
            items = db.scan(TableName=table)["Items"]
            assert items == ([{"device": {"S": "d"}, "payload": left}] if left else [])
        counters = await send(b'{"device": "d", "op": "DROP", "n": 1}')
    assert counters["error_actions"] == 4
    told = [
        json.loads(one["Body"])
        for one in sqs.receive_message(QueueUrl=errors, MaxNumberOfMessages=10)["Messages"]
    ]
    assert told[-1]["ruleName"] == "r"
    assert told[-1]["topic"] == "dt/meter/m-7"
    assert json.loads(base64.b64decode(told[-1]["base64OriginalPayload"]))["op"] == "DROP"
    failed = {one["failedAction"]: one for one in told[-1]["failures"]}
    assert failed["DynamoDBAction"]["failedResource"] == table
    assert "DROP" in failed["DynamoDBAction"]["errorMessage"]
    assert "object" in failed["DynamoDBv2Action"]["errorMessage"]


async def test_operations_services_cloudwatch_and_step_functions(provisioned: Aws) -> None:
    aws, name = provisioned, provisioned.prefix
    watch, logs, steps = (aws.client(one) for one in ("cloudwatch", "logs", "stepfunctions"))
    logs.create_log_group(logGroupName=f"{name}-group")
    logs.create_log_group(logGroupName=f"{name}-batch")
    watch.put_metric_alarm(
        AlarmName=f"{name}-alarm", MetricName="m", Namespace="n", Statistic="Sum", Period=60,
        EvaluationPeriods=1, Threshold=1.0, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    machine = {"StartAt": "S", "States": {"S": {"Type": "Pass", "End": True}}}
    arn = steps.create_state_machine(
        name=f"{name}-machine", definition=json.dumps(machine), roleArn="arn:aws:iam::000000000000:role/r"
    )["stateMachineArn"]
    rules = [
        rule(
            {"cloudwatchMetric": {"metricName": "temperature", "metricNamespace": f"{name}/${{topic(2)}}",
                                  "metricUnit": "None", "metricValue": "${temperature}"}},
            {"cloudwatchLogs": {"logGroupName": f"{name}-group"}},
            {"cloudwatchAlarm": {"alarmName": f"{name}-alarm", "stateReason": "${level}", "stateValue": "ALARM"}},
            {"stepFunctions": {"stateMachineName": f"{name}-machine", "executionNamePrefix": "${device}-"}},
        ),
        Rule(name="batch", sql="SELECT VALUE [{'timestamp': timestamp(), 'message': level}] FROM 'dt/#'",
             actions=({"cloudwatchLogs": {"logGroupName": f"{name}-batch", "batchMode": True}},)),
    ]  # fmt: skip
    async with routing(aws, rules) as (router, send):
        counters = await send(PAYLOAD)
        assert counters["failed"] == 0, router.health().detail
    listed = watch.list_metrics(Namespace=f"{name}/meter")["Metrics"]
    assert [one["MetricName"] for one in listed] == ["temperature"]
    assert watch.describe_alarms(AlarmNames=[f"{name}-alarm"])["MetricAlarms"][0]["StateValue"] == "ALARM"
    for group, message in ((f"{name}-group", json.loads(PAYLOAD)), (f"{name}-batch", "WARN")):
        (event,) = logs.filter_log_events(logGroupName=group)["events"]
        text = event["message"]
        assert (json.loads(text) if text.startswith("{") else text) == message
    (execution,) = steps.list_executions(stateMachineArn=arn)["executions"]
    assert execution["name"].startswith("m-7-")


CODE = """
def handler(event, context):
    return {"doubled": 2 * event["n"], "level": event.get("level")}
"""


def _function(aws: Aws, name: str) -> str:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("code.py", CODE)
    made = aws.client("lambda").create_function(
        FunctionName=name, Runtime="python3.11", Role="arn:aws:iam::000000000000:role/r",
        Handler="code.handler", Code={"ZipFile": archive.getvalue()},
    )  # fmt: skip
    # the emulator's first call starts an interpreter, which on a busy machine takes more than a rule's two seconds
    aws.client("lambda").invoke(FunctionName=name, Payload=b'{"n": 0}')
    return str(made["FunctionArn"])


async def test_functions_ask_the_services_of_the_backend(provisioned: Aws) -> None:
    """Tier 3: a shadow, an item, a function, the registry, a secret; Undefined where there is no answer."""
    aws, name = provisioned, provisioned.prefix
    function = _function(aws, f"{name}-f")
    iot, queue = aws.client("iot"), aws.client("sqs").create_queue(QueueName=f"{name}-q")["QueueUrl"]
    iot.create_thing(thingName=f"{name}-thing", attributePayload={"attributes": {"site": "north"}})
    shadow = json.dumps({"state": {"reported": {"alarm": "ON"}}}).encode()
    aws.client("iot-data").update_thing_shadow(thingName=f"{name}-thing", payload=shadow)
    aws.client("secretsmanager").create_secret(Name=f"{name}-secret", SecretString='{"API_KEY": "k-1"}')
    db = aws.client("dynamodb")
    db.create_table(
        TableName=f"{name}-t",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    db.put_item(TableName=f"{name}-t", Item={"id": {"S": "m-7"}, "location": {"M": {"lat": {"N": "47.5"}}}})
    sql = (
        f"SET @thing = '{name}-thing' "
        f"SELECT get_dynamodb('{name}-t', 'id', device, 'role').location AS location, "
        f"aws_lambda('{function}', {{'n': n, 'level': level}}).doubled AS doubled, "
        "get_registry_data('DescribeThing', @thing, 'role').attributes.site AS site, "
        f"get_secret('{name}-secret', 'SecretString', 'API_KEY', 'role') AS k, "
        "get_thing_shadow('nobody', 'role') AS missing, "
        f"get_secret('{name}-none', 'SecretString', 'role') AS none "
        "FROM 'dt/#' WHERE get_thing_shadow(@thing, 'role').state.reported.alarm = 'ON'"
    )
    invoked = Rule(name="l", sql="SELECT * FROM 'dt/#'", actions=({"lambda": {"functionArn": function}},))
    async with routing(aws, [rule({"sqs": {"queueUrl": queue}}, sql=sql), invoked]) as (_, send):
        counters = await send(PAYLOAD)
    assert (counters["failed"], counters["lambda"]) == (0, 1)
    (body,) = aws.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(body["Body"]) == {"location": {"lat": 47.5}, "doubled": 6, "site": "north", "k": "k-1"}


class Service(BaseHTTPRequestHandler):
    """A web service that keeps what it is sent, and fails as often as `failures` say."""

    requests: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []
    failures: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.requests.append((self.path, dict(self.headers), body))
        confirmation = "x-amz-rules-engine-message-type" in self.headers
        self.send_response(self.failures.pop(0) if self.failures and not confirmation else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


async def test_http_asks_first_and_is_tried_three_times(provisioned: Aws) -> None:
    service = HTTPServer(("127.0.0.1", 0), Service)
    thread = Thread(target=service.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{service.server_port}"
    destinations = Destinations()
    action = {"http": {"url": f"{url}/in/${{device}}", "confirmationUrl": url,
                       "headers": [{"key": "X-Level", "value": "${level}"}]}}  # fmt: skip
    async with routing(provisioned, [rule(action)], destinations=destinations) as (router, send):
        counters = await send(PAYLOAD)
        assert (counters["failed"], counters["http"]) == (1, 0)
        assert "not confirmed" in router.health().detail
        path, headers, body = Service.requests.pop()
        told = json.loads(body)
        assert path == f"/?confirmationToken={told['confirmationToken']}"
        assert told["messageType"] == headers["x-amz-rules-engine-message-type"] == "DestinationConfirmation"
        assert not destinations.confirm("another")
        assert destinations.confirm(told["confirmationToken"])
        Service.failures = [500, 429]
        counters = await send(PAYLOAD)
        assert (counters["failed"], counters["http"], counters["retries"]) == (1, 1, 2)
        assert [path for path, _, _ in Service.requests] == ["/in/m-7"] * 3
        assert Service.requests[0][1]["x-level"] == "WARN"
        assert Service.requests[0][1]["content-type"] == "application/json"
        assert Service.requests[0][2].replace(b" ", b"") == PAYLOAD.replace(b" ", b"")
        Service.failures = [500, 503, 500]
        assert (await send(PAYLOAD))["failed"] == 2
        Service.failures = [404]
        assert (await send(PAYLOAD))["failed"] == 3
        assert len(Service.requests) == 7
    await to_thread.run_sync(service.shutdown)
    service.server_close()
    Service.requests.clear()


async def test_actions_fail_each_for_itself(provisioned: Aws) -> None:
    aws, name = provisioned, provisioned.prefix
    queue = aws.client("sqs").create_queue(QueueName=f"{name}-q")["QueueUrl"]
    rules = [
        rule(
            {"s3": {"bucketName": f"{name}-none", "key": "k"}},
            {"lambda": {"functionArn": f"{name}-none"}},
            {"republish": {"topic": "a/${missing}/#"}},
            {"republish": {"topic": "ok"}},
            {"stepFunctions": {"stateMachineName": f"{name}-none"}},
            {"sqs": {"queueUrl": queue}},
            error_action={"republish": {"topic": "errors/${topic(2)}"}},
        )
    ]
    devices = Devices(failures=1)
    async with routing(aws, rules, republisher=devices) as (_, send):
        counters = await send(PAYLOAD, b"\xff\x00")
    assert counters["sqs"] == 1  # the binary payload is no text
    failures = [json.loads(body) for topic, body, _, _ in devices.published if topic == "errors/meter"]
    kinds = sorted(one["failedAction"] for one in failures[0]["failures"])
    assert kinds == ["LambdaAction", "RepublishAction", "S3Action", "StepFunctionsAction"]
    assert len(failures) == 2
    assert sum(topic == "ok" for topic, _, _, _ in devices.published) == 2


async def test_a_backend_that_lacks_an_action_or_a_service_refuses_the_rule(provisioned: Aws) -> None:
    lacking = ActionContext(clients=provisioned.factory.client, lacks={"kinesis": "no"}, silent={"iot": "no"})
    for wrong in (
        rule({"kinesis": {"streamName": "s"}}),
        rule({"kinesis": {"streamName": "${topic()}"}}),
        rule(sql="SELECT get_registry_data('DescribeThing', 'x', 'r') AS x FROM 'a'"),
        rule({"republish": {"topic": "x"}}),
        rule({"http": {"url": "https://x"}}),
    ):
        with pytest.raises(ConfigError) as caught:
            Actions(lacking).prepare(wrong)
        assert caught.value.fix
