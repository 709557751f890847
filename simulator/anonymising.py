"""Stable random names in place of device ids and texts. Numbers, keys of JSON and what topics have in common stay.

The names come from a key that nobody keeps: within one recording the same text has the same name, and no name leads
back to its text.
"""

import hashlib
import hmac
import json
import secrets
from typing import Any

SHORTEST = 8
"""Hexadecimal digits of a name at least: that two of 10,000 texts share one has a chance of 1 %."""


class Anonymiser:
    """Renames. One instance a recording."""

    def __init__(self, key: bytes | None = None) -> None:
        """`key` makes the names repeatable, for tests."""
        self._key = key or secrets.token_bytes(32)
        self._devices: dict[str, str] = {}

    def device(self, device_id: str) -> str:
        """The name of a device."""
        name = self._devices.get(device_id)
        if name is None:
            name = self._devices[device_id] = f"device-{self._digits('device', device_id, 10)}"
        return name

    def topic(self, topic: str, device_id: str) -> str:
        """A topic with the ids of its device and of all known devices renamed; its other levels stay."""
        return "/".join(self._word(level, device_id) for level in topic.split("/"))

    def payload(self, payload: bytes, device_id: str) -> bytes:
        """JSON with its texts renamed; any other text renamed as a whole; other bytes as many random ones."""
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            return bytes.fromhex(self._digits("bytes", payload.hex(), 2 * len(payload)))
        try:
            value = json.loads(text)
            return json.dumps(
                self._value(value, device_id), separators=(",", ":"), ensure_ascii=False
            ).encode()
        except (ValueError, RecursionError):
            return self._text(text).encode() if text else b""

    def _value(self, value: Any, device_id: str) -> Any:
        if isinstance(value, dict):
            return {self._word(key, device_id): self._value(one, device_id) for key, one in value.items()}
        if isinstance(value, list):
            return [self._value(one, device_id) for one in value]
        return self._text(value) if isinstance(value, str) else value

    def _word(self, word: str, device_id: str) -> str:
        """A level or a key: it stays, but for ids of devices."""
        if word in self._devices:
            return self._devices[word]
        return word.replace(device_id, self.device(device_id)) if device_id else word

    def _text(self, text: str) -> str:
        known = self._devices.get(text)
        return known or self._digits("text", text, max(SHORTEST, len(text)))

    def _digits(self, kind: str, text: str, length: int) -> str:
        """So many hexadecimal digits, the same for the same text."""
        seed = hmac.digest(self._key, f"{kind}/{text}".encode("utf-8", "surrogatepass"), "sha256")
        return hashlib.shake_256(seed).hexdigest((length + 1) // 2)[:length]
