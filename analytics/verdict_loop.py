"""The service "model": each second, windows -> features -> scores -> verdict -> incident -> response."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskGroup, TaskStatus

from contracts.clock import Clock
from contracts.errors import BackendError, NotReady
from contracts.messages import (
    MILLISECOND,
    SECOND,
    ActionTaken,
    Change,
    Incident,
    Nanoseconds,
    Verdict,
)
from contracts.ports import AlertSink, DeviceControl, Emit, Gauge, Health, Rows, State, View

from .action_log import ActionLog
from .announcements import Announcements
from .baseline import Profile
from .desk import Desk
from .detectors import check_detector
from .drift import DriftRules
from .expectations import Expectations
from .feedback import Lessons
from .incidents import IncidentBook
from .memory import Memory, incident_row, learning_row, recall, verdict_row
from .model import Model
from .model_measures import Tally
from .response import Responder, ResponseRule
from .rows import RowWriter
from .schedule import Pace, ScheduledQuery
from .stored_baseline import load, save
from .verdict import Rules
from .windows import COUNTS, SECONDS_QUERY, Second, SecondReader

T = TypeVar("T")

Watch = Callable[[Second, frozenset[str]], None]
"""Told of every second that is judged and of the devices whose windows were flagged in it."""

POLL: Nanoseconds = 150 * MILLISECOND
"""Adds 75 ms to the time to verdict on average; the query reads only seconds not yet judged (some ms)."""

MAX_PENDING = 3
"""Seconds that came together (a late batch) and are still judged one by one; older ones are only counted in."""

KEPT_VERDICTS = 7200
RESUME_SECONDS = 10
"""After a restart, seconds older than this are only counted in: their answer would come too late to act on."""

PROFILE_SECONDS = 300
"""The longest window of the model."""

JOBS_QUERY = "device_jobs"
JOBS_POLL: Nanoseconds = 500 * MILLISECOND
"""A device reboots a second or more after it got its job: by then the job must be known."""

JOBS_OVERLAP_MS = 10_000
"""Rows of a device table may come a little late: these seconds are read again, which changes nothing."""

SAVE_SECONDS = 300
"""How much of what drift taught may be lost with the process; the training is saved at once."""

_FAILURES = tuple(
    COUNTS.index(name) for name in ("num_authorization_failures", "num_authentication_failures")
)

ALERT_SECONDS = 1.0
"""At a stop: how long to wait for alerts under way, so that they are recorded. What waits for a channel is kept by it."""

UNTOLD_SECONDS = 3600
"""An incident that was closed while nobody could be told is told of after a restart, if it is not older than this."""

REWRITE_SECONDS = 5
"""An incident that goes on unchanged is written again this often, for its `updated_at`."""


class VerdictLoop:
    """Judges every complete second of the view, and acts. One instance per view.

    `train_until` is event time; None means `train_seconds` from the first complete second. The chosen detector
    is fitted in a worker thread; until then a robust z judges in its place.
    """

    name = "model"

    def __init__(
        self,
        *,
        view: View,
        clock: Clock,
        control: DeviceControl,
        alerts: Sequence[AlertSink],
        detector: str = "knn",
        train_until: Nanoseconds | None = None,
        train_seconds: float = 120.0,
        start: Nanoseconds | None = None,
        response: ResponseRule | None = None,
        quiet_seconds: float = 15.0,
        rules: Rules | None = None,
        drift: DriftRules | None = None,
        baseline: Path | None = None,
        emit: Emit | None = None,
        watch: Watch | None = None,
    ) -> None:
        check_detector(detector)
        self._view = view
        self._clock = clock
        self._control = control
        self._emit = emit or _nobody
        self._watch = watch or _nobody
        self._train_seconds = train_seconds
        self._model = Model(
            clock=clock, detector=detector, train_until=train_until, rules=rules or Rules(), drift=drift
        )
        self._baseline_file = baseline
        self._saved_at: Nanoseconds | None = None
        self._refused = ""
        self._book = IncidentBook(quiet_seconds=quiet_seconds)
        self._responder = Responder(control=control, alerts=alerts, clock=clock, rule=response)
        self._rows = RowWriter(view, clock)
        self._tally = Tally()
        self._log = ActionLog(self._rows, self._emit, count=self._tally.acted)
        self._lessons = Lessons()
        self._announcements = Announcements()
        self._expectations = Expectations(self._announcements, self._lessons)
        self.desk = Desk(
            view=view,
            clock=clock,
            responder=self._responder,
            book=self._book,
            lessons=self._lessons,
            announcements=self._announcements,
            log=self._log,
            rows=self._rows,
            teach=self._model.teach,
        )
        began = clock.now() if start is None else start
        self._reader = SecondReader(clock, start=began - began % SECOND)
        self._jobs_since = 0
        self._jobs = self._jobs_query(view, clock)
        self._judging = CapacityLimiter(1)
        self._fitting = CapacityLimiter(1)
        self._query = self._seconds_query(view, clock)
        self._draining = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._prepared = False
        self._fit_started = False
        self._closed = False
        self._span_written = False
        self._epoch = 0  # of what is learnt: a fit of an earlier one is of no use
        self._judge_from: Nanoseconds = 0
        self._state: State = "starting"
        self._written: dict[str, Nanoseconds] = {}
        self._last_kind = "normal"
        self._last_progress: Nanoseconds = 0
        self._counters = dict.fromkeys(("ticks", "late", "skipped", "flagged"), 0)
        self.verdicts: deque[Verdict] = deque(maxlen=KEPT_VERDICTS)
        self.scores: deque[tuple[Nanoseconds, float]] = deque(maxlen=KEPT_VERDICTS)
        """By the end of each window judged, the strangest device's score in thresholds: from 1.0 on it is flagged."""

    def _seconds_query(self, view: View, clock: Clock) -> ScheduledQuery:
        return ScheduledQuery(
            SECONDS_QUERY,
            view,
            clock,
            every=POLL,
            parameters=lambda: self._reader.parameters,
            push=self._take_answer,
        )

    def _jobs_query(self, view: View, clock: Clock) -> ScheduledQuery:
        return ScheduledQuery(
            JOBS_QUERY,
            view,
            clock,
            every=JOBS_POLL,
            parameters=lambda: {"since_ms": max(0, self._jobs_since - JOBS_OVERLAP_MS)},
            push=self._take_jobs,
        )

    @staticmethod
    def check(detector: str) -> None:
        """Raises UnknownName if there is no such detector; imports nothing."""
        check_detector(detector)

    async def learn(self, *, start: Nanoseconds, until: Nanoseconds) -> None:
        """Learn what is normal from the traffic of this span of event time, in place of what was learnt.

        Open incidents are closed: they belong to what is forgotten.
        """
        async with self._query.turn:
            await self._write_incidents(self._book.close(self._clock.now()))
            self._epoch += 1
            self._saved_at = None
            self._fit_started = self._span_written = False
            self._model.reset()
            self._model.train_until(until)
            self._reader = SecondReader(self._clock, start=start)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        return self._book.incidents

    @property
    def learning(self) -> bool:
        """Whether the model still learns what is normal."""
        return self._model.learning

    @property
    def detector_in_use(self) -> str:
        """The class of the fitted detector, or '' while learning."""
        return type(self._model.detector).__name__ if self._model.detector else ""

    @property
    def actions(self) -> deque[ActionTaken]:
        """What was done, tried, held or undone, oldest first."""
        return self._log.actions

    @property
    def devices_judged(self) -> int:
        """Devices that the model has seen."""
        return self._model.fleet_size

    @property
    def drifted(self) -> frozenset[str]:
        """The devices that crept up alone, as far as a baseline follows."""
        return self._model.drifted

    @property
    def training_until(self) -> Nanoseconds | None:
        """The end of the learning phase, once it is known."""
        return self._model.training_until

    def shut_out(self) -> frozenset[str]:
        """Who is in quarantine (in a dry run: who would be)."""
        return self._responder.shut_out()

    def profile(self, device_id: str, device_type: str) -> Profile | None:
        """What was learnt of a device, else of its type, else of the fleet; None while learning."""
        learnt = self._model.learnt
        return learnt.baseline.profile(device_id, device_type) if learnt else None

    @property
    def schedule(self) -> tuple[Pace, ...]:
        """How the queries do whose answers the model lives on."""
        return (self._query.pace, self._jobs.pace)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as self._tasks:
            try:
                self._resume(await recall(self._view))
                self._state = "ready"
                task_status.started()
                self._tasks.start_soon(self._jobs.run, self._draining)
                await self._query.run(self._draining)
                await anyio.sleep_forever()
            finally:
                # within the group: a thread may wait for an import or a fit, which ends with its process
                self._closed = True
                self._model.close()

    async def drain(self) -> None:
        """Judge every second that is complete in the view, then return."""
        self._state = "draining"
        self._draining.set()
        while await self.step():
            pass
        await self._responder.quiet(ALERT_SECONDS)
        told = self._responder.told()
        recorded = self._incident_changes(self._book.record(told))
        await self._rows.write([*self._log.take(told), *recorded])
        await self._save()
        self._state = "stopped"

    def health(self) -> Health:
        detail = "learning" if self.learning else f"judging with {self.detector_in_use}"
        detail += f"; {self._refused}" if self._refused else ""
        counters = {
            **self._counters,
            "flagged": self._model.flagged,
            "late": self._reader.incomplete,
            "query_retries": self._query.pace.retries + self._jobs.pace.retries,
            "write_retries": self._rows.retries,
        }
        kept = Gauge("verdicts", len(self.verdicts), KEPT_VERDICTS, len(self.verdicts))
        measures = self._tally.measures(
            open_incidents=self._book.open,
            held=len(self._responder.held),
            devices=self._model.fleet_size,
            learning=self.learning,
        )
        return Health(
            self.name,
            self._state,
            detail,
            self._last_progress,
            (kept,),
            counters,
            measures,
            self._tally.spreads(),
        )

    def _resume(self, memory: Memory) -> None:
        """Go on where an earlier process stopped: with what it had learnt, or else learn again from the same span."""
        self._judge_from = self._clock.now() - RESUME_SECONDS * SECOND
        if self._load():
            self._reader = SecondReader(self._clock, start=self._clock.now() - PROFILE_SECONDS * SECOND)
        elif memory.learnt is not None:
            self._model.train_until(memory.learnt[1])
            self._span_written = True
            self._reader = SecondReader(self._clock, start=memory.learnt[0])
        else:
            self._judge_from = 0
        self._book.take_up(memory.closed)
        for incident in memory.open:
            self._book.restore(incident)
            self._responder.restore(incident)
        for incident in memory.closed:
            if self._clock.now() - (incident.closed_at or 0) < UNTOLD_SECONDS * SECOND:
                self._responder.restore(incident)
        shut_out = self._control.quarantined()
        for stay in memory.stays:
            if stay.device_id in shut_out:
                self._responder.ward.enter(stay)
        self._expectations.restore(memory.announcements, memory.lessons)

    def _load(self) -> bool:
        """Take up the stored baseline; a file that does not fit is told of, and the model learns anew."""
        path = self._baseline_file
        if path is None or not path.exists():
            return False
        try:
            self._model.restore(load(path))
        except (BackendError, NotReady) as error:
            self._refused = error.what
            self._emit("note", {"what": f"{error.what}; {error.fix}"})
            return False
        self._saved_at = self._clock.now()
        self._span_written = True
        self._emit("model.restored", {"file": str(path)})
        return True

    async def _save(self) -> None:
        """Write the baseline file, if there is one to write."""
        path, stored = self._baseline_file, self._model.stored()
        if path is None or stored is None:
            return
        self._saved_at = self._clock.now()
        try:
            await to_thread.run_sync(lambda: save(path, stored), limiter=self._fitting)
        except BackendError as error:
            self._refused = error.what
            self._emit("note", {"what": error.told})

    async def _save_if_due(self) -> None:
        now = self._clock.now()
        if self._saved_at is None or now - self._saved_at >= SAVE_SECONDS * SECOND:
            await self._save()

    async def step(self) -> int:
        """Hear of jobs, judge what is complete now; returns how many seconds were taken from the view."""
        await self._jobs.once()
        return await self._query.once()

    async def _take_jobs(self, rows: Rows) -> int:
        for device_id, job, at_ms in rows.rows:
            self._announcements.job(device_id, job, at_ms * MILLISECOND)
            self._jobs_since = max(self._jobs_since, at_ms)
        return len(rows.rows)

    async def _take_answer(self, rows: Rows) -> int:
        seconds = self._reader.take(rows)
        for position, second in enumerate(seconds):
            recent = second.end >= self._judge_from
            await self._take(second, judge=recent and len(seconds) - position <= MAX_PENDING)
        if not self.learning and self._reader.position < self._judge_from:
            # between what was learnt and now only the profile's span is of use
            self._reader.skip_to(self._judge_from - PROFILE_SECONDS * SECOND)
        return len(seconds)

    async def _take(self, second: Second, *, judge: bool) -> None:
        self._model.train_for(start=second.end - SECOND, seconds=self._train_seconds)
        if not self._span_written:
            await self._write_span(second.end - SECOND)
        if not self._prepared and self._tasks is not None:
            # traffic flows: an import that takes seconds delays no first message any more
            self._prepared = True
            self._tasks.start_soon(self._prepare)
        shut_out = self._control.quarantined()
        self._last_progress = self._clock.now()
        for row in second.rows:
            if row.device_id in shut_out:
                knocks = sum(row.counts[place] for place in _FAILURES)
                self._responder.ward.knocked(row.device_id, knocks, second.end)
        self._model.known = self._expectations.at(second.end, self._model)
        self._model.calm = self._book.security is None
        if self.learning and (hostile := self._lessons.hostile(second.end)):
            second = replace(second, rows=tuple(row for row in second.rows if row.device_id not in hostile))
        if not judge:
            self._counters["skipped"] += 1
            await self._in_thread(lambda: self._model.take(second, shut_out=shut_out))
            return
        verdict = await self._in_thread(lambda: self._take_and_judge(second, shut_out))
        self._watch(second, self._model.flagged_now)
        self._counters["ticks"] += 1
        await self._fit_if_wanted()
        await self._handle(verdict)
        if self._baseline_file is not None:
            await self._save_if_due()

    def _take_and_judge(self, second: Second, shut_out: frozenset[str]) -> Verdict:
        self._model.take(second, shut_out=shut_out)
        return self._model.judge()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._judging)

    async def _fit_if_wanted(self) -> None:
        if not self._model.wants_fit or self._fit_started:
            return
        self._fit_started = True
        self._emit("model.learnt", {"devices": self._model.fleet_size})
        if self._tasks is not None:
            self._tasks.start_soon(self._fit)
        else:
            # driven step by step (virtual time): the same seed must give the same verdicts
            await self._fit()

    async def _prepare(self) -> None:
        await to_thread.run_sync(self._model.prepare, limiter=self._fitting)

    async def _fit(self) -> None:
        epoch = self._epoch
        try:
            detector = await to_thread.run_sync(self._model.fit, limiter=self._fitting)
        except NotReady:
            return  # something else is being learnt meanwhile
        except BackendError:
            if self._closed:
                return
            raise
        if epoch != self._epoch:
            return
        self._model.fitted(detector)
        self._emit("model.fitted", {"detector": type(detector).__name__, "threshold": detector.threshold})

    async def _handle(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.scores.append((verdict.at, self._model.strangest))
        if verdict.kind != self._last_kind:
            facts = {"kind": verdict.kind, "confidence": verdict.confidence, "summary": verdict.summary}
            self._emit("verdict", facts)
        changed = self._book.update(verdict)
        self._tally.verdict(verdict)
        self._tally.opened(incident for incident in changed if incident.opened_at == verdict.at)
        actions: list[ActionTaken] = []
        for incident in self._book.open:
            actions += await self._responder.respond(incident, fleet_size=self._model.fleet_size)
        actions += await self._responder.tend(self._book.closed_at)
        self._responder.all_clear(self._book.find)
        actions += self._responder.told()
        changed += self._book.record(actions)
        for incident_id in self._book.settled(verdict.at):
            self._responder.forget(incident_id)
        await self._write(verdict, {item.incident_id: item for item in changed}, self._log.take(actions))

    async def _write(
        self, verdict: Verdict, incidents: Mapping[str, Incident], changes: list[Change]
    ) -> None:
        if verdict.kind != "normal" or verdict.kind != self._last_kind:
            changes.append(self._rows.change("verdicts", "verdict_id", verdict_row(verdict)))
        self._last_kind = verdict.kind
        changes += self._incident_changes(incidents.values())
        if changes:
            await self._rows.write(changes)

    async def _write_incidents(self, incidents: Sequence[Incident]) -> None:
        if incidents:
            await self._rows.write(self._incident_changes(incidents))

    def _incident_changes(self, incidents: Iterable[Incident]) -> list[Change]:
        changes: list[Change] = []
        for incident in incidents:
            if self._due(incident):
                self._emit("incident", {"incident": incident})
                changes.append(self._rows.change("incidents", "incident_id", incident_row(incident)))
        return changes

    async def _write_span(self, start: Nanoseconds) -> None:
        """Which traffic is being learnt, so that a restarted process learns the same."""
        until = self._model.training_until
        if until is None:
            return
        self._span_written = True
        row = learning_row(learn_from=start, learn_until=until, detector=self._model.detector_name)
        await self._rows.write([self._rows.change("models", "model_id", row)])

    def _due(self, incident: Incident) -> bool:
        """Write at once what differs from the last time, and the passing of time every few seconds."""
        shape = f"{incident.incident_id}/{incident.kind}/{len(incident.devices)}/{len(incident.actions)}"
        last = self._written.get(shape)
        fresh = last is None or incident.updated_at - last >= REWRITE_SECONDS * SECOND
        if incident.closed_at is not None:
            prefix = f"{incident.incident_id}/"
            self._written = {key: at for key, at in self._written.items() if not key.startswith(prefix)}
            return True
        if fresh:
            self._written[shape] = incident.updated_at
        return fresh


def _nobody(_event: object, _facts: object) -> None:
    """Nobody watches."""
