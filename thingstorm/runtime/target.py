"""What a scenario is played against: a stack in this process, or one whose stages run elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.clock import Clock
from contracts.messages import ActionTaken, Json, Nanoseconds, Verdict
from contracts.ports import Health
from thingstorm.runtime.faults import StackFaults
from thingstorm.runtime.parts import Cloud
from thingstorm.runtime.stack import Stack


@dataclass(frozen=True, slots=True)
class Told:
    """What the model said and did since a moment, and how fresh the view was (milliseconds)."""

    verdicts: tuple[Verdict, ...]
    actions: tuple[ActionTaken, ...]
    data_p50_ms: float
    data_p95_ms: float


class Target(Protocol):
    """A running stack. Every method may raise what the parts raise; a remote one also NotReady."""

    @property
    def cloud(self) -> Cloud:
        """Its AWS services, to count what is stored there."""
        ...

    @property
    def mqtt(self) -> tuple[str, int]:
        """Host and port for devices."""
        ...

    def health(self) -> Mapping[str, Health]:
        """Its services by name, as last seen."""
        ...

    async def look(self) -> None:
        """See them anew, and tell what the model told meanwhile."""
        ...

    async def prepare(self, device_ids: Sequence[str]) -> None:
        """Let these devices come: none of them is in quarantine any more."""
        ...

    async def learn(self, *, start: Nanoseconds, until: Nanoseconds) -> None:
        """The model learns on this span."""
        ...

    async def judged_until(self) -> Nanoseconds:
        """The end of the last window judged."""
        ...

    @property
    def clock(self) -> Clock:
        """The time that its parts go by."""
        ...

    async def order(self, topic: str, payload: bytes) -> None:
        """Send a retained job to a device, from the platform."""
        ...

    def fault(self, kind: str, parameters: Mapping[str, Any], on: bool) -> None:  # noqa: FBT001 - as the crew calls it
        """A fault of the platform begins or is over. Raises ConfigError where it cannot be played."""
        ...

    async def told(self, since: Nanoseconds) -> Told: ...

    async def flush(self) -> None:
        """Write the delivery stream's buffer now."""
        ...

    async def query(self, sql: str, parameters: Mapping[str, Json] | None = None) -> list[dict[str, Any]]:
        """Ask the view. Raises ConfigError."""
        ...


class LocalTarget:
    """The stack of this process. Its events reach the display directly."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._faults = StackFaults(stack)

    @property
    def cloud(self) -> Cloud:
        return self._stack.cloud

    @property
    def mqtt(self) -> tuple[str, int]:
        return self._stack.broker.host, self._stack.broker.port

    def health(self) -> Mapping[str, Health]:
        return {one.name: one for one in self._stack.health()}

    async def look(self) -> None:
        """Nothing to fetch: `health` asks the parts themselves."""

    async def prepare(self, device_ids: Sequence[str]) -> None:
        for device_id in self._stack.broker.quarantined() & set(device_ids):
            await self._stack.broker.release(device_id)

    async def learn(self, *, start: Nanoseconds, until: Nanoseconds) -> None:
        await self._stack.analytics.model.learn(start=start, until=until)

    async def judged_until(self) -> Nanoseconds:
        verdicts = self._stack.analytics.model.verdicts
        return verdicts[-1].at if verdicts else 0

    @property
    def clock(self) -> Clock:
        return self._stack.cloud.clock

    async def order(self, topic: str, payload: bytes) -> None:
        await self._stack.broker.publish(topic, payload, qos=1, retain=True)

    def fault(self, kind: str, parameters: Mapping[str, Any], on: bool) -> None:  # noqa: FBT001 - likewise
        self._faults.apply(kind, parameters, on=on)

    async def told(self, since: Nanoseconds) -> Told:
        model, sync = self._stack.analytics.model, self._stack.analytics.sync
        return Told(
            verdicts=tuple(verdict for verdict in model.verdicts if verdict.at > since),
            actions=tuple(action for action in model.actions if action.at > since),
            data_p50_ms=sync.latency_ms(0.5, since=since),
            data_p95_ms=sync.latency_ms(0.95, since=since),
        )

    async def flush(self) -> None:
        await self._stack.pipeline.delivery.flush()

    async def query(self, sql: str, parameters: Mapping[str, Json] | None = None) -> list[dict[str, Any]]:
        return (await self._stack.analytics.view.query(sql, parameters)).dicts()
