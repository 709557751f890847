"""The service "alerts": hands every alert to every channel, each at its own pace."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import UnknownName
from contracts.journal import Journal
from contracts.messages import Alert, Incident, Nanoseconds, Told, Verdict
from contracts.ports import AlertChannel, Emit, Health, State

from .line import Backoff, Line
from .outbox import CAPACITY, Letter, Outbox

POLL_SECONDS = 0.02


class Alerts:
    """The port `AlertSink` over any number of channels. `link` gives the address of an incident's page.

    With a `folder` what waits outlives the process, a file a channel. A channel that fails makes the service no less
    ready: it is told by `detail`, by the measures and by a note when it begins and when it is over.
    """

    name = "alerts"

    def __init__(
        self,
        channels: Sequence[AlertChannel],
        *,
        clock: Clock,
        emit: Emit,
        link: Callable[[str], str] = lambda _: "",
        folder: Path | None = None,
        capacity: int = CAPACITY,
        backoff: Backoff | None = None,
    ) -> None:
        """Raises JournalFault where the folder cannot be used."""
        self._clock = clock
        self._link = link
        self._state: State = "starting"
        self._last_progress: Nanoseconds = 0
        self._lines = {
            channel.name: Line(
                channel,
                outbox=Outbox(
                    f"alerts.{channel.name}", journal=_journal(folder, channel.name), capacity=capacity
                ),
                clock=clock,
                note=lambda what: emit("note", {"what": what}),
                backoff=backoff or Backoff(),
            )
            for channel in channels
        }

    def tell(self, alert: Alert) -> None:
        """Into every outbox."""
        linked = replace(alert, link=self._link(alert.incident.incident_id))
        self._last_progress = self._clock.now()
        for line in self._lines.values():
            line.offer(linked)

    def told(self) -> Sequence[Told]:
        return [one for line in self._lines.values() for one in line.told()]

    async def quiet(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            while not all(line.quiet or line.trouble for line in self._lines.values()):  # noqa: ASYNC110 - at a stop only
                await anyio.sleep(POLL_SECONDS)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                for line in self._lines.values():
                    tasks.start_soon(line.run)
                self._state = "ready"
                task_status.started()
        finally:
            self._state = "stopped"
            for line in self._lines.values():
                line.outbox.close()

    async def drain(self) -> None:
        """Return when everything was delivered, or waits for a channel that does not take it."""
        self._state = "draining"
        await self.quiet(60.0)

    def health(self) -> Health:
        lines = self._lines.values()
        faults = [line.outbox.fault for line in lines if line.outbox.fault]
        undelivered = sum(len(line.outbox.given_up) for line in lines)
        put_aside = [f"{undelivered} undelivered: `thingstorm alerts list`"] if undelivered else []
        told = [*(line.trouble for line in lines if line.trouble), *faults, *put_aside]
        return Health(
            self.name,
            self._state,
            "; ".join(told) or ("by " + ", ".join(self._lines) if self._lines else "no channel"),
            self._last_progress,
            tuple(line.outbox.gauge() for line in lines),
            measures=tuple(measure for line in lines for measure in line.measures()),
            spreads=tuple(line.spread() for line in lines),
        )

    @property
    def channels(self) -> tuple[Line, ...]:
        """Every channel with what waits for it."""
        return tuple(self._lines.values())

    @property
    def undelivered(self) -> tuple[tuple[str, Letter], ...]:
        """What was given up, by the channel's name."""
        return tuple((name, one) for name, line in self._lines.items() for one in line.outbox.given_up)

    async def test(self, names: Sequence[str] = ()) -> dict[str, str]:
        """Tell these channels (all, if none is named) of a test, now; the outcome by name. Raises UnknownName."""
        chosen = [self._line(name) for name in names] or list(self._lines.values())
        alert = self._test_alert()
        outcomes: dict[str, str] = {}

        async def one(line: Line) -> None:
            outcomes[line.name] = await line.test(alert)

        async with anyio.create_task_group() as tasks:
            for line in chosen:
                tasks.start_soon(one, line)
        return {line.name: outcomes[line.name] for line in chosen}

    def retry(self, names: Sequence[str] = ()) -> int:
        """Try again what was given up, and at once what waits; how many were given up. Raises UnknownName."""
        return sum(line.retry() for line in [self._line(name) for name in names] or self._lines.values())

    def _line(self, name: str) -> Line:
        if name not in self._lines:
            raise UnknownName("alert channel", name, self._lines)
        return self._lines[name]

    def _test_alert(self) -> Alert:
        now = self._clock.now()
        incident_id = f"test-{now // 1_000_000:013d}"
        summary = "This is a test of the alerts: nothing happened."
        verdict = Verdict("undecided", now, now, 0.0, 1.0, summary=summary)
        incident = Incident(incident_id, "undecided", now, now, None, (), verdict)
        return Alert(f"{incident_id}-1", "opened", now, incident, self._link(incident_id), test=True)


def _journal(folder: Path | None, channel: str) -> Journal | None:
    return Journal(folder / f"alerts-{channel}.journal") if folder is not None else None
