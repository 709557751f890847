"""Messages out of a stream, through the rules, to the actions: at least once, with back-pressure, nothing silent.

A batch is taken, evaluated at one go, grouped by action and delivered; up to `max_in_flight` batches are under
way at once, so that evaluation goes on while the network is slow. What fails for a moment is tried again: without
end where an action says so (`sns` and `firehose`, which carry the pipeline's own lanes), and while it is, its batch
keeps its place: when all places are taken the stream fills and its producer feels it. What can never work is counted, reported in the health, and told to the rule's error action.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus

from contracts.clock import Clock, SystemClock
from contracts.errors import BackendError, NotReady, Transient
from contracts.measures import Measure, Spreading
from contracts.messages import SECOND, Message
from contracts.ports import Gauge, Health, State
from contracts.streams import BatchStream, StreamClosed
from contracts.trail import Trail

from .actions import Actions, Refused, Undelivered
from .actions.loads import Failures, Grouping, Load
from .rules.engine import Engine

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
"""Seconds between tries: 0.1, 0.2, ... 5, each shortened at random by up to a half, so that retries spread."""

_STUCK_TRIES: Final = 7
"""After 5 s in which an action took nothing its trouble is real."""

_MAX_TARGETS: Final = 1_000
"""Targets counted one by one. A template in a rule may name any number of them; the totals count them all."""

_FULL_CALL: Final = 10
"""A batch of this many messages fills a call of SNS: no use in waiting for more."""


Gate = Callable[[], Awaitable[None]]


async def _always_open() -> None: ...


class Router:
    """A service between one stream of messages and the actions of the rules.

    Args:
        name: of the service.
        stream: where messages come from; a message is done when every action has taken or refused it.
        engine: the rules; may be shared with other routers.
        actions: their actions; may be shared as well.
        max_in_flight: batches under way at once.
        linger: seconds to wait for more messages while a batch would not fill one call. At 200 messages/s, 50 ms
            make 10 messages a call instead of 1, for a twentieth of the calls a second.
        clock: for `last_progress`.
        trail: where messages are noted as they pass.
        gate: asked before a batch is taken; waits while what is behind has no room.
    """

    def __init__(
        self,
        name: str,
        stream: BatchStream[Message],
        engine: Engine,
        actions: Actions,
        *,
        max_in_flight: int = 4,
        linger: float = 0.05,
        clock: Clock | None = None,
        trail: Trail | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.name = name
        self.matches_by_rule: Counter[str] = Counter()
        self._stream = stream
        self._engine = engine
        self._actions = actions
        self._max_in_flight = max_in_flight
        self._linger = linger
        self._asking = CapacityLimiter(1)  # the engine works for one thread at a time
        self._clock = clock or SystemClock()
        self._trail = trail or Trail(capacity=0)
        self._gate = gate or _always_open
        self._state: State = "starting"
        self._counters: Counter[str] = Counter(dict.fromkeys(_COUNTERS, 0))
        self._delivered_in = Spreading(
            "delivery_seconds",
            "How long an action took for what a batch had for it, its tries included.",
            labels={"lane": name.removeprefix("router-")},
        )
        self._by_target: Counter[str] = Counter()  # delivered, by the name of the action
        self._in_flight = self._most_in_flight = 0
        self._last_progress = 0
        self._waiting: dict[str, str] = {}  # why an action is tried again, by its name
        self._stuck: set[str] = set()  # those that have taken nothing for long
        self._failure = ""  # the last one that cannot be mended by trying again

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Route until the stream is closed and empty, or cancelled.

        Raises:
            ConfigError: a rule aims at an sns_topic or delivery stream that is not there.
        """
        for rule in self._engine.rules:
            self._actions.prepare(rule)
        self._state = "ready"
        places = anyio.Semaphore(self._max_in_flight)
        async with anyio.create_task_group() as group:
            task_status.started()
            while True:
                await places.acquire()
                await self._gate()
                try:
                    batch = await self._take()
                except StreamClosed:
                    break
                group.start_soon(self._carry, batch, places)
        self._state = "stopped"

    async def drain(self) -> None:
        """Return when every message of the stream was handed on or refused. The stream's owner closes it."""
        if self._state == "ready":
            self._state = "draining"
        await self._stream.join()

    def health(self) -> Health:
        batches = Gauge(f"{self.name}.batches", self._in_flight, self._max_in_flight, self._most_in_flight)
        return Health(
            name=self.name,
            state="failed" if self._stuck and self._state == "ready" else self._state,
            detail="; ".join([*self._waiting.values(), *([self._failure] if self._failure else [])]),
            last_progress=self._last_progress,
            buffers=(self._stream.gauge(), batches),
            counters={**self._counters, **self._by_target},
            measures=self._measures(),
            spreads=(self._delivered_in.spread(),),
        )

    def _measures(self) -> tuple[Measure, ...]:
        lane = {"lane": self.name.removeprefix("router-")}
        delivered = [
            Measure(
                "deliveries",
                "Bodies that an action's target took.",
                count,
                "counter",
                {**lane, "action": name.partition(" ")[0], "target": name.partition(" ")[2]},
            )
            for name, count in self._by_target.items()
        ]
        matched = [
            Measure(
                "rule_matches", "Messages that a rule selected.", count, "counter", {**lane, "rule": rule}
            )
            for rule, count in self.matches_by_rule.most_common(_MAX_TARGETS)
        ]
        return (*delivered, *matched)

    async def _take(self) -> tuple[Message, ...]:
        batch = await self._stream.get()
        # from here on, not from when it is evaluated: a message must be seen in one of the two gauges at any time
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        if len(batch) < _FULL_CALL and self._linger > 0:
            await anyio.sleep(self._linger)
            if self._stream.gauge().used:
                batch += await self._stream.get()
        return batch

    async def _carry(self, batch: tuple[Message, ...], places: anyio.Semaphore) -> None:
        failures: Failures = {}
        self._trail.note("routed", self._clock.now(), batch)
        if self._engine.asks_services:
            loads = await to_thread.run_sync(self._route, batch, failures, limiter=self._asking)
        else:
            loads = self._route(batch, failures)
        await self._deliver_all(loads, failures)
        if failures:
            await self._report(failures)
        self._in_flight -= 1
        self._stream.done(batch)
        places.release()

    def _route(self, batch: tuple[Message, ...], failures: Failures) -> list[Load]:
        errors, not_found = self._engine.rule_errors, self._engine.rules_not_found
        grouping = Grouping(self._engine, self._actions, failures)
        matched = grouping.evaluate(batch)
        self._counters["received"] += len(batch)
        self._counters["routed"] += matched.messages
        self._counters["unmatched"] += len(batch) - matched.messages
        self._counters["matches"] += matched.by_rule.total()
        self.matches_by_rule.update(matched.by_rule)
        self._counters["rules_not_found"] += self._engine.rules_not_found - not_found
        if self._engine.rule_errors > errors:
            self._counters["rule_errors"] += self._engine.rule_errors - errors
            self._failure = self._engine.last_error
        return grouping.loads()

    async def _deliver_all(self, loads: list[Load], failures: Failures) -> None:
        if len(loads) == 1:
            await self._deliver(loads[0], failures)
            return
        async with anyio.create_task_group() as group:
            for load in loads:
                group.start_soon(self._deliver, load, failures)

    async def _deliver(self, load: Load, failures: Failures) -> None:
        """Deliver one action's bodies: until all are taken or refused."""
        left = load
        tries = 0
        began = self._clock.now()
        while left.items:
            tries += 1
            retry, refused = await self._try(left)
            self._count(load, len(left.items) - len(retry) - len(refused))
            for index, reason in refused.items():
                failures.setdefault(left.origins[index], []).append(
                    (load.action.kind, load.action.resource, reason)
                )
            left = left.only(retry)
            if left.items and tries == load.action.tries:
                self._give_up(left, failures)
                break
            if left.items:
                if tries >= _STUCK_TRIES:
                    self._stuck.add(load.action.name)
                await self._pause(tries)
        self._waiting.pop(load.action.name, None)
        self._stuck.discard(load.action.name)
        self._last_progress = self._clock.now()
        self._delivered_in.add((self._last_progress - began) / SECOND)
        self._trail.note(
            "handed on", self._last_progress, [item.body for item in load.items], load.action.name
        )

    def _give_up(self, left: Load, failures: Failures) -> None:
        """AWS discards a message after its tries, and tells the error action."""
        reason = f"not delivered in {left.action.tries} tries"
        why = self._waiting.get(left.action.name, "").removeprefix("trying again: ")
        for source in left.origins:
            failures.setdefault(source, []).append(
                (left.action.kind, left.action.resource, f"{reason}: {why}" if why else reason)
            )

    def _count(self, load: Load, delivered: int) -> None:
        self._counters[load.action.kind] += delivered
        if load.action.name in self._by_target or len(self._by_target) < _MAX_TARGETS:
            self._by_target[load.action.name] += delivered

    async def _try(self, load: Load) -> tuple[tuple[int, ...], Mapping[int, str]]:
        """One delivery: the positions to try again, and those refused with the reason."""
        everything = range(len(load.items))
        try:
            await load.action.deliver(load.items)
        except Undelivered as error:
            self._waiting[load.action.name] = f"trying again: {error.what}"
            return error.retry, error.refused
        except Refused as error:
            return (), error.refused
        except (Transient, NotReady) as error:
            self._waiting[load.action.name] = f"trying again: {error.told}"
            return tuple(everything), {}
        except BackendError as error:
            return (), dict.fromkeys(everything, error.what)
        return (), {}

    async def _pause(self, tries: int) -> None:
        self._counters["retries"] += 1
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(tries - 1, 10))
        await anyio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311 - jitter

    async def _report(self, failures: Failures) -> None:
        """Count what was refused, and tell the error actions: one message for each rule and message."""
        self._counters["failed"] += sum(map(len, failures.values()))
        kind, resource, reason = next(iter(failures.values()))[-1]
        self._failure = f"{kind} {resource}: {reason}"
        unheard: Failures = {}
        grouping = Grouping(self._engine, self._actions, unheard)
        grouping.add_errors(failures)
        loads = grouping.loads()
        self._counters["error_actions"] += sum(len(load.items) for load in loads)
        await self._deliver_all(loads, unheard)
        self._counters["error_actions_failed"] += len(unheard)


_COUNTERS: Final = (
    "received",
    "routed",
    "matches",
    "unmatched",
    "rule_errors",
    "rules_not_found",
    "sns",
    "firehose",
    "failed",
    "retries",
    "error_actions",
    "error_actions_failed",
)
