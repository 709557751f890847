"""The result of an evaluation: figures by kind and over all, for the model and each baseline, and its JSON."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .events import Event, Run
from .figures import KEYS, Figures, Intervals, chosen, figures, intervals, kinds_of
from .playing import Played
from .reliability import Bin, Sample, bins_of, error_of
from .seeds import tuned_on

MODEL = "model"
CUTS: dict[str, Callable[[Event], bool]] = {
    "obvious": lambda event: event.strength == "obvious",
    "subtle": lambda event: event.strength == "subtle",
    "pure": lambda event: event.attack and not event.mixed,
    "mixed": lambda event: event.attack and event.mixed,
    "benign": lambda event: event.kind.startswith("benign."),
    "fault": lambda event: event.kind.startswith("fault."),
}
"""Parts of all events that are reported beside the kinds."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """All runs by method: `model`, and the baselines. `used` are seeds among them that the model was tuned on."""

    detector: str
    seeds: tuple[int, ...]
    used: tuple[int, ...]
    runs: dict[str, list[Run]]
    samples: list[Sample]

    @property
    def kinds(self) -> list[str]:
        return kinds_of(self.runs[MODEL])

    @property
    def baselines(self) -> list[str]:
        return [name for name in self.runs if name != MODEL]

    @property
    def bins(self) -> list[Bin]:
        return bins_of(self.samples)

    def of_kind(self, method: str, kind: str) -> Figures:
        return figures(chosen(self.runs[method], lambda event: event.kind == kind))

    def of_cut(self, method: str, cut: str) -> Figures:
        return figures(chosen(self.runs[method], CUTS[cut]))

    def overall(self, method: str) -> Figures:
        return figures(chosen(self.runs[method], _every))

    def kind_intervals(self, kind: str) -> Intervals:
        return intervals(chosen(self.runs[MODEL], lambda event: event.kind == kind))

    def as_json(self) -> dict[str, Any]:
        """`kinds` and `overall` are the interface; what stands beside them may grow."""
        bins = self.bins
        return {
            **self._part(MODEL),
            "model": self.detector,
            "seeds": list(self.seeds),
            "tuning_seeds": list(self.used),
            "intervals": {
                "kinds": {kind: self.kind_intervals(kind) for kind in self.kinds},
                "overall": intervals(chosen(self.runs[MODEL], _every)),
            },
            "strengths": {
                kind: {
                    cut: _rounded(figures(picked), KEYS)
                    for cut in ("obvious", "subtle", "pure", "mixed")
                    if (picked := chosen(self.runs[MODEL], _both(kind, cut)))
                }
                for kind in self.kinds
                if kind.startswith("attack.")
            },
            "cuts": {cut: _rounded(self.of_cut(MODEL, cut), KEYS) for cut in CUTS},
            "flags": {
                kind: _rounded(self.of_kind(MODEL, kind), ("flag_p50_s", "flag_p95_s")) for kind in self.kinds
            },
            "baselines": {name: self._part(name) for name in self.baselines},
            "reliability": {"bins": [asdict(one) for one in bins], "error": _round(error_of(bins))},
        }

    def _part(self, method: str) -> dict[str, Any]:
        return {
            "kinds": {kind: _rounded(self.of_kind(method, kind), KEYS) for kind in self.kinds},
            "overall": _rounded(self.overall(method), KEYS),
        }


def evaluated(
    played: Iterable[Played], *, detector: str, seeds: Sequence[int], own: Iterable[int]
) -> Evaluated:
    """Put the runs together, in the order of the library."""
    ordered = sorted(played, key=lambda one: (one.model.scenario, one.model.seed))
    names = list(ordered[0].baselines) if ordered else []
    runs = {
        MODEL: [one.model for one in ordered],
        **{n: [one.baselines[n] for one in ordered] for n in names},
    }
    samples = [sample for one in ordered for sample in one.samples]
    return Evaluated(detector, tuple(seeds), tuple(tuned_on(seeds, own)), runs, samples)


def _both(kind: str, cut: str) -> Callable[[Event], bool]:
    return lambda event: event.kind == kind and CUTS[cut](event)


def _every(event: Event) -> bool:
    _ = event
    return True


def _rounded(found: Figures, keys: Sequence[str]) -> Figures:
    return {key: _round(found[key]) for key in keys}


def _round(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else round(value, 4)
