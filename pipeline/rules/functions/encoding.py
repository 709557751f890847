"""Base64 and hashes."""

import base64
import binascii
import hashlib
from collections.abc import Callable

from ..payload import decode as decode_json
from ..payload import to_text
from ..values import UNDEFINED, Value
from .base import FUNCTIONS, Function, register
from .md2 import md2


@register("encode", 2, raw_star=True, new=True)
def _encode(value: Value, scheme: Value) -> Value:
    """Base64 of the value as text, or of the raw payload for `*`."""
    if type(scheme) is not str or scheme.lower() != "base64":
        return UNDEFINED
    data = value if type(value) is bytes else _utf8(value)
    return base64.b64encode(data).decode() if data is not None else UNDEFINED


@register("decode", 2, new=True)
def _decode(value: Value, scheme: Value) -> Value:
    """The JSON value that the base64 text holds, else its text; Null if it cannot be decoded."""
    if type(scheme) is not str or scheme.lower() != "base64" or type(value) is not str:
        return UNDEFINED
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    document = decode_json(data)
    if document is not UNDEFINED:
        return document
    text = to_text(data)
    return None if text is UNDEFINED else text


def _utf8(value: Value) -> bytes | None:
    text = to_text(value)
    return text.encode("utf-8", "backslashreplace") if isinstance(text, str) else None


def _hash(digest: Callable[[bytes], str]) -> Callable[[Value], Value]:
    def call(value: Value) -> Value:
        data = value if type(value) is bytes else _utf8(value)
        return UNDEFINED if data is None else digest(data)

    return call


def _hashlib(name: str) -> Callable[[bytes], str]:
    return lambda data: hashlib.new(name, data, usedforsecurity=False).hexdigest()


for _name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):
    FUNCTIONS[_name] = Function(_name, _hash(_hashlib(_name)), 1, 1, raw_star=True)
FUNCTIONS["md2"] = Function("md2", _hash(md2), 1, 1, raw_star=True)
