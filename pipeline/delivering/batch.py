"""`PutRecordBatch` as Amazon Data Firehose has it: the limits of a request, and an answer for each record.

Source: Amazon Data Firehose API reference, PutRecordBatch; developer guide, quotas.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from contracts.errors import ConfigError

MAX_RECORDS: Final = 500
MAX_BYTES: Final = 4 * 1024 * 1024
MAX_RECORD_BYTES: Final = 1000 * 1024
"""Of one record before base64."""


@dataclass(frozen=True, slots=True)
class PutOutcome:
    """What became of each record of a batch, in their order: an error (code, message), or None when it is taken."""

    errors: Sequence[tuple[str, str] | None]

    @property
    def failed(self) -> int:
        return sum(error is not None for error in self.errors)

    def response(self) -> dict[str, Any]:
        """As AWS answers: `FailedPutCount` and one entry for each record."""
        entries = [
            {"ErrorCode": error[0], "ErrorMessage": error[1]}
            if error
            else {"RecordId": secrets.token_urlsafe(64)}
            for error in self.errors
        ]
        return {"FailedPutCount": self.failed, "Encrypted": False, "RequestResponses": entries}


def check_batch(records: Sequence[bytes]) -> None:
    """A request beyond the limits is refused whole. Raises ConfigError, which says AWS's exception."""
    if not 1 <= len(records) <= MAX_RECORDS:
        raise ConfigError(
            f"InvalidArgumentException: {len(records)} records in a batch", fix=f"send 1 to {MAX_RECORDS}"
        )
    if large := max(map(len, records)) > MAX_RECORD_BYTES and max(map(len, records)):
        raise ConfigError(
            f"InvalidArgumentException: a record of {large} bytes", fix=f"send at most {MAX_RECORD_BYTES}"
        )
    if (total := sum(map(len, records))) > MAX_BYTES:
        raise ConfigError(
            f"InvalidArgumentException: a batch of {total} bytes", fix=f"send at most {MAX_BYTES}"
        )
