"""Windows to verdicts in one object without any waiting: what the loop runs in its worker thread.

Learning phase: seconds are kept, only plain signs are judged. After it: the baseline and a robust detector
are learnt at once (milliseconds), so that no tick is blind; the chosen detector replaces it when it is fitted
(the first import of PyOD takes seconds). The detector never learns again by itself; the profiles follow slow drift
within bounds (see `drift`), so no attack is learnt.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from contracts.clock import Clock
from contracts.errors import NotReady
from contracts.messages import SECOND, Nanoseconds, Score, Verdict, Window

from .baseline import MIN_SECONDS, Baseline, learn_baseline
from .calibration import shipped_calibration
from .detectors import ScaledDetector, make_detector
from .detectors.base import MAX_ROWS, MIN_ROWS, CleanRows
from .detectors.robust import RobustDetector
from .drift import DriftRules, Follower
from .features import measure
from .fleet_level import FleetLevel
from .history import History
from .known import NOTHING
from .stored_baseline import Stored
from .verdict import MEMORY, Rules, Tick, decide
from .windows import WINDOW_SECONDS, Second

MAX_TRAINING_SECONDS = 1800
"""Half an hour of clean seconds at most; of a longer training the newest count."""

MIN_TRAINING_TICKS = 20

SEED = 7
"""Of every detector that draws by chance (`analytics.detectors.pyod`); stored with the baseline."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What the training gave: the baseline, and the clean windows that detectors are fitted on.

    Of a stored training the windows are gone, their rows are there.
    """

    baseline: Baseline
    windows: tuple[Window, ...]
    clean: CleanRows | None = None


def train(seconds: Sequence[Second], *, without: frozenset[str] = frozenset()) -> Learnt:
    """Learn from clean seconds. Raises NotReady if they are too few."""
    baseline = learn_baseline(seconds, without=without)
    devices = max(len(baseline.devices), 1)
    wanted = max(MIN_TRAINING_TICKS, MAX_ROWS // devices)
    stride = max(1, len(seconds) // wanted)
    history = History()
    windows: list[Window] = []
    for position, second in enumerate(seconds):
        history.advance(second, baseline)
        if history.seconds >= WINDOW_SECONDS and (len(seconds) - 1 - position) % stride == 0:
            windows.extend(measure(history, baseline, without=without)[0])
    if len(windows) < MIN_ROWS:
        raise NotReady(f"only {len(windows)} clean windows", fix=f"train until there are {MIN_ROWS}")
    return Learnt(baseline, tuple(windows))


class Model:
    """Not thread-safe: one call at a time, but for `fitted`, which may come from another thread."""

    def __init__(
        self,
        *,
        clock: Clock,
        detector: str,
        train_until: Nanoseconds | None,
        rules: Rules,
        drift: DriftRules | None = None,
    ) -> None:
        self._clock = clock
        self._rules = rules
        self.detector_name = detector
        self._candidate = make_detector(detector)
        self._train_until = train_until
        self._history = History()
        self._second = Second(0)
        self._training: deque[Second] = deque(maxlen=MAX_TRAINING_SECONDS)
        self._suspects: set[str] = set()
        self._past: deque[Tick] = deque(maxlen=MEMORY)
        self._shut_out: frozenset[str] = frozenset()
        self._drift = drift or DriftRules()
        self._level = FleetLevel()
        self._follower: Follower | None = None
        self._effective: tuple[Baseline, Mapping[str, frozenset[str]], Baseline] | None = None
        self.known = NOTHING
        self.calm = True
        """No security incident is open: only then is drift followed."""
        self.learnt: Learnt | None = None
        self.detector: ScaledDetector | None = None
        self._calibration = shipped_calibration()
        self.flagged = 0
        self.flagged_now: frozenset[str] = frozenset()
        """The devices whose windows were flagged in the last tick."""
        self.strangest = 0.0
        """The highest score of the last tick, in thresholds."""

    @property
    def learning(self) -> bool:
        return self.learnt is None

    @property
    def wants_fit(self) -> bool:
        """Whether the chosen detector still has to be fitted (the stand-in works meanwhile)."""
        return self.learnt is not None and self.detector_name != "robust" and not self._chosen

    @property
    def fleet_size(self) -> int:
        return len(self._history)

    @property
    def _chosen(self) -> bool:
        return self.detector is not None and not isinstance(self.detector, RobustDetector)

    def train_for(self, *, start: Nanoseconds, seconds: float) -> None:
        """Set the end of the learning phase if nobody has."""
        if self._train_until is None:
            self._train_until = start + int(seconds * SECOND)

    def train_until(self, moment: Nanoseconds) -> None:
        """Set the end of the learning phase."""
        self._train_until = moment

    def reset(self) -> None:
        """Forget what was learnt and seen; the detector's process is kept for the next fit."""
        self._train_until = None
        self._history = History()
        self._training.clear()
        self._suspects.clear()
        self._past.clear()
        self._level = FleetLevel()
        self.learnt, self.detector, self._follower = None, None, None

    @property
    def drifted(self) -> frozenset[str]:
        """The devices that crept up alone, as far as a baseline follows."""
        return self._follower.drifted if self._follower else frozenset()

    @property
    def peers(self) -> tuple[Sequence[str], Sequence[str]]:
        """Ids and types of all devices seen."""
        return self._history.ids, self._history.types

    def teach(self, patterns: Mapping[str, Collection[str]]) -> None:
        """These topic patterns, by device type, are known from now on."""
        if self.learnt is None or not patterns:
            return
        known = dict(self.learnt.baseline.patterns)
        for kind, found in patterns.items():
            if kind in known:
                known[kind] = known[kind] | frozenset(found)
        self.learnt = replace(self.learnt, baseline=replace(self.learnt.baseline, patterns=known))

    def stored(self) -> Stored | None:
        """What a later process needs to go on from here; None before the detector is fitted."""
        if self.learnt is None or self._follower is None or self.wants_fit:
            return None
        clean = self.clean_rows()
        if clean is None:
            return None
        how = {"detector": self.detector_name, "seed": SEED, "forecast": self._level.state}
        return Stored(self.learnt.baseline, self._follower.anchors, clean, how)

    def restore(self, stored: Stored) -> None:
        """Go on from what an earlier process learnt; nothing has to be learnt again. Raises NotReady, Terminal."""
        stand_in = RobustDetector()
        stand_in.refit(stored.clean)
        self.learnt, self.detector = Learnt(stored.baseline, (), stored.clean), stand_in
        self._follower = Follower(stored.baseline, self._drift, anchors=stored.anchors)
        self._level.restore(stored.configuration.get("forecast", {}))

    @property
    def training_until(self) -> Nanoseconds | None:
        """The end of the learning phase, once it is known."""
        return self._train_until

    def take(self, second: Second, *, shut_out: frozenset[str]) -> None:
        """Add the next second without judging it."""
        self._history.forget(shut_out | self._shut_out)
        self._shut_out = shut_out
        if self.learnt is None and self._train_until is not None and second.end > self._train_until:
            self._finish_learning()
        self._second = second
        self._history.advance(second, self._baseline())
        if self.learnt is None:
            self._training.append(second)
        elif self._follower is not None:
            self._follower.came()

    def windows(self) -> list[Window]:
        """The windows that end with the last second taken, one a device."""
        return self._measure()[0]

    def judge(self) -> Verdict:
        """The verdict on the window that ends with the last second taken."""
        windows, fleet = self._measure()
        fleet = self._level.measure(fleet)
        scores = self._score(windows)
        verdict, tick = decide(
            windows=windows,
            fleet=fleet,
            scores=scores,
            past=tuple(self._past),
            decided_at=self._clock.now(),
            rules=self._rules,
            known=self.known,
        )
        self._past.append(tick)
        if self.learnt is None:
            self._suspects |= tick.hot
        else:
            self._follow(verdict, tick)
            self._level.learn(fleet, verdict.kind)
            verdict = replace(verdict, confidence=self._calibration.apply(verdict.kind, verdict.confidence))
        self.flagged_now = frozenset(score.device_id for score in scores or () if score.flagged)
        self.flagged += len(self.flagged_now)
        self.strangest = max(
            (one.value / one.threshold for one in scores or () if one.threshold > 0), default=0.0
        )
        return verdict

    def prepare(self) -> None:
        """Import what the chosen detector needs; slow, touches nothing else."""
        self._candidate.prepare()

    def close(self) -> None:
        """Give back what the detector holds."""
        self._candidate.close()

    def fit(self) -> ScaledDetector:
        """Fit the chosen detector on the clean windows; slow, touches nothing else. Raises NotReady."""
        if self.learnt is None:
            raise NotReady("nothing is learnt yet", fix="wait for the end of the training")
        detector = self._candidate
        if self.learnt.clean is not None:
            detector.refit(self.learnt.clean)
        else:
            detector.learn(self.learnt.windows)
        return detector

    def fitted(self, detector: ScaledDetector) -> None:
        """Judge with this detector from now on."""
        self.detector = detector

    def clean_rows(self) -> CleanRows | None:
        """What the detector in use was fitted on; refitting on it gives equal scores."""
        return self.detector.clean if self.detector else None

    def _measure(self) -> tuple[list[Window], Window]:
        return measure(self._history, self._baseline(), without=self._shut_out, known=self.known)

    def _finish_learning(self) -> None:
        if len(self._training) < MIN_SECONDS:
            return
        try:
            learnt = train(tuple(self._training), without=frozenset(self._suspects))
        except NotReady:
            # too little traffic so far: the training goes on, second by second, until there is enough
            return
        stand_in = RobustDetector()
        stand_in.learn(learnt.windows)
        self.learnt, self.detector = learnt, stand_in
        self._follower = Follower(learnt.baseline, self._drift)
        self._training.clear()

    def _follow(self, verdict: Verdict, tick: Tick) -> None:
        if self._follower is None or self.learnt is None:
            return
        full = self._follower.add(
            self._second, verdict.kind, flagged=tick.hot | tick.load, known=self.known, calm=self.calm
        )
        if full:
            types = dict(zip(self._history.ids, self._history.types, strict=True))
            baseline = self._follower.close(self.learnt.baseline, types, self.known)
            self.learnt = replace(self.learnt, baseline=baseline)

    def _baseline(self) -> Baseline | None:
        """What was learnt, with the topics that were announced."""
        if self.learnt is None or not self.known.topics:
            return self.learnt.baseline if self.learnt else None
        learnt, topics = self.learnt.baseline, self.known.topics
        if self._effective is None or self._effective[0] is not learnt or self._effective[1] != topics:
            wider = {kind: found | topics.get(kind, frozenset()) for kind, found in learnt.patterns.items()}
            self._effective = (learnt, topics, replace(learnt, patterns=wider))
        return self._effective[2]

    def _score(self, windows: Sequence[Window]) -> list[Score] | None:
        detector = self.detector
        if detector is None:
            return None
        values = detector.score(windows)
        return [
            Score(window.device_id, window.end, value, detector.threshold)
            for window, value in zip(windows, values, strict=True)
        ]
