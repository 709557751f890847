"""Where scenarios are played on demand against a running stack, one at a time; between them a fleet idles.

What a play taught the model is what it knows afterwards, so the fleet of the last scenario stays and goes on
sending.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import NotReady, ThingstormError
from contracts.messages import Nanoseconds
from contracts.ports import Emit, Health, State
from simulator.commands import PhaseSpan
from simulator.fleet import Simulator
from simulator.scenario import Scenario
from thingstorm.report.expectations import conclude
from thingstorm.report.judge import SLACK
from thingstorm.report.record import (
    ExpectationResult,
    Latency,
    Ledger,
    Losses,
    Record,
    Result,
    SqlAnswer,
)
from thingstorm.report.record import PhaseSpan as JudgedSpan
from thingstorm.report.sentences import describe
from thingstorm.runtime.play import Open, play
from thingstorm.runtime.refresh import Hop
from thingstorm.runtime.signals import Interrupted
from thingstorm.runtime.supervisor import supervise
from thingstorm.runtime.target import Target

MAX_LINES = 200
"""Sentences of a play that are kept: the longest scenario of the library tells some 60."""


@dataclass(frozen=True, slots=True)
class Interim:
    """An expectation while its scenario is played: `waiting`, `holding` (true so far), `passed` or `failed`."""

    name: str
    state: str
    expected: str
    seen: str


@dataclass(slots=True)
class Performance:
    """One play of a scenario: what is being told, and in the end its result, or why there is none."""

    scenario: Scenario
    asked_at: Nanoseconds
    by: str
    state: str = "waiting"
    lines: list[tuple[Nanoseconds, str]] = field(default_factory=list)
    simulator: Simulator | None = None
    target: Target | None = None
    result: Result | None = None
    error: str = ""
    stop: anyio.Event = field(default_factory=anyio.Event)

    @property
    def over(self) -> bool:
        return self.state in ("passed", "failed", "stopped", "broken")

    @property
    def phases(self) -> Sequence[PhaseSpan]:
        started = self.simulator is not None and self.simulator.started_at
        return self.simulator.phases if started and self.simulator is not None else ()


class Theatre:
    """The service "theatre"."""

    name = "theatre"

    def __init__(
        self,
        open_target: Open,
        *,
        clock: Clock,
        drain_seconds: float,
    ) -> None:
        """Nothing is opened before a play, or `run` with a resident fleet."""
        self._open = open_target
        self._clock = clock
        self._drain_seconds = drain_seconds
        self._mqtt: tuple[str, int] | None = None
        self._emit: Emit = lambda _event, _facts: None
        self._state: State = "starting"
        self._asked: Performance | None = None
        self._wake = anyio.Event()
        self._fleet: Simulator | None = None
        self._played = 0
        self._resident: Scenario | None = None
        self.performance: Performance | None = None

    def settle(self, resident: Scenario | None, *, mqtt: tuple[str, int], emit: Emit) -> None:
        """Before `run`: the fleet that comes first, where it connects, and who is told of what it does."""
        self._resident, self._mqtt, self._emit = resident, mqtt, emit

    @property
    def fleet(self) -> Simulator | None:
        """The devices that are connected now by our hand."""
        playing = self.performance.simulator if self.performance and not self.performance.over else None
        return playing or self._fleet

    @property
    def phases(self) -> Sequence[PhaseSpan]:
        """The timeline of whoever plays, in absolute times."""
        last = self.performance.phases if self.performance else ()
        fleet = self._fleet.phases if self._fleet and self._fleet.started_at else ()
        return (*fleet, *last)

    def ask(self, scenario: Scenario, *, by: str) -> Performance:
        """Play this next. Raises NotReady while another one is played."""
        if self._state != "ready" or (self.performance and not self.performance.over):
            raise NotReady("a scenario is being played", fix="wait until it is over, or stop it")
        self._asked = self.performance = Performance(scenario, self._clock.now(), by)
        self._wake.set()
        return self.performance

    def stop(self) -> None:
        """End the play at once, without a result. Raises NotReady if there is none."""
        if self.performance is None or self.performance.over:
            raise NotReady("no scenario is being played", fix="start one first")
        self.performance.stop.set()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Raises what stops the fleet that came first; a play that fails is told and stops nothing."""
        await self._idle(task_status)
        while True:
            if (performance := self._asked) is not None:
                self._asked = None
                await self._play(performance)
            await self._idle(None)

    async def drain(self) -> None:
        self._state = "draining"
        if self.fleet is not None:
            await self.fleet.drain()
        self._state = "stopped"

    def health(self) -> Health:
        """`published` of the fleet that is here now."""
        counters = dict(self.fleet.health().counters) if self.fleet else {}
        detail = self.fleet.health().detail if self.fleet else "no fleet of our own"
        return Health(self.name, self._state, detail, 0, (), {**counters, "plays": self._played})

    async def interim(self, performance: Performance) -> list[Interim]:
        """What the expectations look like by now."""
        simulator, target = performance.simulator, performance.target
        expect = performance.scenario.expect
        if performance.result is not None:
            return [
                Interim(one.name, "passed" if one.passed else "failed", one.expected, one.seen)
                for one in performance.result.expectations
            ]
        if simulator is None or target is None or not simulator.started_at:
            return []
        told = await target.told(simulator.started_at)
        now = self._clock.now()
        spans = tuple(JudgedSpan(one.id, one.kind, one.start, one.end) for one in simulator.phases)
        answers = tuple(SqlAnswer(one.name, error="asked at the end") for one in expect.sql)
        record = Record(
            simulator.started_at, now, 0.0, spans, simulator.labels, told.verdicts, told.actions,
            Ledger(), Losses(), Latency(), answers,
        )  # fmt: skip
        result = conclude(performance.scenario, record, path="aws", clock="wall")
        ends = {span.id: span.end for span in spans}
        return [_interim(one, ends, now) for one in result.expectations]

    async def _idle(self, first: TaskStatus[None] | None) -> None:
        """The resident fleet until somebody asks for a play."""
        if self._resident is None or self._mqtt is None:
            self._up(first)
            await self._asked_for()
            return
        host, port = self._mqtt
        scenario = self._resident if first else self._resident.model_copy(update={"timeline": ()})
        began = self._clock.now()
        fleet = Simulator(
            scenario,
            host=host,
            port=port,
            clock=self._clock,
            emit=self._emit,
            idle_after=True,
            all_must_come=first is not None,
        )
        async with supervise([fleet], drain_seconds=self._drain_seconds):
            self._fleet = fleet
            if first is not None:
                async with self._open(self._emit) as target:
                    await target.learn(start=began, until=fleet.started_at + scenario.train_until)
            self._up(first)
            await self._asked_for()
        self._fleet = None

    def _up(self, first: TaskStatus[None] | None) -> None:
        self._state = "ready"
        if first is not None:
            first.started()

    async def _asked_for(self) -> None:
        await self._wake.wait()
        self._wake = anyio.Event()

    async def _play(self, performance: Performance) -> None:
        performance.state = "starting"
        self._played += 1
        try:
            record = await play(
                performance.scenario,
                self._open,
                emit=self._telling(performance),
                refresh=_nobody_looks,
                stop=performance.stop,
                drain_seconds=self._drain_seconds,
                watch=lambda simulator, target: self._watching(performance, simulator, target),
            )
            performance.result = conclude(performance.scenario, record, path="aws", clock="wall")
            performance.state = "passed" if performance.result.passed else "failed"
            if self._mqtt is not None:
                self._resident = performance.scenario
        except Interrupted:
            performance.state, performance.error = "stopped", "stopped by hand"
        except ThingstormError as error:
            performance.state, performance.error = "broken", f"{error.what} (fix: {error.fix})"

    def _watching(self, performance: Performance, simulator: Simulator, target: Target) -> None:
        performance.simulator, performance.target = simulator, target

    def _telling(self, performance: Performance) -> Emit:
        def emit(event: str, facts: Mapping[str, Any]) -> None:
            self._emit(event, facts)
            if event in ("ready", "settling"):
                performance.state = "playing" if event == "ready" else "settling"
            if (line := describe(event, facts)) and len(performance.lines) < MAX_LINES:
                performance.lines.append((self._clock.now(), line))

        return emit


def _interim(one: ExpectationResult, ends: Mapping[str, Nanoseconds], now: Nanoseconds) -> Interim:
    phase = one.name.partition(".")[0]
    if phase not in ends:
        return Interim(one.name, "waiting", one.expected, "counted at the end")
    if now > ends[phase] + SLACK:
        return Interim(one.name, "passed" if one.passed else "failed", one.expected, one.seen)
    return Interim(one.name, "holding" if one.passed else "waiting", one.expected, one.seen)


def _nobody_looks(_hops: Sequence[Hop]) -> None:
    """The page asks the parts itself."""
