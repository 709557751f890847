"""The service "schedules": registered queries that run by themselves and push their answers.

The next run of a query waits until its push is over, so answers never pile up; what could not be pushed is counted
and left: the next answer is newer.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import ThingstormError
from contracts.messages import SECOND
from contracts.ports import Gauge, Health, Rows, State

from .lambdas import MAX_SCHEDULES, QueryBook, Schedule
from .pushing import Publish, Webhooks, message, same, tried


@dataclass(frozen=True, slots=True)
class Course:
    """How a schedule does: runs, runs without an answer, pushes that arrived and that were given up, the last error."""

    runs: int = 0
    failed: int = 0
    pushed: int = 0
    dropped: int = 0
    error: str = ""


class Schedules:
    """Runs what the book schedules, from `run` on."""

    name = "schedules"

    def __init__(self, book: QueryBook, *, clock: Clock, publish: Publish, webhooks: Webhooks) -> None:
        self._book = book
        self._clock = clock
        self._publish = publish
        self.webhooks = webhooks
        self._state: State = "starting"
        self._running: dict[str, tuple[Schedule, anyio.CancelScope]] = {}
        self._progress = 0
        self.courses: dict[str, Course] = {}

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        await self._book.load()
        self._state = "ready"
        task_status.started()
        try:
            async with anyio.create_task_group() as tasks:
                while True:
                    changed = self._book.changed
                    self._stop_others()
                    for name, schedule in self._book.schedules.items():
                        if name not in self._running:
                            scope = anyio.CancelScope()
                            self._running[name] = schedule, scope
                            tasks.start_soon(self._keep, schedule, scope)
                    await changed.wait()
        finally:
            self._state = "stopped"
            with anyio.CancelScope(shield=True):
                await self.webhooks.close()

    async def drain(self) -> None:
        """Start no other run; the answer that is being pushed has its tries."""
        self._state = "draining"

    def health(self) -> Health:
        courses = self.courses.values()
        counters = {
            key: sum(getattr(one, key) for one in courses) for key in ("runs", "failed", "pushed", "dropped")
        }
        used = len(self._running)
        gauge = Gauge("schedules", used, MAX_SCHEDULES, used)
        return Health(self.name, self._state, "", self._progress, (gauge,), counters)

    def _stop_others(self) -> None:
        for name, (schedule, scope) in list(self._running.items()):
            if self._book.schedules.get(name) is not schedule:
                scope.cancel()
                del self._running[name]

    async def _keep(self, schedule: Schedule, scope: anyio.CancelScope) -> None:
        before: Rows | None = None
        with scope:
            while True:
                next_run = self._clock.now() + int(schedule.every_seconds * SECOND)
                if self._state == "ready":
                    before = await self._once(schedule, before)
                await self._clock.sleep_until(next_run)

    async def _once(self, schedule: Schedule, before: Rows | None) -> Rows | None:
        course = self.courses.get(schedule.name, Course())
        at = self._clock.now()
        try:
            version = self._book.find(schedule.name, tag=schedule.tag).version
            rows = await self._book.run(schedule.name, schedule.parameters, tag=schedule.tag)
        except ThingstormError as error:
            self.courses[schedule.name] = replace(
                course, runs=course.runs + 1, failed=course.failed + 1, error=str(error)
            )
            return before
        course = replace(course, runs=course.runs + 1, error="")
        if schedule.when == "always" or (rows.rows if schedule.when == "rows" else not same(before, rows)):
            text = message(schedule.name, version, at, rows)
            for push in self._pushes(schedule, text, at):
                course = await _pushed(course, push)
        self.courses[schedule.name] = course
        self._progress = self._clock.now()
        return rows

    def _pushes(self, schedule: Schedule, text: str, at: int) -> list[Callable[[], Awaitable[None]]]:
        pushes: list[Callable[[], Awaitable[None]]] = []
        if schedule.sns_topic:
            pushes.append(lambda: self._publish(schedule.sns_topic, text))
        if schedule.webhook:
            pushes.append(lambda: self.webhooks.push(schedule.webhook, text, at=at))
        return pushes


async def _pushed(course: Course, push: Callable[[], Awaitable[None]]) -> Course:
    try:
        await tried(push)
    except ThingstormError as error:
        return replace(course, dropped=course.dropped + 1, error=str(error))
    return replace(course, pushed=course.pushed + 1)
