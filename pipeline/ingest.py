"""The Lambda handler: SQS messages in, DynamoDB items out. Only boto3 and the standard library in its closure.

`plan` is a pure function of the event. A message that cannot be understood fails alone: it is reported in
`batchItemFailures`, returns to the queue, and ends in the dead-letter queue. Everything is written so that the
same message may come twice, and later messages may come first.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from contracts.text import spelt

Item = dict[str, dict[str, Any]]

BATCH = 25
"""Items of one BatchWriteItem, AWS's own limit."""

TOUCH_MS = 10_000
"""`last_seen` is at least this exact; finer would cost a write a message."""

MAX_ATTEMPTS = 8
"""Of unprocessed items; with 50 ms doubling and jitter up to 6 s in all."""

MAX_KNOWN = 100_000

EXPIRES = "expires_at"
"""When DynamoDB may drop an item, in seconds: the tables' TimeToLiveSpecification."""

_BORN = {"telemetry": "received_at", "device_metrics": "period_end"}
"""The time of an item, of those that grow old."""


class Poison(Exception):
    """The message cannot be understood; trying again cannot help."""


@dataclass(frozen=True)
class Update:
    """Set attributes of a device, unless a newer `guard` is stored already. `source` is the message it comes from."""

    device_id: str
    guard: str
    at: int
    values: Mapping[str, Any]
    source: str = field(default="", compare=False)


@dataclass
class Writes:
    """What an event asks for: items by table and key, device updates, and the messages that failed, with why."""

    puts: dict[str, dict[tuple[str, str], Item]] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    reading: str = ""  # the message that is being read
    sources: dict[tuple[str, tuple[str, str]], list[str]] = field(default_factory=dict)

    def put(self, table: str, key: tuple[str, str], item: Item) -> None:
        self.puts.setdefault(table, {})[key] = item
        self.sources.setdefault((table, key), []).append(self.reading)

    def update(self, device_id: str, guard: str, at: int, values: Mapping[str, Any]) -> None:
        self.updates.append(Update(device_id, guard, at, values, self.reading))

    def refuse(self, table: str, key: tuple[str, str], reason: str) -> None:
        """The table will never take this item: the messages that asked for it fail, and they alone."""
        self.failures.update(dict.fromkeys(self.sources[table, key], reason))


def plan(event: Mapping[str, Any]) -> Writes:
    """What to write for an SQS event. Pure; messages of any queue may be mixed."""
    writes = Writes()
    for record in event["Records"]:
        lane = str(record["eventSourceARN"]).rpartition(":")[2]
        read = next((read for suffix, read in _READERS.items() if lane.endswith(suffix)), _unknown_lane)
        writes.reading = record["messageId"]
        try:
            read(_object(record["body"]), writes)
        except Poison as error:
            writes.failures[record["messageId"]] = str(error)
    return writes


Tell = Callable[[str, str], None]
"""Told of every message that failed: its message id, and why."""


def make_handler(
    dynamodb: Any, tables: Mapping[str, str], *, tell: Tell | None = None, keep_seconds: float = 0
) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """A handler that writes through this DynamoDB client; `tables` maps our names to the account's.

    Items of messages and of metrics expire after `keep_seconds`; 0 keeps them for ever.
    `tell` is told of every message that failed; without one, a line of JSON is printed, as CloudWatch Logs wants it.
    """
    known: dict[str, tuple[int, str]] = {}
    tell = tell or _log

    def handle(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
        writes = plan(event)
        for table, items in writes.puts.items():
            if keep_seconds and table in _BORN:
                _let_expire(items.values(), _BORN[table], keep_seconds)
            for key, reason in _batch_write(dynamodb, tables[table], items).items():
                writes.refuse(table, key, reason)
        for update in _worth_writing(writes.updates, known):
            if reason := _update(dynamodb, tables["devices"], update):
                writes.failures[update.source] = reason
        for name, reason in writes.failures.items():
            tell(name, reason)
        return {"batchItemFailures": [{"itemIdentifier": name} for name in writes.failures]}

    return handle


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """The entry point on AWS Lambda; table names come from the environment."""
    global _on_lambda  # noqa: PLW0603 - Lambda keeps the module between invocations, and so the client
    if _on_lambda is None:
        import boto3  # noqa: PLC0415 - the stack makes its own clients

        names = {
            name: os.environ.get(f"TABLE_{name.upper()}", name)
            for name in ("telemetry", "devices", "device_metrics")
        }
        days = float(os.environ.get("KEEP_DAYS", "0"))
        _on_lambda = make_handler(boto3.client("dynamodb"), names, keep_seconds=days * 86_400)
    return _on_lambda(event, context)


_on_lambda: Callable[[Mapping[str, Any], Any], dict[str, Any]] | None = None


def _let_expire(items: Iterable[Item], born: str, keep_seconds: float) -> None:
    for item in items:
        item[EXPIRES] = {"N": str(int(item[born]["N"]) // 1000 + round(keep_seconds))}


def why_failed(lane: str, body: str) -> str:
    """What is wrong with a message of this lane by itself; empty where nothing is (its table refused it, then)."""
    record = {"messageId": "m", "body": body, "eventSourceARN": lane}
    return plan({"Records": [record]}).failures.get("m", "")


def _log(message_id: str, reason: str) -> None:
    print(json.dumps({"level": "error", "messageId": message_id, "reason": reason}))  # noqa: T201 - Lambda's log is stdout


def _object(body: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Poison(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Poison("the body is not a JSON object")
    return value


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Poison(f"'{name}' is missing or not a string")
    if spelt(value) != value:
        raise Poison(f"'{name}' holds half a surrogate pair, which no table stores")
    return value


def _moment(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**14:
        raise Poison(f"'{name}' is missing or no time in milliseconds")
    return value


def _telemetry(body: dict[str, Any], writes: Writes) -> None:
    device_id, message_id = _text(body, "device_id"), _text(body, "message_id")
    received_at = _moment(body, "received_at")
    event_id = f"{received_at:013d}-{message_id}"
    item: Item = {
        "device_id": {"S": device_id},
        "event_id": {"S": event_id},
        "message_id": {"S": message_id},
        "topic": {"S": _text(body, "topic")},
        "received_at": {"N": str(received_at)},
    }
    device_type = body.get("device_type")
    if isinstance(device_type, str) and device_type:
        item["device_type"] = {"S": device_type}
    payload = body.get("payload")
    if payload is not None:
        _add_payload(item, payload)
    writes.put("telemetry", (device_id, event_id), item)
    seen: dict[str, Any] = {"last_seen": received_at}
    if "device_type" in item:
        seen["device_type"] = device_type
    if isinstance(payload, dict) and isinstance(payload.get("fw"), str):
        seen["firmware"] = spelt(payload["fw"])
    writes.update(device_id, "last_seen", received_at, seen)


def _add_payload(item: Item, payload: Any) -> None:
    text = spelt(json.dumps(payload, separators=(",", ":"), ensure_ascii=False))
    item["payload"] = {"S": text}
    item["payload_bytes"] = {"N": str(len(text.encode()))}
    if isinstance(payload, dict):
        ts = payload.get("ts")
        if isinstance(ts, int) and not isinstance(ts, bool) and abs(ts) < 10**14:
            item["device_time"] = {"N": str(ts)}


def _metrics(body: dict[str, Any], writes: Writes) -> None:
    start, end = _moment(body, "start"), _moment(body, "end")
    rows = body.get("devices")
    if not isinstance(rows, list):
        raise Poison("'devices' is missing or not a list")
    for row in rows:
        if not isinstance(row, dict):
            raise Poison("a row of 'devices' is not an object")
        device_id = _text(row, "device_id")
        item: Item = {
            "device_id": {"S": device_id},
            "period_start": {"N": str(start)},
            "period_end": {"N": str(end)},
        }
        for name, value in row.items():
            if isinstance(value, int) and not isinstance(value, bool):
                item[name] = {"N": str(value)}
        for name in ("topics", "shapes", "readings"):
            texts = row.get(name)
            if isinstance(texts, list) and texts:
                item[name] = {"L": [{"S": str(text)} for text in texts]}
        writes.put("device_metrics", (device_id, str(start)), item)


def _events(body: dict[str, Any], writes: Writes) -> None:
    kind, device_id, at = _text(body, "eventType"), _text(body, "clientId"), _moment(body, "timestamp")
    if kind in ("connected", "disconnected"):
        values: dict[str, Any] = {
            "connected": kind == "connected",
            "session_id": str(body.get("sessionIdentifier", "")),
            "source_ip": str(body.get("ipAddress", "")),
            "disconnect_reason": str(body.get("disconnectReason", "")),
        }
        writes.update(device_id, "presence_at", at, values)
    elif kind in ("quarantined", "released"):
        values = {"quarantined": kind == "quarantined", "quarantine_reason": str(body.get("reason", ""))}
        writes.update(device_id, "quarantine_at", at, values)
    elif kind == "job":
        writes.update(device_id, "job_at", at, {"job": str(body.get("reason", ""))})


def _unknown_lane(_body: dict[str, Any], _writes: Writes) -> None:
    raise Poison("no table belongs to the queue it came from")


_READERS: Mapping[str, Callable[[dict[str, Any], Writes], None]] = {
    "telemetry": _telemetry,
    "device-metrics": _metrics,
    "device-events": _events,
}


def _worth_writing(updates: Iterable[Update], known: dict[str, tuple[int, str]]) -> list[Update]:
    """The newest update of every device and guard; a mere `last_seen` only where it tells something new.

    `known` is this process's memory of what it wrote: lost at a cold start, which costs a write a device.
    """
    newest: dict[tuple[str, str], Update] = {}
    for update in updates:
        before = newest.get((update.device_id, update.guard))
        if before is None or update.at >= before.at:
            newest[update.device_id, update.guard] = update
    chosen = []
    for update in newest.values():
        if update.guard == "last_seen":
            firmware = str(update.values.get("firmware", ""))
            at, told = known.get(update.device_id, (0, ""))
            if update.at < at + TOUCH_MS and (firmware == told or update.at < at):
                continue
            if len(known) >= MAX_KNOWN:
                known.clear()
            known[update.device_id] = (update.at, firmware)
        chosen.append(update)
    return chosen


def _batch_write(
    dynamodb: Any, table: str, items: Mapping[tuple[str, str], Item]
) -> dict[tuple[str, str], str]:
    """Write them all; those that the table will never take, with the reason. Raises TimeoutError when throttled."""
    refused: dict[tuple[str, str], str] = {}
    keys = list(items)
    chunks = [keys[first : first + BATCH] for first in range(0, len(keys), BATCH)]
    while chunks:
        chunk = chunks.pop()
        requests = [{"PutRequest": {"Item": items[key]}} for key in chunk]
        reason = _persist(lambda left: _write_chunk(dynamodb, table, left), requests, dynamodb)
        if reason and len(chunk) == 1:
            refused[chunk[0]] = reason
        elif reason:
            # one bad item has the whole call refused: halves, until it is alone
            chunks += [chunk[: len(chunk) // 2], chunk[len(chunk) // 2 :]]
    return refused


def _write_chunk(dynamodb: Any, table: str, requests: list[Any]) -> list[Any]:
    answer = dynamodb.batch_write_item(RequestItems={table: requests})
    return list(answer.get("UnprocessedItems", {}).get(table, []))


def _persist(call: Callable[[list[Any]], list[Any]], requests: list[Any], dynamodb: Any) -> str:
    """Call until nothing is left to do, with growing, jittered pauses; the reason if it can never be done.

    Raises TimeoutError after MAX_ATTEMPTS, and whatever else the service says: also that the table has other keys, which is
    no message's fault.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            requests = call(requests)
        except dynamodb.exceptions.ClientError as error:
            told = error.response["Error"]
            if told["Code"] in _REFUSED and not any(
                words in told.get("Message", "") for words in _OTHER_KEYS
            ):
                return f"{told['Code']}: {told.get('Message', '')}"
            if told["Code"] not in _THROTTLED:
                raise
        else:
            if not requests:
                return ""
        time.sleep(random.uniform(0.5, 1.0) * 0.05 * 2**attempt)  # noqa: S311 - jitter, no secret
    raise TimeoutError(f"{len(requests)} writes are still not taken after {MAX_ATTEMPTS} attempts")


_REFUSED = frozenset({"ValidationException", "SerializationException"})
"""The request itself is wrong (an item over 400 KB, a key over 2,048 bytes, text that is no UTF-8)."""

_OTHER_KEYS = (
    "does not match the schema",
    "Missing the key",
    "Type mismatch for key",
)
"""What DynamoDB says to an item for a table with other keys. Ours always have theirs, so then every message would fail."""

_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "InternalServerError",
    }
)


def _update(dynamodb: Any, table: str, update: Update) -> str:
    """UpdateItem unless a newer one was applied already; the reason if the table will never take it."""
    values = {**update.values, update.guard: update.at}
    names = {f"#{place}": name for place, name in enumerate(values)}
    typed = {f":{place}": _typed(value) for place, value in enumerate(values.values())}
    guard = next(place for place, name in names.items() if name == update.guard)

    def call(_: list[Any]) -> list[Any]:
        with suppress(
            dynamodb.exceptions.ConditionalCheckFailedException
        ):  # a newer event came first: it stands
            dynamodb.update_item(
                TableName=table,
                Key={"device_id": {"S": update.device_id}},
                UpdateExpression="SET " + ", ".join(f"{place} = :{place[1:]}" for place in names),
                ConditionExpression=f"attribute_not_exists({guard}) OR {guard} <= :{guard[1:]}",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=typed,
            )
        return []

    return _persist(call, [update], dynamodb)


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"BOOL": value}
    return {"N": str(value)} if isinstance(value, int) else {"S": str(value)}
