"""What AWS says and no emulator does: refused change sets, stacks that roll back, services that fail. By botocore's stubs."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from contracts.errors import Misconfigured, Terminal, Transient
from contracts.shadows import ShadowError
from pipeline.aws import deploying
from pipeline.aws.deploying import Deployment
from pipeline.aws.rule_services import SECRET_SECONDS, AwsServices
from pipeline.aws.session import ClientFactory, translate
from pipeline.aws.shadows import IotDataShadows
from pipeline.rules.values import UNDEFINED

STACK = "cloud"


class Account:
    """Clients that answer with what is queued, and fail the test for any other call."""

    def __init__(self) -> None:
        self.factory = ClientFactory(backend="aws", endpoint="http://127.0.0.1:9")
        self._stubs: dict[str, Stubber] = {}

    def stub(self, service: str) -> Stubber:
        if service not in self._stubs:
            self._stubs[service] = Stubber(self.factory.client(service))
            self._stubs[service].activate()
        return self._stubs[service]

    def nothing_is_left(self) -> None:
        for stub in self._stubs.values():
            stub.assert_no_pending_responses()


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    made = Account()
    who = {"Account": "123456789012", "UserId": "u", "Arn": "arn:aws:iam::123456789012:user/u"}
    made.stub("sts").add_response("get_caller_identity", who)
    yield made
    made.nothing_is_left()


def deployment(account: Account) -> Deployment:
    return Deployment(account.factory, prefix=STACK, poll=0)


def stack_is(account: Account, status: str) -> None:
    told = {"StackName": STACK, "CreationTime": "2026-11-01T00:00:00Z", "StackStatus": status}
    account.stub("cloudformation").add_response("describe_stacks", {"Stacks": [told]}, {"StackName": STACK})


def change_set(account: Account, *answers: dict[str, Any]) -> None:
    """One is made for a stack that is there, and looked at until the last of these answers."""
    stub = account.stub("cloudformation")
    stack_is(account, "UPDATE_COMPLETE")
    stub.add_response("create_change_set", {}, None)
    for answer in answers:
        stub.add_response("describe_change_set", answer, {"StackName": STACK, "ChangeSetName": ANY})


def forgotten(account: Account, error: str = "") -> None:
    """At the end it is removed."""
    stub = account.stub("cloudformation")
    stack_is(account, "UPDATE_COMPLETE")
    if error:
        stub.add_client_error("delete_change_set", error, "no")
    else:
        stub.add_response("delete_change_set", {}, {"StackName": STACK, "ChangeSetName": ANY})


def failed(reason: str) -> dict[str, Any]:
    return {"Status": "FAILED", "StatusReason": reason}


CHANGE = {
    "Status": "CREATE_COMPLETE",
    "Changes": [
        {"ResourceChange": {"Action": "Modify", "LogicalResourceId": "Handler", "ResourceType": "AWS::Lambda::Function"}},
        {"ResourceChange": {"Action": "Modify", "LogicalResourceId": "Table", "ResourceType": "AWS::DynamoDB::Table", "Replacement": "True"}},
    ],
}  # fmt: skip


def test_a_change_set_that_changes_nothing_fails_on_aws(account: Account) -> None:
    change_set(
        account, {"Status": "CREATE_IN_PROGRESS"}, failed("The submitted information didn't contain changes.")
    )
    forgotten(account, "ChangeSetNotFound")
    assert deployment(account).preview() == []


def test_a_refused_change_is_told_with_its_reason(account: Account) -> None:
    change_set(account, failed("Template error: Fn::GetAtt references undefined resource X"))
    forgotten(account)
    with pytest.raises(Terminal, match=r"refused: Template error: .* undefined resource X") as told:
        deployment(account).preview()
    assert "cfn-lint" in told.value.fix


def test_who_may_not_remove_a_change_set_is_told(account: Account) -> None:
    change_set(account, failed("No updates are to be performed."))
    forgotten(account, "AccessDenied")
    with pytest.raises(Terminal, match="DeleteChangeSet failed: AccessDenied"):
        deployment(account).preview()


def test_a_change_set_that_does_not_come_is_no_endless_wait(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying, "DEADLINE_SECONDS", 0.0)
    change_set(account)
    forgotten(account)
    with pytest.raises(Transient, match="not ready"):
        deployment(account).preview()


def executed(account: Account, *statuses: str) -> None:
    """A deployment that changes something, and what becomes of the stack."""
    account.stub("sts").add_response("get_caller_identity", {"Account": "123456789012", "UserId": "u", "Arn": "arn:aws:iam::123456789012:user/u"})  # fmt: skip
    account.stub("s3").add_client_error("create_bucket", "BucketAlreadyOwnedByYou", "yours")
    account.stub("s3").add_response("put_object", {})
    change_set(account, CHANGE, CHANGE)
    account.stub("cloudformation").add_response(
        "execute_change_set", {}, {"StackName": STACK, "ChangeSetName": ANY}
    )
    for status in statuses:
        stack_is(account, status)


def test_what_was_replaced_is_told_when_the_stack_is_there(account: Account) -> None:
    executed(account, "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")
    forgotten(account, "InvalidChangeSetStatus")
    told: list[str] = []
    changes = deployment(account).execute(told.append)
    assert [(one.logical_id, one.replaced) for one in changes] == [("Handler", False), ("Table", True)]
    assert told[0].startswith("handler: ")
    assert "UPDATE_COMPLETE" in told[-1]


def test_a_stack_that_rolled_back_says_why(account: Account) -> None:
    executed(account, "ROLLBACK_COMPLETE")
    events = [
        {"LogicalResourceId": name, "ResourceStatus": status, "ResourceStatusReason": why,
         "StackId": "s", "EventId": name, "StackName": STACK, "Timestamp": "2026-11-01T00:00:00Z"}
        for name, status, why in (("Table", "CREATE_FAILED", "it exists"), ("Topic", "CREATE_COMPLETE", ""))
    ]  # fmt: skip
    account.stub("cloudformation").add_response("describe_stack_events", {"StackEvents": events})
    forgotten(account)
    with pytest.raises(Terminal, match="ended in ROLLBACK_COMPLETE: Table: it exists"):
        deployment(account).execute(lambda _line: None)


def test_a_bucket_of_somebody_else_stops_it_before_anything_is_made(account: Account) -> None:
    account.stub("s3").add_client_error("create_bucket", "BucketAlreadyExists", "not yours")
    with pytest.raises(Terminal, match="BucketAlreadyExists"):
        deployment(account).execute(lambda _line: None)


@pytest.fixture
def services(account: Account) -> tuple[AwsServices, Account]:
    account.factory.client("sts").get_caller_identity()
    return AwsServices(account.factory.client), account


def test_a_secret_is_asked_for_again_after_a_quarter_of_an_hour(account: Account) -> None:
    account.factory.client("sts").get_caller_identity()
    now = 0.0
    asked = AwsServices(account.factory.client, clock=lambda: now)
    for text in ("one", "two"):
        account.stub("secretsmanager").add_response(
            "get_secret_value", {"SecretString": text}, {"SecretId": "s"}
        )
    assert (asked.secret("s"), asked.secret("s")) == ("one", "one")
    now = SECRET_SECONDS + 1
    assert asked.secret("s") == "two"


def test_an_item_comes_as_plain_values(services: tuple[AwsServices, Account]) -> None:
    asked, account = services
    item = {
        "n": {"N": "1.50"},
        "tags": {"SS": ["a"]},
        "l": {"L": [{"N": "7"}, {"NULL": True}]},
        "b": {"B": b"7"},
        "t": {"BOOL": True},
    }
    stub = account.stub("dynamodb")
    stub.add_response("get_item", {"Item": item}, {"TableName": "t", "Key": {"k": {"S": "x"}}})
    stub.add_response("get_item", {}, {"TableName": "t", "Key": {"k": {"S": "y"}}})
    told = asked.item("t", {"k": "x"})
    assert told == {"n": 1.5, "tags": ["a"], "l": [7, None], "b": "Nw==", "t": True}
    assert asked.item("t", {"k": "y"}) is UNDEFINED
    assert asked.failures == 0


def test_a_function_that_fails_is_undefined_counted_and_told(services: tuple[AwsServices, Account]) -> None:
    asked, account = services
    for error, body in (({}, b'{"n": 1}'), ({"FunctionError": "Unhandled"}, b'{"errorMessage": "no"}')):
        payload = StreamingBody(io.BytesIO(body), len(body))
        account.stub("lambda").add_response("invoke", {"StatusCode": 200, "Payload": payload, **error})
    assert asked.invoke("f", {}) == {"n": 1}
    assert asked.invoke("f", {}) is UNDEFINED
    assert (asked.failures, asked.last_failure) == (1, 'aws_lambda(): f failed: {"errorMessage": "no"}')


@pytest.mark.anyio
async def test_a_shadow_that_is_refused_tells_the_device_and_one_that_fails_tells_us(
    account: Account,
) -> None:
    account.factory.client("sts").get_caller_identity()
    data = account.stub("iot-data")
    shadows = IotDataShadows(account.factory.client("iot-data"))
    data.add_client_error("get_thing_shadow", "ResourceNotFoundException", "none", 404)
    assert await shadows.get("t", "") is None
    data.add_client_error("update_thing_shadow", "ConflictException", "another version", 409)
    with pytest.raises(ShadowError) as refused:
        await shadows.update("t", "n", {"state": {}})
    assert refused.value.code == 409
    data.add_client_error("get_thing_shadow", "InvalidRequestException", "bad name", 400)
    with pytest.raises(ShadowError):
        await shadows.get("t", "")
    data.add_client_error("get_thing_shadow", "InternalFailureException", "oh", 500)
    with pytest.raises(Transient):
        await shadows.get("t", "")
    document = {"state": {"reported": {"a": 1}, "delta": {"a": 2}}, "version": 3}
    body = json.dumps(document).encode()
    data.add_response("get_thing_shadow", {"payload": StreamingBody(io.BytesIO(body), len(body))})
    assert await shadows.get("t", "") == {"state": {"reported": {"a": 1}}, "metadata": {}, "version": 3}


def test_a_client_without_credentials_is_for_a_person() -> None:
    told = translate(NoCredentialsError())
    assert isinstance(told, Misconfigured)
    assert "credentials" in told.what
    assert told.fix
