"""Topic names and filters: what is valid, what is reserved, what matches.

Source: MQTT 3.1.1 section 4.7, and AWS IoT Core's MQTT topics and reserved topics pages: at most seven slashes
and 256 bytes, the prefix `$aws/rules/NAME/` not counted; names with a leading `$` are reserved.
"""

import re

from .limits import Limits

BASIC_INGEST = "$aws/rules/"
_SHARE = "$share/"
_PUBLISHABLE = (
    "$aws/certificates/create",
    "$aws/provisioning-templates/",
    "$aws/commands/",
    "$aws/device_location/",
    "$aws/sitewise/",
)
_THING_REQUEST = re.compile(
    r"\$aws/things/[^/]+/"
    r"(shadow/(name/[^/]+/)?(get|update|delete)|defender/metrics/(json|cbor)|jobs/(?!notify).+|streams/.+)"
)
_ANSWER = ("/accepted", "/rejected")


def name_fault(topic: str, limits: Limits) -> str:
    """Why a PUBLISH may not bear this topic name; empty if it may."""
    if not topic or "\x00" in topic:
        return "empty topic or null character"
    if "+" in topic or "#" in topic:
        return "wildcard in a topic name"
    if topic.startswith("$") and not _is_publishable(topic):
        return "reserved topic"
    return _size_fault(_counted(topic), limits)


def filter_fault(topic_filter: str, limits: Limits) -> str:
    """Why nobody may subscribe to this filter; empty if they may."""
    if topic_filter.startswith(_SHARE):
        group, _, topic_filter = topic_filter.removeprefix(_SHARE).partition("/")
        if not group or "+" in group or "#" in group:
            return "a shared subscription is $share/NAME/FILTER"
    if not topic_filter or "\x00" in topic_filter:
        return "empty filter or null character"
    levels = topic_filter.split("/")
    if any("#" in level and (level != "#" or place != len(levels) - 1) for place, level in enumerate(levels)):
        return "# must be the whole last level"
    if any("+" in level and level != "+" for level in levels):
        return "+ must be a whole level"
    if topic_filter.startswith(BASIC_INGEST):
        return "Basic Ingest topics cannot be subscribed to"
    return _size_fault(topic_filter, limits)


def matches(topic_filter: str, topic: str, *, parent: bool) -> bool:
    """Whether the filter selects the topic. `parent`: whether `a/#` selects `a`."""
    if topic_filter == topic:
        return True
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return place < len(levels) or (parent and place == len(levels))
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


def _is_publishable(topic: str) -> bool:
    """Devices publish requests on reserved topics; answers and events are AWS IoT Core's own."""
    if topic.startswith(BASIC_INGEST):
        return True
    if topic.endswith(_ANSWER):
        return False
    return topic.startswith(_PUBLISHABLE) or _THING_REQUEST.fullmatch(topic) is not None


def _counted(topic: str) -> str:
    """The part of a topic that the limits count."""
    if not topic.startswith(BASIC_INGEST):
        return topic
    return topic.removeprefix(BASIC_INGEST).partition("/")[2]


def _size_fault(topic: str, limits: Limits) -> str:
    if topic.count("/") > limits.topic_slashes:
        return f"more than {limits.topic_slashes} slashes"
    if len(topic.encode()) > limits.topic_bytes:
        return f"longer than {limits.topic_bytes} bytes"
    return ""
