"""Functions about the message itself: topic, client, trace, time, and what the evaluation draws afresh."""

import base64
import random
import uuid

from contracts.messages import MILLISECOND, PublishProperties

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


@register("get_mqtt_property", 1, with_context=True, new=True)
def _mqtt_property(context: Context, name: Value) -> Value:
    """One of the properties that MQTT 5 knows; correlation data as base64."""
    properties = context.message.properties or PublishProperties()
    match name:
        case "format_indicator" if context.message.client_id:
            value: Value = "UTF8_DATA" if properties.payload_format == 1 else "UNSPECIFIED_BYTES"
        case "content_type":
            value = properties.content_type
        case "response_topic":
            value = properties.response_topic
        case "correlation_data" if properties.correlation_data is not None:
            value = base64.b64encode(properties.correlation_data).decode()
        case _:
            value = None
    return UNDEFINED if value is None else value


@register("get_user_properties", 0, 1, with_context=True, new=True)
def _user_properties(context: Context, key: Value = None) -> Value:
    """All values of one key as an Array; without a key all pairs, each as an Object. Undefined if there is none."""
    pairs = context.message.properties.user if context.message.properties is not None else ()
    found = [{name: value} if key is None else value for name, value in pairs if key in (None, name)]
    return found or UNDEFINED
