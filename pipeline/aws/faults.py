"""Faults of AWS services, played on our own clients: the emulator never throttles and never fails.

botocore asks its handlers before it sends; one that answers takes the service's place. So retries, backoff and
error translation are those of the real client.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

_THROTTLED = b'{"__type":"ProvisionedThroughputExceededException","message":"a fault of the scenario"}'
_FAILED = (
    b"<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code>"
    b"<Message>a fault of the scenario</Message></Error></ErrorResponse>"
)

Undo = Callable[[], None]


class _Raw:
    """A body that is read once, as botocore wants it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_args: Any, **_options: Any) -> Any:
        yield self._body


def throttle_writes(dynamodb: Any, share: float, dice: random.Random) -> Undo:
    """This share of the BatchWriteItem and UpdateItem calls is throttled, until the returned function is called."""

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        if dice.random() >= share:
            return None
        return _response(request, 400, "application/x-amz-json-1.0", _THROTTLED)

    return _hook(dynamodb, ("dynamodb.BatchWriteItem", "dynamodb.UpdateItem"), answer)


def fail_publishes(sns: Any, share: float, dice: random.Random) -> Undo:
    """This share of the Publish and PublishBatch calls fails with an error of the service."""

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        if dice.random() >= share:
            return None
        return _response(request, 500, "text/xml", _FAILED)

    return _hook(sns, ("sns.Publish", "sns.PublishBatch"), answer)


def delay_records(streams: Any, seconds: float) -> Undo:
    """GetRecords answers so much later. It is asked in a worker thread, which sleeps."""

    def wait(**_: Any) -> None:
        time.sleep(seconds)

    return _hook(streams, ("dynamodbstreams.GetRecords",), wait)


def delay_calls(clients: Sequence[Any], seconds: float) -> Undo:
    """Every call of these clients is sent so much later, by the worker thread that makes it."""

    def wait(**_: Any) -> None:
        time.sleep(seconds)

    for client in clients:
        client.meta.events.register("before-send", wait)

    def undo() -> None:
        for client in clients:
            client.meta.events.unregister("before-send", wait)

    return undo


def _response(request: Any, status: int, kind: str, body: bytes) -> AWSResponse:
    return AWSResponse(request.url, status, HTTPHeaders.from_dict({"Content-Type": kind}), _Raw(body))


def _hook(client: Any, operations: tuple[str, ...], answer: Callable[..., Any]) -> Undo:
    events = client.meta.events
    for one in operations:
        events.register(f"before-send.{one}", answer)

    def undo() -> None:
        for one in operations:
            events.unregister(f"before-send.{one}", answer)

    return undo
