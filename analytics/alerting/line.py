"""One channel with its outbox: tries, waits, tries again, gives up, and says how it does."""

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from contracts.clock import Clock
from contracts.errors import BackendError, ThingstormError, Transient
from contracts.measures import Measure, Spread, Spreading
from contracts.messages import SECOND, Alert, AlertKind, Told
from contracts.ports import AlertChannel

from .describing import headline
from .news import TRYING
from .outbox import Letter, Outbox

PATIENCE_SECONDS = 20.0
"""One delivery, whatever the channel's own limits."""

GIVE_UP_SECONDS = 24 * 3600
"""An alert that nobody could be told for a day is put aside: a person has to look at that channel."""

KEPT_TOLD = 1_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before the next try: doubled each time, up to the longest, and a random part of it less."""

    first: float = 1.0
    longest: float = 60.0

    def pause(self, failures: int) -> float:
        longest = min(self.longest, self.first * 2.0 ** min(failures - 1, 20))
        return longest * random.uniform(0.5, 1)  # noqa: S311 - jitter


class Line:
    """One channel. Its deliveries are in order and one at a time; others have lines of their own."""

    def __init__(
        self,
        channel: AlertChannel,
        *,
        outbox: Outbox,
        clock: Clock,
        note: Callable[[str], None],
        backoff: Backoff,
    ) -> None:
        self.channel = channel
        self.outbox = outbox
        self._clock = clock
        self._note = note
        self._backoff = backoff
        self._failures = 0  # in a row
        self._why = ""
        self._busy = False
        self._wake = anyio.Event()
        self._retried = anyio.Event()
        self._told: deque[Told] = deque(maxlen=KEPT_TOLD)
        self._sent: Counter[AlertKind] = Counter()
        self._failed = 0
        self._taken = Spreading(
            "alert_delivery_seconds",
            "From the alert to the moment when its channel had taken it.",
            labels={"channel": channel.name},
        )

    @property
    def name(self) -> str:
        return self.channel.name

    @property
    def quiet(self) -> bool:
        return self.outbox.first is None and not self._busy

    @property
    def trouble(self) -> str:
        """Why the channel does not take alerts now; empty while it does."""
        return self._why if self._failures else ""

    def offer(self, alert: Alert) -> None:
        """Put it into the outbox."""
        incident_id, summary = alert.incident.incident_id, headline(alert)
        try:
            body = self.channel.render(alert)
        except Exception as error:  # noqa: BLE001 - whatever a renderer raises: no alert may stop the verdicts
            letter = Letter(alert.alert_id, incident_id, alert.happened, alert.at, summary, b"")
            self._tell(letter, f"failed: it could not be written: {type(error).__name__}: {error}")
            self._failed += 1
            return
        letter = Letter(alert.alert_id, incident_id, alert.happened, alert.at, summary, body)
        if not self.outbox.put(letter):
            self._note(f"too many alerts wait for {self.name}: the oldest is dropped")
        self._wake.set()

    async def run(self) -> None:
        """Deliver what comes, for ever."""
        while True:
            letter = self.outbox.first
            if letter is None:
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            self._busy = True
            try:
                pause = await self._deliver(letter)
            finally:
                self._busy = False
            if pause:
                with anyio.move_on_after(pause):
                    await self._retried.wait()

    def retry(self) -> int:
        """Try what was given up again, and what waits at once; how many were given up."""
        count = self.outbox.again()
        self._wake.set()
        self._retried.set()
        self._retried = anyio.Event()
        return count

    async def test(self, alert: Alert) -> str:
        """Deliver this one now, beside the outbox: the outcome."""
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                await self.channel.deliver(alert.alert_id, self.channel.render(alert))
        except TimeoutError:
            return f"failed: no answer within {PATIENCE_SECONDS:.0f} s"
        except ThingstormError as error:
            return f"failed: {error.told}"
        except Exception as error:  # noqa: BLE001 - a channel of any kind
            return f"failed: {type(error).__name__}: {error}"
        return "done"

    def told(self) -> list[Told]:
        """What became of alerts since the last call."""
        told = list(self._told)
        self._told.clear()
        return told

    def measures(self) -> list[Measure]:
        labels = {"channel": self.name}
        sent = [
            Measure(
                "alerts_sent", "Alerts that the channel took.", count, "counter", {**labels, "happened": kind}
            )
            for kind, count in {"opened": 0, "worsened": 0, "closed": 0, **self._sent}.items()
        ]
        return [
            *sent,
            Measure("alert_failures", "Deliveries that failed.", self._failed, "counter", labels),
            Measure(
                "alerts_dropped",
                "Alerts lost because too many waited.",
                self.outbox.dropped,
                "counter",
                labels,
            ),
            Measure(
                "alerts_waiting", "Alerts that wait for the channel.", self.outbox.gauge().used, labels=labels
            ),
            Measure(
                "alerts_undelivered",
                "Alerts that were given up and wait for a person.",
                len(self.outbox.given_up),
                labels=labels,
            ),
            Measure(
                "alert_channel_up",
                "1 while the channel takes alerts.",
                float(not self.trouble),
                labels=labels,
            ),
        ]

    def spread(self) -> Spread:
        return self._taken.spread()

    async def _deliver(self, letter: Letter) -> float:
        """One try; the seconds to wait before the next."""
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                await self.channel.deliver(letter.alert_id, letter.body)
        except TimeoutError:
            slow = Transient(
                f"{self.name}: no answer within {PATIENCE_SECONDS:.0f} s", fix="see that it runs"
            )
            return self._missed(letter, slow)
        except Transient as error:
            return self._missed(letter, error)
        except Exception as error:  # noqa: BLE001 - whatever a channel raises stops neither it nor the others
            return self._refused(letter, error)
        self._delivered(letter)
        return 0.0

    def _delivered(self, letter: Letter) -> None:
        self.outbox.done(letter)
        self._sent[letter.happened] += 1
        self._taken.add((self._clock.now() - letter.at) / SECOND)
        self._tell(letter, "done")
        if self._failures:
            self._note(f"alerts reach {self.name} again")
        self._failures, self._why = 0, ""

    def _missed(self, letter: Letter, error: Transient) -> float:
        self._failed += 1
        self._failures += 1
        self._why = error.told
        if self._clock.now() - letter.at > GIVE_UP_SECONDS * SECOND:
            self.outbox.give_up(letter, error.what)
            self._tell(letter, f"failed: {error.what}; kept")
        elif self._failures == 1:
            self._tell(letter, f"failed: {error.what}; {TRYING}")
            self._note(f"alerts do not reach {self.name}: {self._why} (trying again)")
        return max(error.retry_after, self._backoff.pause(self._failures))

    def _refused(self, letter: Letter, error: Exception) -> float:
        self._failed += 1
        what = error.what if isinstance(error, BackendError) else f"{type(error).__name__}: {error}"
        fix = error.fix if isinstance(error, BackendError) else "see the log"
        self.outbox.give_up(letter, what)
        self._tell(letter, f"failed: {what}; kept")
        self._note(f"{self.name} refused an alert: {what}; fix: {fix}")
        return 0.0

    def _tell(self, letter: Letter, outcome: str) -> None:
        self._told.append(
            Told(
                self.name,
                letter.alert_id,
                letter.incident_id,
                letter.happened,
                self._clock.now(),
                outcome,
                letter.summary,
            )
        )
