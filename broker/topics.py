"""Topic names and filters: what is valid, what is reserved, what matches.

Source: MQTT 3.1.1 section 4.7, and AWS IoT Core's MQTT topics and reserved topics pages: at most seven slashes
and 256 bytes, the prefix `$aws/rules/NAME/` not counted; names with a leading `$` are reserved.
"""

from .limits import Limits

_BASIC_INGEST = "$aws/rules/"
_RESERVED = (
    "$aws/rules/",
    "$aws/things/",
    "$aws/events/",
    "$aws/certificates/",
    "$aws/provisioning-templates/",
)


def name_fault(topic: str, limits: Limits) -> str:
    """Why a PUBLISH may not bear this topic name; empty if it may."""
    if not topic or "\x00" in topic:
        return "empty topic or null character"
    if "+" in topic or "#" in topic:
        return "wildcard in a topic name"
    if topic.startswith("$") and not topic.startswith(_RESERVED):
        return "reserved topic"
    return _size_fault(_counted(topic), limits)


def filter_fault(topic_filter: str, limits: Limits) -> str:
    """Why nobody may subscribe to this filter; empty if they may."""
    if not topic_filter or "\x00" in topic_filter:
        return "empty filter or null character"
    levels = topic_filter.split("/")
    if any("#" in level and (level != "#" or place != len(levels) - 1) for place, level in enumerate(levels)):
        return "# must be the whole last level"
    if any("+" in level and level != "+" for level in levels):
        return "+ must be a whole level"
    if topic_filter.startswith(_BASIC_INGEST):
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


def _counted(topic: str) -> str:
    """The part of a topic that the limits count."""
    if not topic.startswith(_BASIC_INGEST):
        return topic
    return topic.removeprefix(_BASIC_INGEST).partition("/")[2]


def _size_fault(topic: str, limits: Limits) -> str:
    if topic.count("/") > limits.topic_slashes:
        return f"more than {limits.topic_slashes} slashes"
    if len(topic.encode()) > limits.topic_bytes:
        return f"longer than {limits.topic_bytes} bytes"
    return ""
