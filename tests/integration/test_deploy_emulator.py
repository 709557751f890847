"""The template through CloudFormation for real, on the emulator's own: every service of it, Lambda included."""

import json
import time
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from conftest import Aws

from contracts.errors import ConfigError, Terminal
from pipeline.aws import package
from pipeline.aws.costs import Load, estimate
from pipeline.aws.deploying import Deployment, whole_template
from pipeline.aws.package import build_zip, key_of
from pipeline.aws.provision import Resources, provision
from pipeline.aws.session import ClientFactory

PREFIX = "cloud"


@pytest.fixture(scope="module")
def account(endpoint: str) -> Iterator[ClientFactory]:
    """An "account": clients of the backend aws, signed and validated, whose endpoint is the emulator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield ClientFactory(backend="aws", endpoint=endpoint)


@pytest.fixture(scope="module")
def deployed(account: ClientFactory) -> Resources:
    told: list[str] = []
    deployment = Deployment(account, prefix=PREFIX, poll=0.05)
    preview = deployment.preview()
    assert {one.logical_id for one in preview} == {one.logical_id for one in whole_template(PREFIX)}
    assert "cloud" not in [s["StackName"] for s in stacks(account)], "a preview leaves nothing behind"
    assert len(deployment.execute(told.append)) == len(preview)
    assert "CREATE_COMPLETE" in told[-1]
    return provision(account, prefix=PREFIX)


def stacks(account: ClientFactory) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = account.client("cloudformation").list_stacks()["StackSummaries"]
    return [one for one in found if one["StackStatus"] != "DELETE_COMPLETE"]


def reading(number: int) -> dict[str, Any]:
    return {
        "device_id": f"meter-{number}",
        "device_type": "meter",
        "topic": f"dt/meter/meter-{number}/reading",
        "message_id": f"m{number}",
        "received_at": 1_700_000_000_000 + number,
        "payload": {"n": number},
    }


def item(account: ClientFactory, deployed: Resources, number: int) -> dict[str, Any] | None:
    key = {
        "device_id": {"S": f"meter-{number}"},
        "event_id": {"S": f"{1_700_000_000_000 + number:013d}-m{number}"},
    }
    answer = account.client("dynamodb").get_item(TableName=deployed.tables["telemetry"], Key=key)
    found: dict[str, Any] | None = answer.get("Item")
    return found


@pytest.mark.timeout(120)  # the first to ask for it waits until the emulator has loaded every service
def test_a_message_goes_through_sns_sqs_and_lambda_to_the_table(
    account: ClientFactory, deployed: Resources
) -> None:
    account.client("sns").publish(TopicArn=deployed.sns_topics["telemetry"], Message=json.dumps(reading(1)))
    deadline = time.monotonic() + 40
    while (found := item(account, deployed, 1)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert json.loads(found["payload"]["S"]) == {"n": 1}


def test_the_packaged_handler_answers_as_lambda_wants_it(account: ClientFactory, deployed: Resources) -> None:
    arn = deployed.queue_arns["telemetry"]
    bodies = [json.dumps(reading(2)), "{broken", json.dumps(reading(3))]
    event = {
        "Records": [
            {"messageId": f"id{n}", "body": body, "eventSourceARN": arn} for n, body in enumerate(bodies)
        ]
    }
    answer = account.client("lambda").invoke(FunctionName=f"{PREFIX}-handler", Payload=json.dumps(event))
    assert "FunctionError" not in answer
    assert json.loads(answer["Payload"].read()) == {"batchItemFailures": [{"itemIdentifier": "id1"}]}
    assert item(account, deployed, 2)
    assert item(account, deployed, 3)


def test_what_was_deployed_is_found_and_has_what_the_template_says(
    account: ClientFactory, deployed: Resources
) -> None:
    assert set(deployed.sns_topics) == {"telemetry", "device-metrics", "device-events", "alerts", "alarms"}
    assert set(deployed.tables) == {"telemetry", "devices", "device_metrics"}
    assert deployed.bucket.startswith(f"{PREFIX}-archive-")
    rule = account.client("iot").get_topic_rule(ruleName=f"{PREFIX}_telemetry")["rule"]
    assert "FROM 'dt/#'" in rule["sql"]
    assert "errorAction" in rule
    mappings = account.client("lambda").list_event_source_mappings(FunctionName=f"{PREFIX}-handler")
    assert len(mappings["EventSourceMappings"]) == 3
    stream = account.client("firehose").describe_delivery_stream(DeliveryStreamName=f"{PREFIX}-archive")
    assert stream["DeliveryStreamDescription"]["DeliveryStreamStatus"] == "ACTIVE"


def test_deploying_again_changes_nothing(account: ClientFactory, deployed: Resources) -> None:
    told: list[str] = []
    assert Deployment(account, prefix=PREFIX, poll=0.05).execute(told.append) == []
    assert "nothing to change" in told[-1]


def test_without_a_stack_the_command_is_said(account: ClientFactory) -> None:
    with pytest.raises(Terminal, match="there is no stack 'nowhere'") as caught:
        provision(account, prefix="nowhere")
    assert "thingstorm deploy --backend aws" in caught.value.fix


def test_a_bucket_that_somebody_deleted_is_said(account: ClientFactory, deployed: Resources) -> None:
    s3 = account.client("s3")
    s3.delete_bucket(Bucket=deployed.bucket)
    with pytest.raises(
        Terminal, match=f"S3: the bucket {deployed.bucket} of the stack is not there"
    ) as caught:
        provision(account, prefix=PREFIX)
    assert f"create-bucket --bucket {deployed.bucket}" in caught.value.fix
    s3.create_bucket(Bucket=deployed.bucket)
    assert provision(account, prefix=PREFIX) == deployed


def test_a_table_of_another_shape_is_said(provisioned: Aws, unique: str) -> None:
    provisioned.client("dynamodb").create_table(
        TableName=f"{unique}x-telemetry",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(Terminal) as caught:
        provision(provisioned.factory, prefix=f"{unique}x")
    assert caught.value.what == (
        f"DynamoDB: the table {unique}x-telemetry has keys id:S, and device_id:S, event_id:S is needed"
    )
    assert "aws.prefix" in caught.value.fix


def test_tables_end_their_items_in_time(provisioned: Aws) -> None:
    for name, status in (("telemetry", "ENABLED"), ("device_metrics", "ENABLED"), ("devices", "DISABLED")):
        told = provisioned.client("dynamodb").describe_time_to_live(
            TableName=provisioned.resources.tables[name]
        )
        assert told["TimeToLiveDescription"]["TimeToLiveStatus"] == status


def test_what_was_deleted_is_made_again(provisioned: Aws) -> None:
    provisioned.client("s3").delete_bucket(Bucket=provisioned.resources.bucket)
    provisioned.client("sqs").delete_queue(QueueUrl=provisioned.resources.queues["telemetry"])
    assert provision(provisioned.factory, prefix=provisioned.prefix) == provisioned.resources
    provisioned.client("s3").head_bucket(Bucket=provisioned.resources.bucket)


def test_the_zip_is_the_handler_and_nothing_else() -> None:
    body = build_zip()
    names = zipfile.ZipFile(BytesIO(body)).namelist()
    assert "pipeline/ingest.py" in names
    assert all(name.startswith(("pipeline/", "contracts/")) and name.endswith(".py") for name in names)
    assert len(names) < 10
    assert body == build_zip(), "the same sources, the same bytes"
    assert key_of(body) != key_of(body + b"x")


def test_a_handler_with_another_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("")
    (tmp_path / "pipeline" / "part.py").write_text("import json\nfrom boto3 import client\n")
    (tmp_path / "pipeline" / "ingest.py").write_text("from . import part\nimport numpy as np\n")
    monkeypatch.setattr(package, "_ROOT", tmp_path)
    with pytest.raises(ConfigError, match=r"pipeline/ingest.py:2 imports numpy"):
        build_zip()
    (tmp_path / "pipeline" / "ingest.py").write_text("from .part import client\n")
    names = zipfile.ZipFile(BytesIO(build_zip())).namelist()
    assert names == ["pipeline/__init__.py", "pipeline/ingest.py", "pipeline/part.py"]


def test_the_estimate_grows_with_the_load_and_every_price_has_a_source() -> None:
    idle, some, more = (estimate(Load(rate)) for rate in (0, 100, 200))
    assert 0 < idle.total < some.total < more.total
    by_rate = {line.unit: line.quantity for line in some.lines}
    assert by_rate["messages of 5 KB"] == 100 * 730 * 3600
    assert sum(line.usd for line in some.lines) == pytest.approx(some.total)
    assert all(line.source.startswith("https://aws.amazon.com/") for line in some.lines)
    large = {line.unit: line.quantity for line in estimate(Load(100, payload=6_000)).lines}
    assert large["messages of 5 KB"] == 2 * by_rate["messages of 5 KB"]
    assert large["write request units of 1 KB"] > 6 * by_rate["write request units of 1 KB"]
