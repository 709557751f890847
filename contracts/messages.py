"""What flows from the device to the verdict.

Every value is frozen. Times are integer nanoseconds since the Unix epoch, UTC (`Nanoseconds`), unless a name
says otherwise (`..._ms`, `..._seconds`). `message_id` is born in the gateway and rides to the verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

Nanoseconds: TypeAlias = int
Json: TypeAlias = Any
"""A JSON value as Python's `json` reads it."""

SECOND: Nanoseconds = 1_000_000_000
MILLISECOND: Nanoseconds = 1_000_000

FLEET = "$fleet"
"""The device id under which counts of the whole gateway travel: `$` is reserved, no device can bear it."""


@dataclass(frozen=True, slots=True)
class PublishProperties:
    """What MQTT 5 lets a publisher say about a payload; carried to every subscriber as it is.

    `message_expiry` is in seconds from `Message.received_at`; `user` are pairs in the order they were sent.
    """

    payload_format: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    message_expiry: int | None = None
    user: tuple[tuple[str, str], ...] = ()


class Message(NamedTuple):
    """One PUBLISH that the gateway accepted (or an event that it publishes itself on a reserved topic).

    `principal` names who authenticated (certificate id, or the local principal of a plain listener).
    `received_at` is the gateway's time: the only event time that analytics knows. A tuple, because the gateway
    makes one for every PUBLISH: a frozen dataclass takes three times as long to make.
    """

    message_id: str
    client_id: str
    principal: str
    topic: str
    payload: bytes
    qos: int
    retain: bool
    received_at: Nanoseconds
    source_ip: str = ""
    properties: PublishProperties | None = None


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """A rule selected a message; `result` is what its SELECT made: a JSON value, or bytes passed through."""

    rule: str
    message: Message
    result: Json


ChangeKind: TypeAlias = Literal["INSERT", "MODIFY", "REMOVE"]


@dataclass(frozen=True, slots=True)
class Change:
    """One record of a table's stream (or of its first scan).

    `key` holds the key attributes by name. `new` and `old` are items as plain JSON values (numbers as int or
    float, never Decimal). `sequence` orders the changes of one key; what a scan found carries 0: it is
    newer than all changes before it. `shard` and `sequence` together are the position to resume from.
    """

    kind: ChangeKind
    table: str
    key: Mapping[str, Json]
    new: Mapping[str, Json] | None
    old: Mapping[str, Json] | None
    sequence: int
    shard: str = ""


LifecycleKind: TypeAlias = Literal[
    "connected",
    "disconnected",
    "connect_failed",
    "subscribed",
    "unsubscribed",
    "throttled",
    "quarantined",
    "released",
    "job",
]


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """What happened to a connection, with AWS IoT Core's words for the reason (`disconnectReason`).

    Of kind `job` it tells that the platform sent the device a retained job; `reason` is the job's text, empty when it
    was taken back.
    """

    kind: LifecycleKind
    client_id: str
    at: Nanoseconds
    principal: str = ""
    source_ip: str = ""
    session_id: str = ""
    version: int = 0
    reason: str = ""
    client_initiated: bool = False
    topics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CloudMetric:
    """Counts of one device in one period, counted by the gateway (the fast lane).

    The fields are Device Defender's cloud-side metrics in snake case (`aws:num-messages-received` is
    `num_messages_received`, counted from the side of AWS IoT: received from the device), with a few of our own
    beside them: bytes, topics, throttled. `topics` names at most `MAX_TOPICS` distinct topics of the period;
    `num_topics` counts them all up to the gateway's own bound. The row of `FLEET` holds the totals and, in
    `num_devices`, how many device rows the period has: a reader knows by it when a period is complete.

    Takeovers are connections ended because another with the same client id came (`DUPLICATE_CLIENTID`), foreign
    ones where it came from another address or principal. `num_rejected` counts connections ended for what their
    client sent (`CLIENT_ERROR`: too large, malformed), `num_replayed` messages that are an old payload once more or
    whose counters went back. `shapes` are `PLACE ID COUNT`, messages of one payload shape on the topic at that place
    of `topics`; in the fleet's row `ID TEXT`, what each id stands for. `readings` are `PLACE MEAN NAME`, the mean of
    a number in the payloads. `num_half_open` is told of the fleet alone: connections that have long been waiting for
    their CONNECT. Shapes, readings and replays are of the payloads that the gateway looked at (`broker/inspection.py`).
    """

    device_id: str
    start: Nanoseconds
    end: Nanoseconds
    num_messages_received: int = 0
    num_messages_sent: int = 0
    message_bytes_received: int = 0
    message_byte_size_max: int = 0
    num_authorization_failures: int = 0
    num_authentication_failures: int = 0
    num_connection_attempts: int = 0
    num_connects: int = 0
    num_disconnects: int = 0
    num_throttled: int = 0
    num_takeovers: int = 0
    num_foreign_takeovers: int = 0
    num_rejected: int = 0
    num_replayed: int = 0
    num_half_open: int = 0
    num_topics: int = 0
    num_devices: int = 0
    topics: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()

    MAX_TOPICS = 16


LabelKind: TypeAlias = Literal["benign", "attack", "fault"]


@dataclass(frozen=True, slots=True)
class Label:
    """Ground truth: between `start` and `end` this device took part in phase `phase`."""

    phase: str
    kind: str
    label: LabelKind
    device_id: str
    start: Nanoseconds
    end: Nanoseconds


@dataclass(frozen=True, slots=True)
class Window:
    """Features of one device (or of the fleet, `device_id == FLEET`) over event time [start, end)."""

    device_id: str
    device_type: str
    start: Nanoseconds
    end: Nanoseconds
    features: Mapping[str, float]


EvidenceClass: TypeAlias = Literal["security", "load"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a device was flagged: one feature, its value, and what was expected of it.

    `own` and `peers` are the medians of the device's own history and of its peers now; `z` is the distance in
    robust standard deviations. `weight` says which class the feature belongs to: security evidence can lead
    to quarantine, load evidence cannot.
    """

    device_id: str
    feature: str
    value: float
    own: float
    peers: float
    z: float
    weight: EvidenceClass


@dataclass(frozen=True, slots=True)
class Score:
    """How strange a device's window is: higher is stranger, above `threshold` is flagged."""

    device_id: str
    end: Nanoseconds
    value: float
    threshold: float
    evidence: tuple[Evidence, ...] = ()

    @property
    def flagged(self) -> bool:
        return self.value > self.threshold


VerdictKind: TypeAlias = Literal["normal", "benign_uptick", "attack", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one tick: what is going on, how sure, which devices, why.

    `at` is the end of the window judged (event time), `decided_at` when the answer was there (wall time).
    `devices` are those flagged with security evidence; `watched` those flagged for load alone. `confidence`
    is between 0 and 1. `uptick` is the fleet's rate over its forecast for this time (1.0 = as expected), `uptick_since`
    when it rose above it (event time), None while it is not above.
    """

    kind: VerdictKind
    at: Nanoseconds
    decided_at: Nanoseconds
    confidence: float
    uptick: float
    devices: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    summary: str = ""
    uptick_since: Nanoseconds | None = None


ActionKind: TypeAlias = Literal["alert", "all_clear", "quarantine", "release", "watch", "resolve", "announce"]


@dataclass(frozen=True, slots=True)
class ActionTaken:
    """What was done about an incident, or undone, and by whom: the model, or a person by name.

    `outcome` is `done`; `held: ...` waits for a person; anything else says why it was not done. `until` is when a
    quarantine or an announcement ends by itself.
    """

    action: ActionKind
    target: str
    at: Nanoseconds
    outcome: str
    incident_id: str = ""
    reason: str = ""
    by: str = "model"
    until: Nanoseconds | None = None


Resolution: TypeAlias = Literal["", "true_positive", "benign_positive", "false_positive"]


@dataclass(frozen=True, slots=True)
class Incident:
    """A span with one cause: opened by a verdict, updated by the next ones, closed when it is over.

    `resolution` is what an analyst made of it: an attack, something permitted that looks like one, or a mistake
    of the model.
    """

    incident_id: str
    kind: VerdictKind
    opened_at: Nanoseconds
    updated_at: Nanoseconds
    closed_at: Nanoseconds | None
    devices: tuple[str, ...]
    verdict: Verdict
    actions: tuple[ActionTaken, ...] = field(default=())
    resolution: Resolution = ""
    resolved_by: str = ""
    resolved_at: Nanoseconds | None = None


AlertKind: TypeAlias = Literal["opened", "worsened", "closed"]


@dataclass(frozen=True, slots=True)
class Alert:
    """News of an incident for people: it was opened (or opened again), became worse, or is over.

    `alert_id` is the incident's with the number of the alert behind it; a channel may deliver one twice under the
    same id. `link` leads to the incident's page. A `test` is about no incident at all.
    """

    alert_id: str
    happened: AlertKind
    at: Nanoseconds
    incident: Incident
    link: str = ""
    test: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What became of an alert in one channel; `outcome` as in `ActionTaken`."""

    channel: str
    alert_id: str
    incident_id: str
    happened: AlertKind
    at: Nanoseconds
    outcome: str
    summary: str = ""
