"""Plays many scenarios: on the direct path several at a time in processes of their own, over AWS one by one."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import anyio

from analytics.detectors.process import keep
from contracts.clock import ScaledClock, SystemClock
from contracts.errors import ConfigError
from contracts.ports import Emit
from simulator.scenario import Scenario
from simulator.story import Story
from thingstorm.config import Config
from thingstorm.report.expectations import conclude
from thingstorm.report.gaps import Gaps, with_gaps
from thingstorm.report.record import Record, Result
from thingstorm.runtime.direct import play_direct
from thingstorm.runtime.play import here, play, there
from thingstorm.runtime.refresh import Refresh
from thingstorm.runtime.signals import stop_on_signal

PathName: TypeAlias = Literal["aws", "direct"]
ClockName: TypeAlias = Literal["wall", "virtual"]
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Job:
    """One scenario or story with the path and the clock that it is played on. A story is played once, here."""

    file: Path
    scenario: Scenario | Story
    path: PathName
    clock: ClockName
    speed: float
    gaps: Gaps
    with_messages: bool = False

    @property
    def title(self) -> str:
        return f"{self.scenario.name} (seed {self.scenario.seed})"

    @property
    def labelled(self) -> bool:
        """Whether the ground truth is known."""
        return isinstance(self.scenario, Scenario) or self.scenario.labelled


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job."""

    job: Job
    result: Result
    record: Record


def plan(
    file: Path,
    scenario: Scenario,
    *,
    path: PathName | None,
    clock: ClockName | None,
    speed: float | None,
    gaps: Gaps,
    with_messages: bool = False,
) -> Job:
    """The job of a scenario: flags win over the file. Raises ConfigError for a pair that does not go together.

    A path given alone brings its own clock: `direct` the virtual one, `aws` the wall clock. So does a speed: the wall clock.
    """
    chosen = path or scenario.path
    asked = clock or ("wall" if speed else None if path else scenario.clock.mode)
    if speed and asked == "virtual":
        raise ConfigError(
            "--speed and the virtual clock do not go together: it goes as fast as the machine",
            fix="leave one of the two out",
        )
    if chosen == "aws" and asked == "virtual":
        raise ConfigError(
            f"{file}: the virtual clock and the AWS path do not go together: real services take real time",
            fix="use path direct, or clock wall with a speed",
        )
    mode = asked or ("virtual" if chosen == "direct" else "wall")
    return Job(file, scenario, chosen, mode, speed or scenario.clock.speed, gaps, with_messages)


async def play_job(
    job: Job, config: Config, *, emit: Emit, refresh: Refresh, attach: bool = False
) -> Outcome:
    """Play one job in this process. Raises what its parts raise, Interrupted at a signal."""
    async with stop_on_signal() as stop:
        if job.path == "direct":
            speed = job.speed if job.clock == "wall" else None
            record = await play_direct(
                job.scenario,
                config,
                emit=emit,
                refresh=refresh,
                stop=stop,
                speed=speed,
                with_messages=job.with_messages,
            )
        else:
            clock = ScaledClock(job.speed) if job.speed != 1.0 else SystemClock()
            record = await play(
                job.scenario,
                there(config) if attach else here(config, clock=clock),
                emit=emit,
                refresh=refresh,
                stop=stop,
                drain_seconds=config.drain_seconds,
                visibility_seconds=config.pipeline.visibility_seconds,
                with_messages=job.with_messages,
            )
    result = conclude(job.scenario, record, path=job.path, clock=job.clock, labelled=job.labelled)
    return Outcome(job, with_gaps(result, job.gaps), record)


def play_apart(jobs: Sequence[Job], config: Config, *, processes: int | None = None) -> Iterator[Outcome]:
    """Play jobs of the direct path in processes, as many as there are cores; outcomes as they come.

    Raises the first failure; what has not begun by then is left.
    """
    yield from each_apart(jobs, partial(play_alone, config=config), processes=processes)


def each_apart(
    jobs: Sequence[Given], work: Callable[[Given], Made], *, processes: int | None = None
) -> Iterator[Made]:
    """What `work` makes of each job, in processes, as it comes. Raises the first failure; the rest is left."""
    count = min(processes or len(os.sched_getaffinity(0)), len(jobs))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=keep)
    try:
        under_way: list[Future[Made]] = [pool.submit(work, job) for job in jobs]
        for future in as_completed(under_way):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def play_alone(job: Job, config: Config) -> Outcome:
    """Play one job without a display, in an event loop of its own."""
    work = partial(play_job, job, config, emit=lambda _event, _facts: None, refresh=lambda _hops: None)
    return anyio.run(work)
