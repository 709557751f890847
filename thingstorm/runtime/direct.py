"""Plays a scenario on the direct path: simulator, gateway core, rules, handler, view and model in one process.

No sockets, no AWS. On the virtual clock time goes from one event to the next as fast as the machine can, and the
same file and seed give the same bytes and the same verdicts; on the wall clock it waits for the time to come.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel

from analytics.verdict_loop import VerdictLoop, Watch
from analytics.view.duckdb import DuckDBView
from broker.gateway import Gateway
from broker.identity import local_identity
from broker.limits import profile
from broker.policy import DEVICE_DOCUMENT, OPEN_DOCUMENT
from contracts.clock import ManualClock
from contracts.messages import FLEET, MILLISECOND, SECOND, Alert, Nanoseconds, Told
from contracts.ports import Emit
from pipeline.direct import DirectPath
from pipeline.rules.engine import DEFAULT_RULES, load_rules
from simulator.crew import Crew
from simulator.scenario import Scenario, SqlExpect
from simulator.story import Story, story_of
from thingstorm.config import Config
from thingstorm.report.record import Latency, Ledger, PhaseSpan, Record, SqlAnswer
from thingstorm.runtime.direct_transport import DirectTransport
from thingstorm.runtime.exporting import messages_since
from thingstorm.runtime.ledger import losses
from thingstorm.runtime.parts import response_rule
from thingstorm.runtime.play import answer
from thingstorm.runtime.refresh import Refresh
from thingstorm.runtime.signals import Interrupted
from thingstorm.runtime.supervisor import supervise

STEP: Nanoseconds = SECOND
"""How often what came is handed on and judged: the model's own period, and one transaction of the view for each."""

START: Nanoseconds = 1_767_600_000 * SECOND
"""When a virtual clock begins if the file does not say: 2026-01-05T08:00:00Z, a Monday morning."""

SETTLE: Nanoseconds = 90 * SECOND
"""After the last message, in scenario time: retries of what faults held back, and the last windows."""

YIELD_STEPS = 20
"""Steps between two looks at whether somebody wants to stop."""


class DirectPlay:
    """One scenario or story on the direct path. Call `run` once."""

    def __init__(
        self,
        scenario: Scenario | Story,
        config: Config,
        *,
        emit: Emit,
        refresh: Refresh,
        with_messages: bool = False,
        watch: Watch | None = None,
    ) -> None:
        """Raises ConfigError for rules that the direct path cannot run."""
        self._story = story = story_of(scenario)
        self._emit = emit
        self._refresh = refresh
        self.clock = ManualClock(story.clock_start or START)
        rules = load_rules(config.pipeline.rules or DEFAULT_RULES)
        self._path = DirectPath(rules, seed=story.seed)
        limits = profile(config.broker.limits, config.broker.overrides)
        self._gateway = Gateway(limits=limits, accept=self._path.accept)
        self._identity = local_identity(DEVICE_DOCUMENT if config.broker.limits == "aws" else OPEN_DOCUMENT)
        self._transport: DirectTransport
        self._crew = Crew(
            story.player,
            make=self._make_transport,
            now=self.clock.now,
            emit=emit,
            faults=self._fault,
            orders=self._order,
        )
        self._alerts = _Alerts()
        self._view = DuckDBView(None, memory_limit=config.view.memory_limit, threads=1, with_rollups=False)
        self._over = False
        self._with_messages = with_messages
        model = config.model
        self._model = VerdictLoop(
            view=self._view,
            clock=self.clock,
            control=_Control(self._gateway, self.clock),
            alerts=[self._alerts],
            detector=model.detector,
            train_seconds=model.train_seconds,
            response=response_rule(model),
            emit=self._tell,
            watch=watch,
        )

    async def run(self, *, stop: anyio.Event, speed: float | None) -> Record:
        """Play, settle, record. Without a `speed` the clock is virtual. Raises Interrupted when `stop` is set."""
        began = time.monotonic()
        async with supervise([self._view], drain_seconds=5):
            started_at = await self._play(stop, speed)
            self._over = self._crew.stopped = True
            self._emit("settling", {})
            ended_at = self.clock.now()
            await self._settle(ended_at)
            record = await self._record(started_at, ended_at)
        return replace(record, wall_seconds=round(time.monotonic() - began, 1))

    async def _play(self, stop: anyio.Event, speed: float | None) -> Nanoseconds:
        story, clock, player = self._story, self.clock, self._crew.player
        self._gateway.tick(clock.now())
        self._crew.connect_all()
        self._transport.pump()
        start = clock.now()
        player.start(start)
        await self._model.learn(start=start, until=start + story.train_until)
        self._emit("ready", {"seconds": 0.0, "what": f"{player.online} devices are connected"})
        end, next_step, steps = start + story.duration, start + STEP, 0
        real = time.monotonic()
        while next_step <= end:
            while (due := player.next_due()) is not None and due < next_step:
                clock.set(max(due, clock.now()))
                self._crew.advance(clock.now())
                self._transport.pump()
            clock.set(next_step)
            await self._step()
            next_step += STEP
            steps += 1
            if speed is not None:
                await anyio.sleep(max(0.0, real + (next_step - start) / SECOND / speed - time.monotonic()))
            elif steps % YIELD_STEPS == 0:
                await anyio.lowlevel.checkpoint()
            if stop.is_set():
                raise Interrupted
        return start

    async def _step(self) -> None:
        """Close the metrics, hand on what came, judge."""
        now = self.clock.now()
        self._gateway.tick(now)
        self._transport.pump()
        self._path.accept(self._gateway.take_events())
        if changes := self._path.step(now):
            await self._view.apply(changes)
        await self._model.step()
        self._transport.pump()
        self._refresh(self._hops())

    async def _settle(self, ended_at: Nanoseconds) -> None:
        """Until nothing is under way and the last window was judged; the fleet is silent."""
        until = ended_at + SETTLE
        while self.clock.now() < until and (self._path.pending() or self._judged() < ended_at):
            self.clock.advance(STEP)
            await self._step()

    def _judged(self) -> Nanoseconds:
        verdicts = self._model.verdicts
        return verdicts[-1].at if verdicts else 0

    def _make_transport(self, callbacks: Any) -> DirectTransport:
        self._transport = DirectTransport(
            self._gateway, identity=self._identity, callbacks=callbacks, now=self.clock.now
        )
        return self._transport

    def _order(self, topic: str, payload: bytes) -> None:
        self._gateway.platform_publish(topic, payload, self.clock.now(), qos=1, retain=True)

    def _fault(self, kind: str, parameters: Mapping[str, Any], on: bool) -> None:  # noqa: FBT001 - as the crew calls it
        if kind == "broker_restart":
            if on:
                self._transport.go_down()
            else:
                self._transport.down = False
        elif kind == "poison_message":
            self._path.inject(int(parameters.get("count", 0)))
        elif on:
            self._path.faults[kind] = parameters
        else:
            self._path.faults.pop(kind, None)

    def _tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """What the model says of the fleet's leaving is no part of the story."""
        if not (self._over and event == "verdict"):
            self._emit(event, facts)

    def _hops(self) -> list[tuple[str, int, str]]:
        path, counters = self._path, self._gateway.counters
        return [
            ("accepted", counters["accepted"], f"{self._gateway.connections} connected"),
            ("routed", path.routed, "by rules"),
            ("queued", path.queues["telemetry"].sent, "in memory"),
            ("stored", path.tables.count("telemetry"), f"{path.pending()} under way"),
        ]

    async def _record(self, started_at: Nanoseconds, ended_at: Nanoseconds) -> Record:
        (row,) = await self._query("SELECT count(*) AS n, count(DISTINCT message_id) AS d FROM telemetry", {})
        ledger = self._ledger(int(row["n"]))
        player, model = self._crew.player, self._model
        return Record(
            started_at=started_at,
            ended_at=ended_at,
            wall_seconds=0.0,
            phases=tuple(PhaseSpan(one.id, one.kind, one.start, one.end) for one in player.phases),
            labels=player.labels,
            verdicts=tuple(one for one in model.verdicts if one.at > started_at),
            actions=tuple(one for one in model.actions if one.at > started_at),
            ledger=ledger,
            losses=losses(ledger, distinct=int(row["d"]), dead_letters=self._path.dead_letters),
            latency=Latency(),
            answers=tuple([await self._answer(query) for query in self._story.expect.sql]),
            traffic=await self._traffic(started_at),
            alerts_received=self._alerts.received,
            messages=await messages_since(self._query, started_at) if self._with_messages else (),
        )

    def _ledger(self, viewed: int) -> Ledger:
        counters, path = self._gateway.counters, self._path
        return Ledger(
            published=self._crew.counters["published"],
            accepted=counters["accepted"],
            refused=counters["refused"],
            throttled=counters["throttled"],
            routed=path.routed,
            queued=path.queues["telemetry"].sent,
            stored=path.tables.count("telemetry"),
            viewed=viewed,
            archived=path.archived,
        )

    async def _answer(self, query: SqlExpect) -> SqlAnswer:
        return await answer(self._query, query)

    async def _query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        return (await self._view.query(sql, parameters)).dicts()

    async def _traffic(self, since: Nanoseconds) -> tuple[tuple[Nanoseconds, int], ...]:
        rows = await self._query(
            "SELECT epoch_ms(period_start) AS start, num_messages_received AS messages FROM device_metrics "
            "WHERE device_id = $fleet AND period_start >= epoch_ms(CAST($since AS BIGINT)) ORDER BY 1",
            {"fleet": FLEET, "since": since // MILLISECOND},
        )
        return tuple((int(row["start"]) * MILLISECOND, int(row["messages"] or 0)) for row in rows)


class _Control:
    """Quarantine at the gateway's core, by the scenario's clock."""

    def __init__(self, gateway: Gateway, clock: ManualClock) -> None:
        self._gateway = gateway
        self._clock = clock

    async def quarantine(self, device_id: str, *, reason: str) -> None:
        self._gateway.quarantine(device_id, reason, self._clock.now())

    async def release(self, device_id: str) -> None:
        self._gateway.release(device_id, self._clock.now())

    def quarantined(self) -> frozenset[str]:
        return self._gateway.quarantined()


class _Alerts:
    """The security team, who count what they are told."""

    name = "in memory"

    def __init__(self) -> None:
        self.received = 0

        self._told: list[Told] = []

    def tell(self, alert: Alert) -> None:
        self.received += alert.happened != "closed"
        incident = alert.incident
        told = Told(self.name, alert.alert_id, incident.incident_id, alert.happened, alert.at, "done")
        self._told.append(told)

    def told(self) -> list[Told]:
        told, self._told = self._told, []
        return told

    async def quiet(self, seconds: float) -> None:
        """Nothing is ever under way."""


async def play_direct(
    scenario: Scenario | Story,
    config: Config,
    *,
    emit: Emit,
    refresh: Refresh,
    stop: anyio.Event,
    speed: float | None = None,
    with_messages: bool = False,
    watch: Watch | None = None,
) -> Record:
    """Play a scenario on the direct path: virtual clock, or the wall clock `speed` times as fast.

    `watch` is told of every second that the model judged. Raises ConfigError for rules that it cannot run,
    Interrupted when `stop` is set.
    """
    player = DirectPlay(
        scenario, config, emit=emit, refresh=refresh, with_messages=with_messages, watch=watch
    )
    return await player.run(stop=stop, speed=speed)


__all__: Sequence[str] = ("DirectPlay", "play_direct")
