"""The response rule: on an attack shut the accused devices out, one by one and capped, and tell people.

Only devices that an attack verdict accuses (flagged, with security evidence) are shut out by themselves. What goes
beyond a cap, and what a doubt points at, is *held*: it waits for a person. Load alone is watched. Nothing here
raises into the loop: every outcome is an `ActionTaken`. What failed is tried again on the next tick, `ATTEMPTS`
times in all.
"""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import anyio

from contracts.clock import Clock
from contracts.errors import UnknownName
from contracts.messages import SECOND, ActionKind, ActionTaken, Alert, Incident, Nanoseconds, Told, Verdict
from contracts.ports import AlertSink, DeviceControl

from .alerting.news import News
from .ward import Closed, Stay, Ward

ATTEMPTS = 3
PATIENCE_SECONDS = 5.0
"""A sink that hangs must not hold up the verdicts of the next seconds for longer."""

WINDOW_SECONDS = 5
"""The span of the cap per window: that of the window a verdict judges."""

SMALLEST_WINDOW_CAP = 3
"""A fifth of five devices is one; three plain attackers of a small fleet need not wait for each other."""

MAX_WATCHED = 50
"""Watched devices recorded for an incident; a crowd is told by the verdict, not device by device."""

DONE = "done"
DRY = "dry run: it would be done now"


@dataclass(frozen=True, slots=True)
class ResponseRule:
    """What may be done without asking. Shares are of the fleet, times in seconds.

    `max_share` bounds all devices in quarantine, `window_share` those shut out within `WINDOW_SECONDS`. Beyond
    either a person is asked; what the window's cap held back is taken up by itself as soon as it may be.
    `release_after` counts from the close of the incident, `limit` from the quarantine. With `dry_run` all is
    decided and recorded and nothing done.
    """

    quarantine: bool = True
    dry_run: bool = False
    max_share: float = 0.3
    window_share: float = 0.2
    release_after: float = 600.0
    limit: float = 3600.0


@dataclass(frozen=True, slots=True)
class Held:
    """A quarantine that waits for a person: for whom, since when, why it was not simply done."""

    device_id: str
    incident_id: str
    since: Nanoseconds
    why: str
    evidence: str


class Responder:
    """Acts on incidents. Remembers what it did, so each call does only what is still missing."""

    def __init__(
        self,
        *,
        control: DeviceControl,
        alerts: Sequence[AlertSink],
        clock: Clock,
        rule: ResponseRule | None = None,
    ) -> None:
        self._control = control
        self._alerts = tuple(alerts)
        self._news = News()
        self._clock = clock
        self.rule = rule or ResponseRule()
        self.ward = Ward(release_after=self.rule.release_after, limit=self.rule.limit)
        self._attempts: Counter[tuple[str, ...]] = Counter()
        self._settled: set[tuple[str, ...]] = set()
        self._held: dict[str, Held] = {}
        self._recent: deque[Nanoseconds] = deque()
        self._pretended: set[str] = set()

    @property
    def held(self) -> tuple[Held, ...]:
        """What waits for a person, oldest first."""
        return tuple(self._held.values())

    def shut_out(self) -> frozenset[str]:
        """Who is in quarantine (in a dry run: who would be)."""
        return self._control.quarantined() | self._pretended

    async def respond(self, incident: Incident, *, fleet_size: int) -> list[ActionTaken]:
        """Do what is still to be done about an open incident; returns what was tried now, with outcomes."""
        taken: list[ActionTaken] = []
        if incident.kind == "attack":
            for device_id in incident.devices:
                taken += await self._accused(incident, device_id, fleet_size)
        elif incident.kind == "undecided":
            taken += self._doubted(incident)
        taken += self._watch(incident)
        if alert := self._news.of(incident, self._clock.now()):
            self._tell(alert)
        return taken

    def all_clear(self, find: Callable[[str], Incident | None]) -> None:
        """Tell of the incidents that are over by now."""
        for alert in self._news.over(find, self._clock.now()):
            self._tell(alert)

    def told(self) -> list[ActionTaken]:
        """What became of alerts since the last call."""
        return [_of_alert(one) for sink in self._alerts for one in sink.told()]

    async def quiet(self, seconds: float) -> None:
        """Return when no alert is under way, at the latest after so long."""
        for sink in self._alerts:
            await sink.quiet(seconds)

    def _tell(self, alert: Alert) -> None:
        for sink in self._alerts:
            sink.tell(alert)

    async def tend(self, closed: Closed) -> list[ActionTaken]:
        """Let out whose time has come; drop what was held for an incident that is over."""
        self.ward.forget_missing(self.shut_out())
        now = self._clock.now()
        taken: list[ActionTaken] = []
        for due in self.ward.due(now, closed):
            stay = due.stay
            if due.go:
                taken.append(
                    await self.release(
                        stay.device_id, by="model", reason=due.why, incident_id=stay.incident_id
                    )
                )
            else:
                outcome = f"not done: {due.why}"
                taken.append(
                    self._taken("release", stay.device_id, outcome, stay.incident_id, "its time is over")
                )
        for held in self.held:
            if closed(held.incident_id) is not None:
                del self._held[held.device_id]
                outcome = "lapsed: the incident is over and nobody decided"
                taken.append(self._taken("quarantine", held.device_id, outcome, held.incident_id, held.why))
        return taken

    async def approve(self, device_id: str, *, by: str, reason: str) -> ActionTaken:
        """A person says yes to what is held. Raises UnknownName."""
        held = self._take_held(device_id)
        told = f"{reason} (held: {held.why})"
        action = await self._shut_out(device_id, held.incident_id, by=by, reason=told, until=None)
        if action.outcome not in (DONE, DRY):
            self._held[device_id] = held
        return action

    def dismiss(self, device_id: str, *, by: str, reason: str) -> ActionTaken:
        """A person says no to what is held. Raises UnknownName."""
        held = self._take_held(device_id)
        return replace(
            self._taken("quarantine", device_id, "dismissed", held.incident_id, reason or held.why), by=by
        )

    async def quarantine(
        self, device_id: str, *, by: str, reason: str, seconds: float | None = None
    ) -> ActionTaken:
        """A person shuts a device out, whatever the caps say; for so long, or until it is released."""
        held = self._held.pop(device_id, None)
        until = None if seconds is None else self._clock.now() + int(seconds * SECOND)
        incident_id = held.incident_id if held else ""
        return await self._shut_out(device_id, incident_id, by=by, reason=reason, until=until)

    async def release(self, device_id: str, *, by: str, reason: str, incident_id: str = "") -> ActionTaken:
        """Let a device come back."""
        stay = self.ward.leave(device_id)
        self._pretended.discard(device_id)
        outcome = DRY
        if not self.rule.dry_run or device_id in self._control.quarantined():
            outcome = await self._attempt(lambda: self._control.release(device_id))
        if stay is not None and outcome not in (DONE, DRY):
            self.ward.enter(stay)
        incident_id = incident_id or (stay.incident_id if stay else "")
        return replace(self._taken("release", device_id, outcome, incident_id, reason), by=by)

    def restore(self, incident: Incident) -> None:
        """Remember what an earlier process did about this incident: nobody is told twice."""
        self._news.restore(incident)
        for action in incident.actions if incident.closed_at is None else ():
            if action.outcome == DONE and action.action in ("quarantine", "watch"):
                self._settled.add((action.action, incident.incident_id, action.target))

    def forget(self, incident_id: str) -> None:
        """The incident is over: its bookkeeping is no longer needed."""
        self._news.forget([incident_id])
        self._settled = {key for key in self._settled if key[1] != incident_id}
        for key in [key for key in self._attempts if key[1] == incident_id]:
            del self._attempts[key]

    async def _accused(self, incident: Incident, device_id: str, fleet_size: int) -> list[ActionTaken]:
        key = ("quarantine", incident.incident_id, device_id)
        if device_id in self.shut_out():
            self._held.pop(device_id, None)
            return []
        if key in self._settled:
            return []
        against, again = self._against(fleet_size)
        if against:
            return self._hold(incident, device_id, against, again=again)
        reason = f"incident {incident.incident_id}: {incident.verdict.summary}"
        action = await self._shut_out(
            device_id, incident.incident_id, by="model", reason=reason, until=None, key=key
        )
        if action.outcome in (DONE, DRY):
            self._held.pop(device_id, None)
        return [action]

    def _against(self, fleet_size: int) -> tuple[str, bool]:
        """Why nobody may be shut out now without asking, and whether that passes by itself."""
        if not self.rule.quarantine:
            return "quarantine by itself is switched off", False
        now = self._clock.now()
        while self._recent and now - self._recent[0] >= WINDOW_SECONDS * SECOND:
            self._recent.popleft()
        limit = max(1, int(self.rule.max_share * fleet_size))
        if (inside := len(self.shut_out())) >= limit:
            return f"{inside} devices are in quarantine, {limit} is the limit for this fleet", False
        most = max(SMALLEST_WINDOW_CAP, int(self.rule.window_share * fleet_size))
        if len(self._recent) >= most:
            return f"{len(self._recent)} were shut out within {WINDOW_SECONDS} s, {most} is the limit", True
        return "", False

    def _hold(
        self, incident: Incident, device_id: str, why: str, *, again: bool = False
    ) -> list[ActionTaken]:
        key = ("held", incident.incident_id, device_id)
        if not again:
            self._settled.add(("quarantine", incident.incident_id, device_id))
        if key in self._settled:
            return []
        self._settled.add(key)
        summary = incident.verdict.summary
        self._held[device_id] = Held(device_id, incident.incident_id, self._clock.now(), why, summary)
        return [self._taken("quarantine", device_id, f"held: {why}", incident.incident_id, summary)]

    def _doubted(self, incident: Incident) -> list[ActionTaken]:
        """Nobody is shut out on doubt; whom the evidence points at is put before a person."""
        taken: list[ActionTaken] = []
        for device_id in suspects(incident.verdict):
            if device_id not in self.shut_out() and device_id not in self._held:
                taken += self._hold(incident, device_id, "the verdict is undecided", again=True)
        return taken

    def _watch(self, incident: Incident) -> list[ActionTaken]:
        taken = []
        seen = sum(1 for key in self._settled if key[:2] == ("watch", incident.incident_id))
        for device_id in incident.verdict.watched[: max(0, MAX_WATCHED - seen)]:
            key = ("watch", incident.incident_id, device_id)
            if key not in self._settled and device_id not in incident.devices:
                self._settled.add(key)
                reason = "load beyond its peers, without security evidence"
                taken.append(self._taken("watch", device_id, DONE, incident.incident_id, reason))
        return taken

    def _take_held(self, device_id: str) -> Held:
        try:
            return self._held.pop(device_id)
        except KeyError:
            raise UnknownName("held device", device_id, self._held) from None

    async def _shut_out(
        self,
        device_id: str,
        incident_id: str,
        *,
        by: str,
        reason: str,
        until: Nanoseconds | None,
        key: tuple[str, ...] | None = None,
    ) -> ActionTaken:
        now = self._clock.now()
        if self.rule.dry_run:
            outcome = DRY
            self._pretended.add(device_id)
            self._settled |= {key} if key else set()
        else:
            outcome = await self._try(key, lambda: self._control.quarantine(device_id, reason=reason[:500]))
        if outcome in (DONE, DRY):
            self.ward.enter(Stay(device_id, now, by, incident_id, until))
            if by == "model":
                self._recent.append(now)
        ends = until or (self.ward.limit_of(now) if incident_id else None)
        return replace(self._taken("quarantine", device_id, outcome, incident_id, reason), by=by, until=ends)

    async def _try(self, key: tuple[str, ...] | None, act: Callable[[], Awaitable[None]]) -> str:
        outcome = await self._attempt(act)
        if key is not None:
            self._attempts[key] += 1
            if outcome == DONE or self._attempts[key] >= ATTEMPTS:
                self._settled.add(key)
        return outcome

    async def _attempt(self, act: Callable[[], Awaitable[None]]) -> str:
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                await act()
        except TimeoutError:
            return f"failed: no answer within {PATIENCE_SECONDS:.0f} s"
        except Exception as error:  # noqa: BLE001 - recorded as the outcome: no sink may stop the verdicts
            return f"failed: {str(error) or type(error).__name__}"
        return DONE

    def _taken(
        self, action: ActionKind, target: str, outcome: str, incident_id: str, reason: str
    ) -> ActionTaken:
        return ActionTaken(action, target, self._clock.now(), outcome, incident_id, reason)


def _of_alert(told: Told) -> ActionTaken:
    action: ActionKind = "all_clear" if told.happened == "closed" else "alert"
    return ActionTaken(action, told.channel, told.at, told.outcome, told.incident_id, told.summary)


def suspects(verdict: Verdict) -> tuple[str, ...]:
    """The devices of a verdict that carry security evidence, in its order."""
    found: Iterable[str] = (item.device_id for item in verdict.evidence if item.weight == "security")
    return tuple(dict.fromkeys(found))
