"""The path without AWS: the same rules and the same handler, with queues and tables in memory, one step at a time.

Deterministic: the same messages at the same times give the same changes. Faults are played here as the real
services would show them.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.errors import ConfigError
from contracts.messages import SECOND, Change, Message, Nanoseconds, RuleMatch

from .ingest import make_handler
from .memory import MemoryQueue, MemoryTables
from .rules.engine import Engine, Rule
from .rules.payload import encode

BATCH = 10
LANES = ("telemetry", "device-metrics", "device-events")
"""The queues that the handler reads, by the last part of their names."""

MAX_HELD = 200_000
"""Messages of an outage: an hour at 50 a second. What is beyond it is not accepted, and so not acknowledged."""


class DirectPath:
    """From accepted messages to changes of the tables. `faults` is set and cleared from outside."""

    def __init__(self, rules: Sequence[Rule], *, seed: int) -> None:
        """Raises ConfigError for a rule with an action that has no double in memory."""
        self._engine = Engine(rules)
        self._dice = random.Random(f"{seed}/direct")  # noqa: S311 - simulation, no secret
        self.queues = {lane: MemoryQueue(lane) for lane in LANES}
        self.tables = MemoryTables()
        self.faults: dict[str, Mapping[str, Any]] = {}
        self.routed = self.archived = 0
        self._inbox: list[Message] = []
        self._late: list[tuple[Nanoseconds, list[Change]]] = []
        self._handler = make_handler(
            self.tables, {name: name for name in ("telemetry", "devices", "device_metrics")}
        )
        for rule in rules:
            _check(rule)

    def accept(self, messages: Sequence[Message]) -> int:
        """From the gateway; all of them, while there is room."""
        room = max(0, MAX_HELD - len(self._inbox))
        self._inbox += messages[:room]
        return min(room, len(messages))

    def step(self, now: Nanoseconds) -> list[Change]:
        """Route what came, handle what is visible; the changes that the view sees now."""
        if "emulator_restart" in self.faults:
            return []  # nothing answers: messages wait before the rules, and what the streams lose a scan tells later
        self._route()
        for queue in self.queues.values():
            self._work(queue, now)
        lags = (self.faults.get(kind, {}).get("delay", 0) for kind in ("stream_lag", "service_latency"))
        due = now + int(sum(lags) * SECOND)
        if changes := self.tables.take_changes():
            self._late.append((due, changes))
        return self._arrived(now)

    def inject(self, count: int) -> None:
        """So many messages into the telemetry queue that no handler understands."""
        for number in range(count):
            self.queues["telemetry"].send(f"poison {number}")

    def pending(self) -> int:
        """Messages and changes that are under way; the gateway's own metrics are left out."""
        waiting = sum(queue.pending() for lane, queue in self.queues.items() if lane != "device-metrics")
        return len(self._inbox) + waiting + sum(len(changes) for _, changes in self._late)

    @property
    def dead_letters(self) -> int:
        return sum(len(queue.dead_letters) for queue in self.queues.values())

    def _arrived(self, now: Nanoseconds) -> list[Change]:
        """In order: what became visible early waits for what is late."""
        arrived: list[Change] = []
        while self._late and self._late[0][0] <= now:
            arrived += self._late.pop(0)[1]
        return arrived

    def _route(self) -> None:
        inbox, self._inbox = self._inbox, []
        share = self._share("service_error")
        for message in inbox:
            if share and self._dice.random() < share:
                self._inbox.append(message)  # SNS refused it for now: tried again with the next step
                continue
            matches = self._engine.match(message)
            self.routed += bool(matches) and not message.topic.startswith("$")
            for match in matches:
                self._act(match)

    def _act(self, match: RuleMatch) -> None:
        rule = self._engine.rule(match.rule)
        for spec in rule.actions if rule is not None else ():
            kind, settings = next(iter(spec.items()))
            if kind == "sns":
                self.queues[_lane(settings)].send(encode(match.result).decode("utf-8", "surrogateescape"))
            else:
                self.archived += 1

    def _work(self, queue: MemoryQueue, now: Nanoseconds) -> None:
        batches = []
        while batch := queue.receive(now, BATCH):
            batches.append(batch)
        if self._strikes("reorder"):
            self._dice.shuffle(batches)
        for batch in batches:
            if self._strikes("throttle"):
                queue.put_back(batch)  # the handler tries again until the table takes it
                continue
            if self._strikes("handler_crash"):
                continue  # nothing is deleted: it is visible again after the timeout
            records = [_record(queue.lane, one.message_id, one.body) for one in batch]
            if self._strikes("reorder"):
                self._dice.shuffle(records)
            for _ in range(1 + self._strikes("duplicate_delivery")):
                answer = self._handler({"Records": records}, None)
            failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
            for one in batch:
                if one.message_id not in failed:
                    queue.delete(one.message_id)

    def _strikes(self, fault: str) -> bool:
        share = self._share(fault)
        return share > 0 and self._dice.random() < share

    def _share(self, fault: str) -> float:
        told = self.faults.get(fault)
        return 0.0 if told is None else float(told.get("share", 1.0))


def _record(lane: str, message_id: str, body: str) -> dict[str, Any]:
    return {"messageId": message_id, "body": body, "eventSourceARN": f"arn:aws:sqs:local:000000000000:{lane}"}


def _lane(settings: Mapping[str, Any]) -> str:
    return str(settings["targetArn"]).rpartition(":")[2]


def _check(rule: Rule) -> None:
    for service in sorted(rule.services):
        raise ConfigError(
            f"rule '{rule.name}' asks {service}: the direct path has no AWS service behind it",
            fix="run with --path aws, or leave the function out",
        )
    for spec in rule.actions:
        kind, settings = next(iter(spec.items()))
        lane = _lane(settings) if kind == "sns" else ""
        if kind not in ("sns", "firehose") or (kind == "sns" and lane not in LANES):
            raise ConfigError(
                f"rule '{rule.name}': the direct path has no {kind} action{f' to {lane}' if lane else ''}",
                fix=f"run with --path aws, or aim at one of: {', '.join(LANES)}",
            )
