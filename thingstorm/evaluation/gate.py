"""The recorded baseline, and whether a new evaluation is worse than it: the gate that a change of the model passes.

The file holds every run in counts, so that any part of the library can be compared with the same part of it. Compared
are runs of the same scenario (unchanged since), seed and detector. A figure that is worse than the recorded one's
interval is a regression; where all recorded runs were equal the interval is that one value, and one miss is told.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from contracts.errors import ConfigError

from .evaluated import MODEL, Evaluated
from .events import Event, Run
from .figures import COUNTS, RATES, Intervals, chosen, figures, intervals, kinds_of

DEFAULT = Path("benchmarks") / "detection-baseline.json"
"""In the folder where the command runs: of our checkout, or of somebody's own scenarios."""

VERSION = 1
TICK = 1.0
"""Seconds that a time may be beyond the interval: the model looks once a second."""

_DEFAULTS = {field.name: field.default for field in fields(Event) if field.default is not MISSING}


@dataclass(frozen=True, slots=True)
class Regression:
    """One figure of one kind that is worse than the interval of the recorded one."""

    kind: str
    figure: str
    recorded: float
    bound: float
    seen: float | None

    def __str__(self) -> str:
        seen = "none" if self.seen is None else f"{self.seen:.3g}"
        return f"{self.kind} {self.figure}: {seen}, recorded {self.recorded:.3g} (no worse than {self.bound:.3g})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many runs had a recorded one beside them, and what was worse."""

    compared: int
    left: int
    regressions: tuple[Regression, ...]


def save(file: Path, what: Evaluated) -> None:
    """Write the baseline: figures for people, runs for the gate."""
    told = what.as_json()
    head = {"version": VERSION, "model": what.detector, "seeds": list(what.seeds)}
    figures_of = {key: told[key] for key in ("overall", "cuts", "kinds", "strengths", "intervals", "flags")}
    figures_of |= {"baselines": told["baselines"], "reliability": told["reliability"]}
    runs = ",\n".join("  " + json.dumps(_compact(run)) for run in what.runs[MODEL])
    text = json.dumps({**head, **figures_of}, indent=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'{text[:-2]},\n "runs": [\n{runs}\n ]\n}}\n', encoding="utf-8")


def load(file: Path, detector: str) -> list[Run]:
    """The recorded runs of this detector. Raises ConfigError for a file that is no baseline."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if told["version"] != VERSION:
            raise ValueError(f"version {told['version']}")  # noqa: TRY301 - told below, like every other fault
        runs = [Run.of_json(run) for run in told["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} is no recorded baseline: {error}", fix="make it with thingstorm evaluate --save"
        ) from None
    return runs if told["model"] == detector else []


def compare(new: Sequence[Run], recorded: Sequence[Run]) -> Comparison:
    """Hold the runs that have a recorded one beside them against it, by kind and over all."""
    known = {(run.scenario, run.seed, run.content): run for run in recorded}
    both = [(run, known[key]) for run in new if (key := (run.scenario, run.seed, run.content)) in known]
    now, then = [one for one, _ in both], [other for _, other in both]
    found = [one for kind in (*kinds_of(now), "overall") for one in _worse(kind, now, then)]
    return Comparison(len(both), len(new) - len(both), tuple(found))


def _worse(kind: str, now: Sequence[Run], then: Sequence[Run]) -> Iterable[Regression]:
    def of(runs: Sequence[Run]) -> Any:
        return chosen(runs, lambda event: kind in ("overall", event.kind))

    new, old, bounds = figures(of(now)), figures(of(then)), intervals(of(then))
    for name in (*RATES, *COUNTS, "detect_p95_s"):
        seen, was = new[name], old[name]
        bound = _bound(name, bounds)
        if was is None or bound is None:
            continue
        if seen is None or (seen < bound - 1e-9 if name in RATES else seen > bound + 1e-9):
            yield Regression(kind, name, was, bound, seen)


def _bound(name: str, bounds: Intervals) -> float | None:
    pair = bounds[name]
    if pair is None:
        return None
    if name in RATES:
        return pair[0]
    return pair[1] + (TICK if name == "detect_p95_s" else 0.0)


def _compact(run: Run) -> dict[str, Any]:
    """Without what has its default: the file is read in reviews."""
    told = run.as_json()
    told["events"] = [
        {key: value for key, value in event.items() if key not in _DEFAULTS or value != _DEFAULTS[key]}
        for event in told["events"]
    ]
    return told
