"""The signature of a webhook, by which its receiver knows that it comes from here, unchanged and now.

Source: Standard Webhooks (standardwebhooks.com, version 1): the headers `webhook-id`, `webhook-timestamp` (seconds
since the epoch) and `webhook-signature`, which is `v1,` and the base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`.
"""

import base64
import binascii
import hashlib
import hmac

from contracts.errors import ConfigError

PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The key: the base64 behind `whsec_`, or the text itself. Raises ConfigError for base64 that is none."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ConfigError(
            f"a webhook's secret begins with {PREFIX}, and what follows is no base64",
            fix="give the secret as it was made, or one without that beginning",
        ) from None


def signed_headers(body: bytes, *, alert_id: str, at_seconds: int, key: bytes) -> dict[str, str]:
    """The three headers; without a key the signature is left out."""
    headers = {"webhook-id": alert_id, "webhook-timestamp": str(at_seconds)}
    if key:
        signed = b".".join((alert_id.encode(), str(at_seconds).encode(), body))
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers
