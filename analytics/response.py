"""The response rule: on an attack shut the accused devices out, one by one and capped, and tell people once.

Nothing here raises into the loop: every outcome is an `ActionTaken`. What failed is tried again on the next
tick, `ATTEMPTS` times in all.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import anyio

from contracts.clock import Clock
from contracts.messages import ActionTaken, Incident, VerdictKind
from contracts.ports import AlertSink, DeviceControl

ATTEMPTS = 3
PATIENCE_SECONDS = 5.0
"""A sink that hangs must not hold up the verdicts of the next seconds for longer."""

ALERTED: frozenset[VerdictKind] = frozenset({"attack", "undecided"})
"""An attack needs a person, and so does doubt; a benign uptick does not."""

DONE = "done"


class Responder:
    """Acts on incidents. Remembers what it did, so each call does only what is still missing."""

    def __init__(
        self,
        *,
        control: DeviceControl,
        alerts: Sequence[AlertSink],
        clock: Clock,
        max_share: float = 0.3,
    ) -> None:
        self._control = control
        self._alerts = tuple(alerts)
        self._clock = clock
        self._max_share = max_share
        self._attempts: Counter[tuple[str, ...]] = Counter()
        self._settled: set[tuple[str, ...]] = set()

    async def respond(self, incident: Incident, *, fleet_size: int) -> list[ActionTaken]:
        """Do what is still to be done about an open incident; returns what was tried now, with outcomes."""
        taken: list[ActionTaken] = []
        if incident.kind == "attack":
            for device_id in incident.devices:
                taken += await self._quarantine(incident, device_id, fleet_size)
        if incident.kind in ALERTED:
            for number, sink in enumerate(self._alerts):
                taken += await self._alert(incident, number, sink)
        return taken

    def restore(self, incident: Incident) -> None:
        """Remember what an earlier process did about this incident: nobody is told twice."""
        names = [sink.name for sink in self._alerts]
        for action in incident.actions:
            if action.outcome == DONE and action.action == "alert" and action.target in names:
                number = str(names.index(action.target))
                self._settled.add(("alert", incident.incident_id, incident.kind, number))
            elif action.outcome == DONE and action.action == "quarantine":
                self._settled.add(("quarantine", incident.incident_id, action.target))

    def forget(self, incident_id: str) -> None:
        """The incident is closed: its bookkeeping is no longer needed."""
        self._settled = {key for key in self._settled if key[1] != incident_id}
        for key in [key for key in self._attempts if key[1] == incident_id]:
            del self._attempts[key]

    async def _quarantine(self, incident: Incident, device_id: str, fleet_size: int) -> list[ActionTaken]:
        key = ("quarantine", incident.incident_id, device_id)
        shut_out = self._control.quarantined()
        if key in self._settled or device_id in shut_out:
            return []
        limit = max(1, int(self._max_share * fleet_size))
        if len(shut_out) >= limit:
            self._settled.add(key)
            outcome = (
                f"not done: {len(shut_out)} devices are in quarantine, {limit} is the limit for this fleet"
            )
            return [self._taken("quarantine", device_id, incident, outcome)]
        reason = f"incident {incident.incident_id}"
        outcome = await self._try(key, lambda: self._control.quarantine(device_id, reason=reason))
        return [self._taken("quarantine", device_id, incident, outcome)]

    async def _alert(self, incident: Incident, number: int, sink: AlertSink) -> list[ActionTaken]:
        key = ("alert", incident.incident_id, incident.kind, str(number))
        if key in self._settled:
            return []
        outcome = await self._try(key, lambda: sink.alert(incident))
        return [self._taken("alert", sink.name, incident, outcome)]

    async def _try(self, key: tuple[str, ...], act: Callable[[], Awaitable[None]]) -> str:
        self._attempts[key] += 1
        outcome = DONE
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                await act()
        except TimeoutError:
            outcome = f"failed: no answer within {PATIENCE_SECONDS:.0f} s"
        except Exception as error:  # noqa: BLE001 - recorded as the outcome: no sink may stop the verdicts
            outcome = f"failed: {str(error) or type(error).__name__}"
        if outcome == DONE or self._attempts[key] >= ATTEMPTS:
            self._settled.add(key)
        return outcome

    def _taken(self, action: str, target: str, incident: Incident, outcome: str) -> ActionTaken:
        return ActionTaken(
            action="alert" if action == "alert" else "quarantine",
            target=target,
            at=self._clock.now(),
            outcome=outcome,
            incident_id=incident.incident_id,
            reason=incident.verdict.summary,
        )
