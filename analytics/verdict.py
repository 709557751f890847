"""The decision of one tick: normal, a benign uptick, an attack, or undecided. A pure function.

Scores find, evidence judges, persistence confirms. A device counts as hostile when its window is flagged AND
carries security evidence in 2 of the last 3 windows. Three such devices, or one whose signs are plain, are an
attack. Load without security evidence is a benign uptick. Where most of a type turn hostile together, or the
whole type rises beyond anything learnt, peers prove nothing: undecided, and nobody is shut out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from contracts.messages import FLEET, SECOND, Evidence, Nanoseconds, Score, Verdict, VerdictKind, Window

from .counting import count_z
from .evidence import EvidenceRules, Signs, signs_of
from .known import NOTHING, Known
from .narrate import summarise


@dataclass(frozen=True, slots=True)
class Rules:
    """How much evidence makes which verdict. Counts are devices or ticks (seconds)."""

    evidence: EvidenceRules = field(default_factory=EvidenceRules)
    devices: int = 3
    hits: int = 2
    of_last: int = 3
    linger_hits: int = 15
    linger_of: int = 20
    """One or two moderate devices are an attack when they have kept it up this long ..."""
    doubt_hits: int = 8
    doubt_of: int = 10
    """... and undecided before that."""
    aftermath: int = 60
    """This long after an attack verdict one more hostile device is an accomplice, not a doubt."""
    broad: float = 0.6
    """Above this hostile share of a type, peers and hostile devices have changed places."""
    surge: float = 8.0
    """Median over a type of messages to own expectation: no rollout does that unannounced."""
    uptick_z: float = 4.5
    uptick_ratio: float = 1.15
    churn: float = 0.05
    load_share: float = 0.04
    visits: float = 10.0
    """Connects in 15 s of client ids that nobody knows and that say nothing: an installer connects once or twice."""
    visitors: float = 3.0
    half_open: float = 5.0
    half_open_ratio: float = 3.0
    """So many connections more than ever while learning, and this many times as many, wait for their CONNECT."""
    learning_ratio: float = 20.0
    """Before anything is learnt, only a rate this many times the peers' is believed."""
    shown_devices: int = 20
    shown_features: int = 3


@dataclass(frozen=True, slots=True)
class Tick:
    """What one window showed, kept for the persistence of later ones."""

    end: Nanoseconds
    hot: frozenset[str] = frozenset()
    strong: frozenset[str] = frozenset()
    load: frozenset[str] = frozenset()
    up: bool = False
    surge: bool = False
    attack: bool = False
    outside: frozenset[str] = frozenset()
    """Signs of the fleet's window that no device of ours gives: `visits`, `half_open`."""


MEMORY = 60
"""Ticks of the past that `decide` may look at."""

Past = Sequence[Tick]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything one decision rests on."""

    signs: Mapping[str, Signs]
    fleet: Mapping[str, float]
    types: Mapping[str, str]
    closeness: float
    hostile: tuple[str, ...]
    strong: frozenset[str]
    lingering: bool
    attacked: bool
    doubtful: bool
    broad: bool
    watched: tuple[str, ...]
    drifted: tuple[str, ...]
    outside: frozenset[str]
    visitors: tuple[str, ...]
    up: bool
    surge: bool
    learning: bool


def decide(
    *,
    windows: Sequence[Window],
    fleet: Window,
    scores: Sequence[Score] | None,
    past: Past,
    decided_at: Nanoseconds,
    rules: Rules,
    known: Known = NOTHING,
) -> tuple[Verdict, Tick]:
    """Judge one tick. `scores` belong to `windows`, one each; None while nothing is learnt yet.

    `past` holds the ticks before this one, oldest first. Returns the verdict and this tick's own entry.
    """
    signs = _AllSigns(windows, fleet, rules.evidence, known)
    tick = _tick(windows, fleet, scores, signs, rules)
    facts = _facts(windows=windows, fleet=fleet, scores=scores, signs=signs, ticks=[*past, tick], rules=rules)
    facts = replace(facts, drifted=tuple(name for name in facts.watched if name in known.drifted))
    kind = _kind(facts, rules)
    hostile = _accused(facts) if kind == "attack" else ()
    watched = facts.watched if kind == "attack" else (*facts.hostile, *facts.watched)
    if kind == "normal":
        watched = ()
    shown = (*hostile, *watched)[: rules.shown_devices]
    verdict = Verdict(
        kind=kind,
        at=fleet.end,
        decided_at=decided_at,
        confidence=_confidence(kind, facts, rules),
        uptick=fleet.features["uptick"],
        uptick_since=_since(fleet),
        devices=hostile,
        watched=watched,
        evidence=(
            *_outside_evidence(facts),
            *(item for name in shown for item in signs[name].evidence[: rules.shown_features]),
        ),
        summary=summarise(kind, facts, rules.shown_features),
    )
    return verdict, replace(tick, attack=kind == "attack")


def _since(fleet: Window) -> Nanoseconds | None:
    rising = fleet.features.get("rising", 0.0)
    return fleet.end - round(rising * SECOND) if rising else None


class _AllSigns(dict[str, Signs]):
    """The signs of every window, each looked at when it is asked for: most devices are never asked about."""

    def __init__(self, windows: Sequence[Window], fleet: Window, rules: EvidenceRules, known: Known) -> None:
        super().__init__()
        self._windows = {window.device_id: window for window in windows}
        self._fleet, self._rules, self._known = fleet, rules, known

    def __missing__(self, device_id: str) -> Signs:
        lenient = self._known.lenient.get(device_id, {})
        signs = signs_of(self._windows[device_id], self._fleet.features, self._rules, lenient)
        self[device_id] = signs
        return signs


def _tick(
    windows: Sequence[Window],
    fleet: Window,
    scores: Sequence[Score] | None,
    signs: Mapping[str, Signs],
    rules: Rules,
) -> Tick:
    if scores is None:
        plain = frozenset(window.device_id for window in windows if _plain(window, signs, rules))
        return Tick(fleet.end, hot=plain, strong=plain)
    flagged = [score.device_id for score in scores if score.flagged]
    hot = frozenset(name for name in flagged if signs[name].security)
    strong = frozenset(name for name in hot if signs[name].strong)
    load = frozenset(flagged) - hot
    surge = fleet.features["surge"] >= rules.surge
    outside = _outside(fleet.features, rules)
    return Tick(fleet.end, hot, strong, load, _rises(fleet.features, rules), surge=surge, outside=outside)


def _outside(fleet: Mapping[str, float], rules: Rules) -> frozenset[str]:
    """What comes from outside the fleet: clients that nobody knows, connections that never say who they are."""
    visits = fleet["visits"] >= rules.visits and fleet["visitors"] >= rules.visitors
    learnt = fleet["half_open_learnt"]
    waiting = fleet["half_open"] >= max(learnt + rules.half_open, rules.half_open_ratio * learnt)
    return frozenset(name for name, found in (("visits", visits), ("half_open", waiting)) if found)


def _plain(window: Window, signs: Mapping[str, Signs], rules: Rules) -> bool:
    features = window.features
    beyond = features["ratio"] >= rules.learning_ratio or features["failures"] >= 5
    return signs[window.device_id].strong and beyond


def _rises(fleet: Mapping[str, float], rules: Rules) -> bool:
    louder = fleet["uptick_z"] >= rules.uptick_z and fleet["uptick_ratio"] >= rules.uptick_ratio
    moving = fleet["churn"] >= rules.churn and fleet["churn"] * fleet["devices"] >= 2.5
    return louder or moving


def _facts(
    *,
    windows: Sequence[Window],
    fleet: Window,
    scores: Sequence[Score] | None,
    signs: Mapping[str, Signs],
    ticks: Past,
    rules: Rules,
) -> Facts:
    recent = ticks[-rules.of_last :]
    present = {window.device_id: window.device_type for window in windows}
    hot = _repeated([tick.hot for tick in recent], rules.hits) & present.keys()
    places = {name: place for place, name in enumerate(present)}

    def order(name: str) -> tuple[float, int]:
        return -signs[name].strength, places[name]

    load = _repeated([tick.load for tick in recent], rules.hits) & present.keys() - hot
    enough = max(2.0, rules.load_share * fleet.features["devices"])
    needed = rules.of_last if scores is None else rules.hits
    return Facts(
        signs=signs,
        fleet=fleet.features,
        types=present,
        closeness=max((score.value / score.threshold for score in scores or ()), default=0.0),
        hostile=tuple(sorted(hot, key=order)),
        strong=frozenset(_repeated([tick.strong for tick in recent], needed) & present.keys()),
        lingering=_kept_up(ticks[-rules.linger_of :], rules.linger_hits, hot),
        attacked=any(tick.attack for tick in ticks[-rules.aftermath :]),
        doubtful=_kept_up(ticks[-rules.doubt_of :], rules.doubt_hits, hot),
        broad=_broad(hot, present, rules),
        watched=tuple(sorted(load, key=order)),
        drifted=(),
        outside=frozenset(_repeated([tick.outside for tick in recent], rules.hits)) & ticks[-1].outside,
        visitors=tuple(sorted(window.device_id for window in windows if window.features["visit_events"] > 0)),
        up=sum(tick.up for tick in recent) >= rules.hits or len(load) >= enough,
        surge=sum(tick.surge for tick in recent) >= rules.hits,
        learning=scores is None,
    )


def _accused(facts: Facts) -> tuple[str, ...]:
    """Hostile devices, and the client ids of a connect flood; of half-open connections there is no id to name."""
    visitors = facts.visitors if "visits" in facts.outside else ()
    return tuple(dict.fromkeys((*facts.hostile, *visitors)))


def _outside_evidence(facts: Facts) -> Iterator[Evidence]:
    learnt = {"visits": 0.0, "half_open": facts.fleet["half_open_learnt"]}
    for name in sorted(facts.outside):
        own = learnt[name]
        value = facts.fleet[name]
        yield Evidence(FLEET, name, value, own, own, float(count_z(value, own)), "security")


def _outside_strength(facts: Facts, rules: Rules) -> float:
    """How many times its limit each sign from outside the fleet is; 0 without one."""
    limits = {"visits": rules.visits, "half_open": rules.half_open + facts.fleet["half_open_learnt"]}
    return sum(facts.fleet[name] / limits[name] for name in facts.outside)


def _repeated(sets: Sequence[frozenset[str]], times: int) -> set[str]:
    counts = Counter(name for found in sets for name in found)
    return {name for name, count in counts.items() if count >= times}


def _kept_up(ticks: Past, times: int, hot: set[str]) -> bool:
    return bool(_repeated([tick.hot for tick in ticks], times) & hot)


def _broad(hot: set[str], present: Mapping[str, str], rules: Rules) -> bool:
    all_of = Counter(present.values())
    hot_of = Counter(present[name] for name in hot)
    return any(all_of[name] >= 4 and count > rules.broad * all_of[name] for name, count in hot_of.items())


def _kind(facts: Facts, rules: Rules) -> VerdictKind:
    if facts.learning:
        return "attack" if facts.strong else "normal"
    if facts.outside:
        return "attack"
    if facts.broad:
        return "undecided"
    needed = 1 if facts.attacked else rules.devices
    if len(facts.hostile) >= needed or facts.strong or facts.lingering:
        return "attack"
    if facts.surge or facts.drifted or (facts.doubtful and not facts.up):
        return "undecided"
    return "benign_uptick" if facts.up else "normal"


def _confidence(kind: VerdictKind, facts: Facts, rules: Rules) -> float:
    """Between 0 and 1, never falling when evidence is added. Not a calibrated probability."""
    hostile = sum(facts.signs[name].strength for name in facts.hostile) + _outside_strength(facts, rules)
    if kind == "attack":
        # one device at its limit: 0.59; three: 0.73; ten devices at twice the limit: 0.99
        return 1.0 - 0.5 * float(np.exp(-hostile / 5.0))
    if kind == "benign_uptick":
        load = (
            facts.fleet["uptick_z"] / rules.uptick_z + facts.fleet["churn"] / rules.churn + len(facts.watched)
        )
        doubt = float(np.exp(-hostile / 5.0))
        return (1.0 - 0.5 * float(np.exp(-max(load, 0.0) / 4.0))) * (0.5 + 0.5 * doubt)
    if kind == "undecided":
        return 0.3
    return 0.2 if facts.learning else 1.0 - 0.5 * min(1.0, max(facts.closeness, 0.0))
