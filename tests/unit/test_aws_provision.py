"""Resources that are there already, or are not as they should be: what provisioning says of each. By botocore's stubs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from contracts.errors import ConfigError, Terminal
from pipeline.aws import provision
from pipeline.aws.session import ClientFactory
from pipeline.aws.template import Template

Making = tuple[ClientFactory, Stubber]

KEYS = [{"AttributeName": "id", "KeyType": "HASH"}]
TYPES = [{"AttributeName": "id", "AttributeType": "S"}]
STREAM = {"StreamViewType": "NEW_AND_OLD_IMAGES"}
TABLE = {
    "TableName": "t",
    "KeySchema": KEYS,
    "AttributeDefinitions": TYPES,
    "BillingMode": "PAY_PER_REQUEST",
    "StreamSpecification": STREAM,
    "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True},
}


def stubbed(service: str, *, backend: str = "embedded") -> Making:
    factory = ClientFactory(backend=backend, endpoint="http://127.0.0.1:9")
    stub = Stubber(factory.client(service))
    stub.activate()
    return factory, stub


def made(kind: str, factory: ClientFactory, told: Mapping[str, Any]) -> dict[str, str]:
    return provision._MAKERS[kind](factory, told)


@pytest.mark.parametrize("error", ["", "BucketAlreadyOwnedByYou", "BucketAlreadyExists"])
def test_a_bucket_is_made_or_there(error: str) -> None:
    factory, stub = stubbed("s3")
    if error:
        stub.add_client_error("create_bucket", error, "there")
    else:
        stub.add_response("create_bucket", {}, {"Bucket": "b"})
    assert made("AWS::S3::Bucket", factory, {"BucketName": "b"}) == {"Ref": "b", "Arn": "arn:aws:s3:::b"}


def test_a_bucket_that_cannot_be_made_is_an_error() -> None:
    factory, stub = stubbed("s3")
    stub.add_client_error("create_bucket", "InvalidBucketName", "no")
    with pytest.raises(ClientError, match="InvalidBucketName"):
        made("AWS::S3::Bucket", factory, {"BucketName": "b"})


def table_is(stub: Stubber, **changed: Any) -> None:
    told = {
        "KeySchema": KEYS,
        "AttributeDefinitions": TYPES,
        "StreamSpecification": {"StreamEnabled": True, **STREAM},
    }
    stub.add_response(
        "describe_table", {"Table": {"TableStatus": "ACTIVE", **told, **changed}}, {"TableName": "t"}
    )


def test_a_table_that_is_there_with_the_same_shape_is_taken() -> None:
    factory, stub = stubbed("dynamodb")
    stub.add_client_error("create_table", "ResourceInUseException", "there")
    table_is(stub)
    table_is(stub)  # the waiter's
    stub.add_client_error("update_time_to_live", "ValidationException", "TimeToLive is already enabled")
    assert made("AWS::DynamoDB::Table", factory, TABLE) == {"Ref": "t"}
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (
            {"AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "N"}]},
            "has keys id:N, and id:S is needed",
        ),
        (
            {"StreamSpecification": {"StreamEnabled": False}},
            "has a stream of nothing, and NEW_AND_OLD_IMAGES is needed",
        ),
        (
            {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}},
            "has a stream of KEYS_ONLY, and NEW_AND_OLD_IMAGES is needed",
        ),
    ],
)
def test_a_table_of_another_shape_is_told_with_both(changed: Any, what: str) -> None:
    factory, stub = stubbed("dynamodb")
    stub.add_client_error("create_table", "ResourceInUseException", "there")
    table_is(stub, **changed)
    with pytest.raises(Terminal) as caught:
        made("AWS::DynamoDB::Table", factory, TABLE)
    assert caught.value.what == f"DynamoDB: the table t {what}"
    assert "aws.prefix" in caught.value.fix


def test_a_table_that_cannot_be_made_or_ended_in_time_is_an_error() -> None:
    factory, stub = stubbed("dynamodb")
    stub.add_client_error("create_table", "LimitExceededException", "too many")
    with pytest.raises(ClientError, match="too many"):
        made("AWS::DynamoDB::Table", factory, TABLE)
    stub.add_response("create_table", {}, None)
    table_is(stub)
    stub.add_client_error("update_time_to_live", "LimitExceededException", "later")
    with pytest.raises(ClientError, match="later"):
        made("AWS::DynamoDB::Table", factory, TABLE)


def test_a_queue_without_attributes_keeps_those_it_has() -> None:
    factory, stub = stubbed("sqs")
    for wanted in ({}, {"VisibilityTimeout": 7, "RedrivePolicy": {"maxReceiveCount": 5}}):
        stub.add_response("create_queue", {"QueueUrl": "u"}, {"QueueName": "q"})
        if wanted:
            told = {"VisibilityTimeout": "7", "RedrivePolicy": '{"maxReceiveCount": 5}'}
            stub.add_response("set_queue_attributes", {}, {"QueueUrl": "u", "Attributes": told})
        stub.add_response("get_queue_attributes", {"Attributes": {"QueueArn": "arn:q"}})
        assert made("AWS::SQS::Queue", factory, {"QueueName": "q", **wanted}) == {"Ref": "u", "Arn": "arn:q"}
    stub.assert_no_pending_responses()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.mark.usefixtures("credentials")
def test_a_stack_of_an_older_template_is_told_with_what_it_lacks() -> None:
    factory, stub = stubbed("cloudformation", backend="aws")
    ids = [one.logical_id for one in Template({}).of_kind(*provision.MADE)]
    kept = [one for one in ids if one not in ("TelemetryTable", "AlertsTopic")]
    told = [
        {"LogicalResourceId": one, "PhysicalResourceId": one, "ResourceType": "T", "ResourceStatus": "CREATE_COMPLETE",
         "LastUpdatedTimestamp": "2026-11-01T00:00:00Z"}
        for one in kept
    ]  # fmt: skip
    stub.add_response("list_stack_resources", {"StackResourceSummaries": told}, {"StackName": "p"})
    with pytest.raises(Terminal, match="the stack 'p' lacks ") as caught:
        provision.provision(factory, prefix="p")
    assert caught.value.what.endswith(", ".join(sorted(set(ids) - set(kept))))
    assert "thingstorm deploy --backend aws" in caught.value.fix


@pytest.mark.usefixtures("credentials")
def test_who_may_not_look_at_the_stack_is_told() -> None:
    factory, stub = stubbed("cloudformation", backend="aws")
    stub.add_client_error("list_stack_resources", "AccessDenied", "not you")
    with pytest.raises(Terminal, match="AccessDenied") as caught:
        provision.provision(factory, prefix="p")
    assert "policy" in caught.value.fix


def test_a_bucket_that_nobody_may_see_is_not_told_as_missing() -> None:
    factory, stub = stubbed("s3")
    stub.add_client_error("head_bucket", "403", "Forbidden", http_status_code=403)
    with pytest.raises(ClientError, match="Forbidden"):
        provision._check_bucket(factory.client("s3"), "b")
    stub.add_client_error("head_bucket", "404", "Not Found", http_status_code=404)
    with pytest.raises(Terminal, match="the bucket b of the stack is not there"):
        provision._check_bucket(factory.client("s3"), "b")


def test_a_kind_that_nobody_makes_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        yaml.safe_dump(
            {"Parameters": {}, "Resources": {"A": {"Type": "AWS::Chess::Board", "Properties": {}}}}
        )
    )
    factory, _ = stubbed("s3")
    with pytest.raises(ConfigError, match="A is a AWS::Chess::Board, which no emulator is given"):
        provision._Making(Template({}, path=path), factory).make()
