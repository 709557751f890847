"""Calls of which a service takes a part: what is tried again, what is refused, and that nothing is sent twice. By botocore's stubs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from anyio import CapacityLimiter
from aws_stubs import stubbed
from botocore.stub import Stubber

from pipeline.actions import sns as sns_action
from pipeline.actions.base import ActionContext, Item, Refused, Undelivered
from pipeline.actions.kinesis import KinesisAction
from pipeline.actions.sns import SnsAction
from pipeline.actions.sqs import SqsAction

pytestmark = pytest.mark.anyio

ARN = "arn:aws:sns:us-east-1:000000000000:t"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sns_action, "_PAUSE", 0.0)


def publishing(**options: Any) -> tuple[SnsAction, Stubber]:
    client, stub = stubbed("sns")
    topics = {"t": ARN} if options.pop("ours", False) else {}
    context = ActionContext(
        sns=client, topics=topics, limiter=CapacityLimiter(1)
    )  # the stub answers in order
    return SnsAction.build({"targetArn": ARN, **options}, context), stub


def published(stub: Stubber, bodies: Mapping[int, str], **failed: tuple[str, bool]) -> None:
    """One PublishBatch of these bodies; `failed` by id: the code, and whether it is the sender's fault."""
    entries = [{"Id": str(index), "Message": text} for index, text in bodies.items()]
    wrong = [
        {"Id": name[1:], "Code": code, "Message": "why", "SenderFault": fault}
        for name, (code, fault) in failed.items()
    ]
    right = [{"Id": one["Id"]} for one in entries if f"_{one['Id']}" not in failed]
    stub.add_response(
        "publish_batch",
        {"Successful": right, "Failed": wrong},
        {"TopicArn": ARN, "PublishBatchRequestEntries": entries},
    )


def items(*texts: str) -> Sequence[Item]:
    return [Item(text.encode()) for text in texts]


async def test_only_what_failed_for_a_moment_is_published_again() -> None:
    action, stub = publishing()
    published(stub, {0: "a", 1: "b", 2: "c"}, _0=("InternalError", False), _2=("Throttled", True))
    published(stub, {0: "a", 2: "c"}, _2=("ServiceUnavailable", False))
    published(stub, {2: "c"})
    await action.deliver(items("a", "b", "c"))
    stub.assert_no_pending_responses()


async def test_a_body_at_fault_is_refused_while_the_others_are_delivered() -> None:
    action, stub = publishing()
    published(stub, {0: "a", 1: "b"}, _0=("InvalidParameter", True))
    with pytest.raises(Refused, match="InvalidParameter: why") as caught:
        await action.deliver(items("a", "b"))
    assert caught.value.refused == {0: "InvalidParameter: why"}
    stub.assert_no_pending_responses()


async def test_after_three_tries_the_rest_is_handed_back() -> None:
    action, stub = publishing()
    published(stub, {0: "a", 1: "b"}, _0=("InvalidParameter", True), _1=("InternalError", False))
    for _ in range(2):
        published(stub, {1: "b"}, _1=("InternalError", False))
    with pytest.raises(Undelivered) as caught:
        await action.deliver(items("a", "b"))
    assert (caught.value.retry, caught.value.refused) == ((1,), {0: "InvalidParameter: why"})
    stub.assert_no_pending_responses()


async def test_a_call_refused_as_a_whole_is_tried_one_by_one() -> None:
    """One bad body must not take the others with it."""
    action, stub = publishing()
    stub.add_client_error("publish_batch", "InvalidParameter", "Invalid entry")
    published(stub, {0: "a"})
    stub.add_client_error("publish_batch", "InvalidParameter", "Invalid entry")
    published(stub, {2: "c"}, _2=("InternalError", False))
    published(stub, {2: "c"})
    with pytest.raises(Refused) as caught:
        await action.deliver(items("a", "b", "c"))
    assert caught.value.refused.keys() == {1}
    assert "Invalid entry" in caught.value.refused[1]
    stub.assert_no_pending_responses()


async def test_where_nobody_may_publish_a_lane_waits_and_a_rule_of_somebody_does_not() -> None:
    lane, stub = publishing(ours=True)
    for _ in range(3):
        stub.add_client_error("publish_batch", "AuthorizationError", "not you")
    with pytest.raises(Undelivered, match="not you") as waits:
        await lane.deliver(items("a"))
    assert waits.value.retry == (0,)
    action, stub = publishing()
    stub.add_client_error("publish_batch", "AuthorizationError", "not you")
    with pytest.raises(Refused, match="not you"):
        await action.deliver(items("a"))


async def test_a_lane_refuses_what_no_mend_would_help() -> None:
    lane, stub = publishing(ours=True)
    stub.add_client_error("publish_batch", "InvalidParameter", "Invalid entry")
    with pytest.raises(Refused, match="Invalid entry"):
        await lane.deliver(items("a"))


async def test_a_large_batch_goes_in_as_many_calls_as_the_limits_ask() -> None:
    action, stub = publishing()
    large = "x" * (sns_action.MAX_BYTES - 1)
    published(stub, {0: large})
    published(stub, {1: "bb", 2: "c"})
    await action.deliver(items(large, "bb", "c"))
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "fault", "again"),
    [("InternalError", False, True), ("Throttled", True, True), ("InvalidMessageContents", True, False)],
)
async def test_a_queue_that_takes_a_part(code: str, *, fault: bool, again: bool) -> None:
    client, stub = stubbed("sqs")
    action = SqsAction("https://sqs/q", lambda: client, CapacityLimiter(1))
    failed = [{"Id": "1", "Code": code, "Message": "why", "SenderFault": fault}]
    right = [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "d"}]
    stub.add_response("send_message_batch", {"Successful": right, "Failed": failed})
    with pytest.raises(Undelivered if again else Refused, match=f"{code}: why") as caught:
        await action.deliver(items("a", "b"))
    assert getattr(caught.value, "retry", ()) == ((1,) if again else ())
    assert caught.value.refused == ({} if again else {1: f"{code}: why"})


@pytest.mark.parametrize(("code", "again"), [("ThrottlingException", True), ("InvalidAddress", False)])
async def test_a_queue_that_takes_nothing(code: str, *, again: bool) -> None:
    client, stub = stubbed("sqs")
    action = SqsAction("https://sqs/q", lambda: client, CapacityLimiter(1))
    stub.add_client_error("send_message_batch", code, "no")
    with pytest.raises(Undelivered if again else Refused) as caught:
        await action.deliver([Item(b"a"), Item(b"\xff"), Item(b""), Item(b"d")])
    others = {1, 2} if again else {0, 1, 2, 3}
    assert caught.value.refused.keys() == others
    assert getattr(caught.value, "retry", ()) == ((0, 3) if again else ())


async def test_a_stream_hands_back_the_records_that_it_did_not_take() -> None:
    client, stub = stubbed("kinesis")
    action = KinesisAction("s", lambda: client, CapacityLimiter(1))
    records = [{"Data": text, "PartitionKey": "k"} for text in (b"a", b"b")]
    answer = [
        {"SequenceNumber": "1", "ShardId": "shardId-0"},
        {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "full"},
    ]
    stub.add_response("put_records", {"Records": answer}, {"StreamName": "s", "Records": records})
    given = [Item(one["Data"], None, {"partitionKey": "k"}) for one in records]
    with pytest.raises(Undelivered, match="ProvisionedThroughputExceededException: full") as caught:
        await action.deliver(given)
    assert caught.value.retry == (1,)
    for code, error in (("LimitExceededException", Refused), ("ThrottlingException", Undelivered)):
        stub.add_client_error("put_records", code, "no")
        with pytest.raises(error):
            await action.deliver(given)
