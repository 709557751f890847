"""The simulator as a stage: plays its scenario against the running stages, holds them to it, then idles.

A demo that wants the stack for itself asks it to stand aside for a while; afterwards it goes on idling.
"""

from collections.abc import Callable
from typing import Any

import anyio
from anyio.abc import TaskStatus

from contracts.clock import SystemClock
from contracts.ports import Health, State
from simulator.fleet import Simulator
from simulator.scenario import Scenario
from thingstorm.config import Config
from thingstorm.report.expectations import conclude
from thingstorm.report.sentences import describe
from thingstorm.report.story import tell
from thingstorm.runtime.play import play, there
from thingstorm.runtime.supervisor import supervise

Tell = Callable[[str], None]


class SimulatorStage:
    """The service "simulator": first the story, once; then the fleet without its timeline, for ever."""

    name = "simulator"

    def __init__(self, scenario: Scenario, config: Config, *, tell: Tell) -> None:
        self._scenario = scenario
        self._config = config
        self._tell = tell
        self._state: State = "starting"
        self._detail = "waiting for the other stages"
        self._fleet: Simulator | None = None
        self._told = False
        self._aside_until = 0.0
        self._scope = anyio.CancelScope()
        self.result: dict[str, Any] = {}

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Raises NotReady when a stage does not answer: it is tried again from the start."""
        task_status.started()
        self._state = "ready"
        while True:
            await self._stand_aside()
            with anyio.CancelScope() as self._scope:
                await (self._idle() if self._told else self._play())

    def pause(self, seconds: float) -> None:
        """Disconnect the fleet for so long; 0 lets it come back."""
        self._aside_until = anyio.current_time() + seconds
        if seconds > 0:
            self._told = True  # somebody else tells a story now
            self._scope.cancel()

    async def drain(self) -> None:
        if self._fleet is not None:
            await self._fleet.drain()
        self._state = "stopped"

    def health(self) -> Health:
        counters = dict(self._fleet.health().counters) if self._fleet else {}
        detail = f"{self._detail}; {self._fleet.health().detail}" if self._fleet else self._detail
        return Health(self.name, self._state, detail, 0, (), counters)

    async def _stand_aside(self) -> None:
        while (left := self._aside_until - anyio.current_time()) > 0:
            self._detail = "stands aside for a demo"
            await anyio.sleep(min(left, 0.5))

    async def _play(self) -> None:
        self._detail = f"plays {self._scenario.name}"

        def emit(event: str, facts: Any) -> None:
            if line := describe(event, facts):
                self._tell(line)

        record = await play(
            self._scenario,
            there(self._config, alone=False),
            emit=emit,
            refresh=lambda _hops: None,
            stop=anyio.Event(),
            drain_seconds=self._config.drain_seconds,
        )
        result = conclude(self._scenario, record, path="aws", clock="wall")
        self.result = result.as_json()
        self._told = True
        tell(result, record)

    async def _idle(self) -> None:
        outcome = (
            f"{self._scenario.name} {'passed' if self.result['passed'] else 'failed'}; "
            if self.result
            else ""
        )
        self._detail = f"{outcome}the fleet idles"
        calm = self._scenario.model_copy(update={"timeline": ()})
        self._fleet = Simulator(
            calm,
            host=self._config.broker.host,
            port=self._config.broker.port,
            clock=SystemClock(),
            idle_after=True,
            all_must_come=False,
        )
        try:
            async with supervise([self._fleet], drain_seconds=self._config.drain_seconds):
                await anyio.sleep_forever()
        finally:
            self._fleet = None
