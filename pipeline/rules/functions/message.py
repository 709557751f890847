"""Functions about the message itself: topic, client, trace, time, and what the evaluation draws afresh."""

import random
import uuid

from contracts.messages import MILLISECOND

from ..context import Context
from ..values import UNDEFINED, Value, to_int
from .base import register


@register("topic", 0, 1, with_context=True)
def _topic(context: Context, level: Value = None) -> Value:
    """`topic()` is the whole topic, `topic(1)` its first level."""
    if level is None:
        return context.topic
    index = to_int(level)
    levels = context.topic.split("/")
    return levels[index - 1] if type(index) is int and 1 <= index <= len(levels) else UNDEFINED


@register("timestamp", 0, with_context=True)
def _timestamp(context: Context) -> Value:
    """Milliseconds since the epoch, as the gateway observed the message."""
    return context.message.received_at // MILLISECOND


@register("clientid", 0, with_context=True)
def _clientid(context: Context) -> Value:
    """`n/a` when the message did not come from an MQTT client."""
    return context.message.client_id or "n/a"


@register("traceid", 0, with_context=True)
def _traceid(context: Context) -> Value:
    return context.message.message_id or UNDEFINED


@register("principal", 0, with_context=True)
def _principal(context: Context) -> Value:
    return context.message.principal or UNDEFINED


@register("sourceip", 0, with_context=True)
def _sourceip(context: Context) -> Value:
    return context.message.source_ip or UNDEFINED


@register("accountid", 0, with_context=True)
def _accountid(context: Context) -> Value:
    return context.account_id


@register("newuuid", 0)
def _newuuid() -> Value:
    return str(uuid.uuid4())


@register("rand", 0)
def _rand() -> Value:
    return random.random()  # noqa: S311 - the guide asks for a pseudorandom number
