"""What the parts of a delivery stream hand to each other."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from contracts.messages import Nanoseconds

PROCESSING_FAILED: Final = "processing-failed"
FORMAT_CONVERSION_FAILED: Final = "format-conversion-failed"
"""What `!{firehose:error-output-type}` may say (developer guide, custom prefixes)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record: when it arrived, its bytes, and what the transform said of its partition."""

    arrived: Nanoseconds
    data: bytes
    lambda_keys: Mapping[str, str] = field(default_factory=dict)
    query_keys: Mapping[str, str] = field(default_factory=dict)

    def holding(self, data: bytes) -> "Record":
        return replace(self, data=data)


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that goes to the error prefix, and why."""

    record: Record
    kind: str
    code: str
    message: str
    attempts: int = 1
    lambda_arn: str = ""

    def document(self, *, now: Nanoseconds) -> dict[str, object]:
        """As Firehose writes it: one JSON object a record, times in milliseconds, the data in base64.

        Source: developer guide, "Handle failure in data transformation" and "Handling errors for data format
        conversion", whose field names differ.
        """
        told: dict[str, object] = {
            "attemptsMade": self.attempts,
            "arrivalTimestamp": self.record.arrived // 1_000_000,
            "attemptEndingTimestamp": now // 1_000_000,
            "rawData": base64.b64encode(self.record.data).decode(),
        }
        if self.kind == FORMAT_CONVERSION_FAILED:
            return {**told, "lastErrorCode": self.code, "lastErrorMessage": self.message}
        return {**told, "errorCode": self.code, "errorMessage": self.message, "lambdaArn": self.lambda_arn}
