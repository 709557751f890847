"""botocore's exceptions as ours: tried again, or never."""

from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from contracts.errors import Terminal, Transient

TRY_AGAIN: Final = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestThrottled",
        "RequestTimeout",
        "ServiceUnavailable",
        "Throttled",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Error codes of AWS services after which the same request may succeed."""


def translated(error: ClientError | BotoCoreError, what: str) -> Transient | Terminal:
    """Our error for one of botocore's; `what` was being done."""
    text = f"{what}: {error}"
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or error.response["Error"].get("Code") in TRY_AGAIN:
            return Transient(text, fix="it is tried again; see whether the service is overloaded")
        return Terminal(text, fix="check that the resource exists and the request is allowed")
    if isinstance(error, (BotoConnectionError, HTTPClientError)):
        return Transient(text, fix="it is tried again; see whether the endpoint is up")
    return Terminal(text, fix="check credentials and region")
