"""Plays scenarios for the evaluation, each in a process of a pool, and keeps what the counts need."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio

from analytics.calibration import shipped_calibration
from analytics.windows import Second
from contracts.messages import Nanoseconds
from simulator.scenario import Scenario, load_all
from thingstorm.config import Config
from thingstorm.report.record import Record
from thingstorm.runtime.batch import each_apart
from thingstorm.runtime.direct import play_direct

from .baselines import NAMES, played_by, seen
from .events import Run, events_of, strength_of
from .reliability import Sample, samples_of

RULES = Path(__file__).with_name("rules.yaml")


@dataclass(frozen=True, slots=True)
class Job:
    """One scenario with one seed."""

    scenario: Scenario
    content: str

    @property
    def title(self) -> str:
        return f"{self.scenario.name} (seed {self.scenario.seed})"


@dataclass(frozen=True, slots=True)
class Played:
    """A run as the model and each baseline saw it. `raw` are the samples with the confidence before calibration."""

    job: Job
    model: Run
    baselines: dict[str, Run]
    samples: list[Sample]
    raw: list[Sample]

    @property
    def passed(self) -> bool:
        """Whether every attack got its verdict and nobody else one. Expectations of the file are not looked at."""
        events = self.model.events
        missed = any(one.attack and one.verdict_seconds is None for one in events)
        return not missed and not any(one.false_verdicts or one.innocents_quarantined for one in events)


def own_seeds(files: Sequence[Path]) -> list[int]:
    """The seeds that the files themselves name."""
    return sorted({scenario.seed for file in files for scenario in load_all(file)})


def plan(files: Sequence[Path], seeds: Sequence[int]) -> list[Job]:
    """Every scenario of the files with every seed. Raises ConfigError."""
    return [
        Job(scenario, _content(scenario))
        for file in files
        for seed in seeds
        for scenario in load_all(file, seed=seed)
    ]


def play_all(jobs: Sequence[Job], config: Config, *, processes: int | None = None) -> Iterator[Played]:
    """Play them on the direct path, as many at a time as there are cores; as they come."""
    yield from each_apart(jobs, partial(play_one, config=config), processes=processes)


def play_one(job: Job, config: Config) -> Played:
    """Play one job and count, in this process. Rules of the user's own stay; of the default ones `RULES` are enough."""
    if config.pipeline.rules is None:
        pipeline = config.pipeline.model_copy(update={"rules": RULES})
        config = config.model_copy(update={"pipeline": pipeline})
    seconds: list[Second] = []
    flags: list[tuple[Nanoseconds, frozenset[str]]] = []

    def watch(second: Second, flagged: frozenset[str]) -> None:
        seconds.append(second)
        if flagged:
            flags.append((second.end, flagged))

    record = anyio.run(_play, job.scenario, config, watch)
    train_until = record.started_at + job.scenario.train_until
    strength = strength_of(job.scenario.name, job.scenario.tags)
    made = partial(Run, job.scenario.name, job.scenario.seed, job.content)
    what = seen(seconds, record, train_until=train_until)
    others = {name: played_by(name, what, record) for name in NAMES}
    samples = samples_of(record, train_until=train_until)
    return Played(
        job=job,
        model=made(events_of(record, flags=flags, strength=strength)),
        baselines={
            name: made(events_of(told, flags=flagged, strength=strength))
            for name, (told, flagged) in others.items()
        },
        samples=samples,
        raw=samples_of(_raw(record), train_until=train_until),
    )


async def _play(
    scenario: Scenario, config: Config, watch: Callable[[Second, frozenset[str]], None]
) -> Record:
    return await play_direct(
        scenario, config, emit=_nothing, refresh=lambda _hops: None, stop=anyio.Event(), watch=watch
    )


def _raw(record: Record) -> Record:
    table = shipped_calibration()
    verdicts = tuple(replace(one, confidence=table.raw(one.kind, one.confidence)) for one in record.verdicts)
    return replace(record, verdicts=verdicts)


def _nothing(_event: str, _facts: object) -> None:
    """Nobody watches."""


def _content(scenario: Scenario) -> str:
    """What decides the traffic: words, expectations and how it is played do not, nor does a setting left alone."""
    words = {"seed", "description", "expect", "tags", "vars", "clock", "path"}
    told = scenario.model_dump_json(exclude=words, exclude_defaults=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]
