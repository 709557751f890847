"""The transform of a delivery stream: a Lambda function that gets records and says what becomes of each.

Source: Amazon Data Firehose developer guide, "Transform source data" (data transformation and status model) and
"Handle failure in data transformation".
"""

import base64
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..aws.session import translated
from .records import PROCESSING_FAILED, Failure, Record
from .settings import Settings

Function = Callable[[dict[str, Any]], Any]
"""A Lambda function as far as it is called: the event in, its answer out. Raises whatever the function raises."""

BATCH_BYTES: Final = 1024 * 1024
"""The default of `BufferSizeInMBs`: what is handed to the function at once."""

RETRIES: Final = 3
"""The default of `NumberOfRetries`."""

MAX_ANSWER: Final = 6 * 1024 * 1024
"""Bytes of a synchronous Lambda answer (Lambda quotas)."""


class FunctionFailed(Exception):
    """The Lambda function answered with an error."""


@dataclass(frozen=True, slots=True)
class _Made:
    """What the function made of a record: new bytes, and perhaps its partition keys."""

    data: bytes
    keys: Mapping[str, str]


_Outcome = _Made | tuple[str, str]
"""Or a result that is not Ok, and why."""


@dataclass(frozen=True, slots=True)
class Transform:
    """The function, and how it is called."""

    function: Function
    arn: str = ""
    retries: int = RETRIES
    batch_bytes: int = BATCH_BYTES
    stream_arn: str = ""

    def __call__(self, records: Sequence[Record]) -> tuple[list[Record], list[Failure]]:
        """What the function made of the records, in their order; what it dropped is in neither list."""
        done: list[Record] = []
        failures: list[Failure] = []
        for batch in _batches(records, self.batch_bytes):
            self._one(batch, done, failures)
        return done, failures

    def _one(self, batch: Sequence[Record], done: list[Record], failures: list[Failure]) -> None:
        named = {str(number): record for number, record in enumerate(batch)}
        event = {
            "invocationId": str(uuid.uuid4()),
            "deliveryStreamArn": self.stream_arn,
            "records": [_asked(name, record) for name, record in named.items()],
        }
        attempts, answer, why = self._call(event)
        for name, record in named.items():
            told = answer.get(
                name, ("ProcessingFailed", why or "the function did not answer for this record")
            )
            if isinstance(told, _Made):
                done.append(Record(record.arrived, told.data, told.keys))
            elif told[0] != "Dropped":
                failures.append(
                    Failure(record, PROCESSING_FAILED, "Lambda." + told[0], told[1], attempts, self.arn)
                )

    def _call(self, event: dict[str, Any]) -> tuple[int, dict[str, _Outcome], str]:
        """The outcome by record. After the last try, why it failed."""
        why = ""
        for attempt in range(1, self.retries + 2):
            try:
                answer = self.function(event)
            except Exception as error:  # noqa: BLE001 - whatever a user's function raises is its failure
                why = f"{type(error).__name__}: {error}"
                continue
            return attempt, _read(answer, [one["recordId"] for one in event["records"]]), ""
        return self.retries + 1, {}, why


def lambda_function(client: Any, arn: str) -> Function:
    """The function behind an ARN, called synchronously. Errors of the service are retried like the function's."""

    @translated
    def call(event: dict[str, Any]) -> Any:
        answer = client.invoke(FunctionName=arn, Payload=json.dumps(event).encode())
        body = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise FunctionFailed(body.decode(errors="replace")[:1000])
        if len(body) > MAX_ANSWER:
            raise FunctionFailed(f"the answer has {len(body)} bytes, at most {MAX_ANSWER}")
        return json.loads(body)

    return call


def transform_of(settings: Settings, client: Callable[[], Any]) -> Transform | None:
    """What the settings' Lambda processor asks for; None without one. `client` gives a boto3 client of Lambda."""
    if not settings.transform_arn:
        return None
    return Transform(
        lambda_function(client(), settings.transform_arn),
        arn=settings.transform_arn,
        retries=settings.transform_retries,
        batch_bytes=settings.transform_bytes,
    )


def _batches(records: Sequence[Record], limit: int) -> Iterator[list[Record]]:
    batch: list[Record] = []
    size = 0
    for record in records:
        if batch and size + len(record.data) > limit:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.data)
    if batch:
        yield batch


def _asked(name: str, record: Record) -> dict[str, Any]:
    return {
        "recordId": name,
        "approximateArrivalTimestamp": record.arrived // 1_000_000,
        "data": base64.b64encode(record.data).decode(),
    }


def _read(answer: Any, names: Sequence[str]) -> dict[str, _Outcome]:
    told = answer.get("records") if isinstance(answer, Mapping) else None
    if not isinstance(told, list):
        return dict.fromkeys(names, ("ProcessingFailed", "the answer has no list 'records'"))
    return {str(one.get("recordId")): _outcome(one) for one in told if isinstance(one, Mapping)}


def _outcome(one: Mapping[str, Any]) -> _Outcome:
    result = one.get("result")
    if result == "Ok":
        try:
            data = base64.b64decode(one["data"], validate=True)
        except (KeyError, TypeError, ValueError):
            return "ProcessingFailed", "'data' is missing or no base64"
        return _made(data, one.get("metadata") or {})
    if result in ("Dropped", "ProcessingFailed"):
        return str(result), "the function said so"
    return "ProcessingFailed", f"unknown result {result!r}"


def _made(data: bytes, metadata: Any) -> _Outcome:
    keys = (metadata.get("partitionKeys") or {}) if isinstance(metadata, Mapping) else None
    if not isinstance(keys, Mapping):
        return "ProcessingFailed", "'metadata.partitionKeys' is no object"
    return _Made(data, {str(name): "" if value is None else str(value) for name, value in keys.items()})
