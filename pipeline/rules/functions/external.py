"""Functions that ask a service while a rule is evaluated. What a service cannot answer is Undefined.

The last argument of all but aws_lambda is the role that AWS assumes; locally every role may do everything.
"""

import base64
from collections.abc import Callable
from typing import Final

from ..context import Context
from ..payload import decode, to_json
from ..services import Services
from ..values import UNDEFINED, Value
from .base import register

MAX_ITEM: Final = 8 * 1024
"""Bytes of JSON that get_dynamodb() may return (developer guide, "get_dynamodb")."""


@register("get_thing_shadow", 2, 3, with_context=True, new=True, service="iot-data")
def _get_thing_shadow(context: Context, thing: Value, *rest: Value) -> Value:
    """The whole document of the classic shadow, or of the one that the second of three arguments names."""
    name = rest[0] if len(rest) > 1 else ""
    if not isinstance(thing, str) or not isinstance(name, str):
        return UNDEFINED
    return _ask(context, lambda services: services.thing_shadow(thing, name))


@register("get_dynamodb", 4, 6, with_context=True, new=True, service="dynamodb")
def _get_dynamodb(context: Context, table: Value, *rest: Value) -> Value:
    """The item of that key: partition key name and value, then sort key name and value where there is one."""
    if not isinstance(table, str) or len(rest) not in (3, 5):
        return UNDEFINED
    key = dict(zip(rest[:-1:2], rest[1::2], strict=False))
    if not all(isinstance(name, str) and isinstance(value, str | int | float) for name, value in key.items()):
        return UNDEFINED
    item = _ask(context, lambda services: services.item(table, key))
    return item if type(item) is dict and len(to_json(item)) <= MAX_ITEM else UNDEFINED


@register("aws_lambda", 2, with_context=True, service="lambda")
def _aws_lambda(context: Context, function: Value, document: Value) -> Value:
    """What the function returns for the input; it has two seconds."""
    if not isinstance(function, str) or document is UNDEFINED:
        return UNDEFINED
    return _ask(context, lambda services: services.invoke(function, document))


@register("get_registry_data", 3, with_context=True, new=True, service="iot")
def _get_registry_data(context: Context, api: Value, thing: Value, _role: Value) -> Value:
    """The answer of DescribeThing or ListThingGroupsForThing."""
    if api not in ("DescribeThing", "ListThingGroupsForThing") or not isinstance(thing, str):
        return UNDEFINED
    return _ask(context, lambda services: services.registry(api, thing))


@register("get_secret", 3, 4, with_context=True, new=True, service="secretsmanager")
def _get_secret(context: Context, secret: Value, kind: Value, *rest: Value) -> Value:
    """SecretString (its JSON object, one key of it, or its text) or SecretBinary (as base64)."""
    key = rest[0] if len(rest) > 1 else None
    if not isinstance(secret, str):
        return UNDEFINED
    content = _ask(context, lambda services: services.secret(secret))
    if kind == "SecretBinary" and type(content) is bytes and key is None:
        return base64.b64encode(content).decode()
    if kind != "SecretString" or type(content) is not str:
        return UNDEFINED
    return _part_of_secret(content, key)


def _part_of_secret(content: str, key: Value) -> Value:
    document = decode(content.encode("utf-8", "surrogatepass"))
    if key is None:
        return document if type(document) is dict else content
    return document.get(key, UNDEFINED) if type(document) is dict and isinstance(key, str) else UNDEFINED


def _ask(context: Context, question: Callable[[Services], Value]) -> Value:
    return UNDEFINED if context.services is None else question(context.services)
