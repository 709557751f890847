"""What the model counts for `/metrics`: verdicts, incidents, actions, and how long a verdict takes."""

from collections import Counter
from collections.abc import Iterable, Mapping

from contracts.measures import Measure, Spread, Spreading
from contracts.messages import SECOND, ActionTaken, Incident, Verdict, VerdictKind

KINDS: tuple[VerdictKind, ...] = ("normal", "benign_uptick", "undecided", "attack")


class Tally:
    """Counts since the start of the process."""

    def __init__(self) -> None:
        self._verdicts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self._incidents: Counter[str] = Counter(dict.fromkeys(KINDS[1:], 0))
        self._actions: Counter[tuple[str, str, str]] = Counter({("quarantine", "done", "model"): 0})
        self._latency = Spreading(
            "verdict_latency_seconds", "From the end of the second that is judged to its verdict."
        )
        self._uptick = 1.0

    def verdict(self, verdict: Verdict) -> None:
        """One tick was judged."""
        self._verdicts[verdict.kind] += 1
        self._latency.add((verdict.decided_at - verdict.at) / SECOND)
        self._uptick = verdict.uptick

    def opened(self, incidents: Iterable[Incident]) -> None:
        """Those that are new."""
        self._incidents.update(incident.kind for incident in incidents)

    def acted(self, actions: Iterable[ActionTaken]) -> None:
        """What was done, tried, held or undone."""
        self._actions.update(
            (action.action, _outcome(action.outcome), "model" if action.by == "model" else "person")
            for action in actions
        )

    def measures(
        self, *, open_incidents: Iterable[Incident], held: int, devices: int, learning: bool
    ) -> tuple[Measure, ...]:
        """Everything, with what is so at this moment."""
        now = Counter(incident.kind for incident in open_incidents)
        return (
            *_each("verdicts", "Seconds judged.", self._verdicts, "kind"),
            *_each("incidents", "Incidents opened.", self._incidents, "kind"),
            *(
                Measure("incidents_open", "Incidents that go on.", now[kind], labels={"kind": kind})
                for kind in KINDS[1:]
            ),
            *(
                Measure(
                    "actions",
                    "What was done about incidents and devices.",
                    count,
                    "counter",
                    {"action": action, "outcome": outcome, "by": by},
                )
                for (action, outcome, by), count in sorted(self._actions.items())
            ),
            Measure("held_devices", "Devices whose quarantine waits for a person.", held),
            Measure("judged_devices", "Devices that the model has seen.", devices),
            Measure("model_learning", "1 while the model learns what is normal.", float(learning)),
            Measure("fleet_uptick_ratio", "The fleet's rate over its forecast for this time.", self._uptick),
        )

    def spreads(self) -> tuple[Spread, ...]:
        return (self._latency.spread(),)


def _each(name: str, about: str, counts: Mapping[str, int], label: str) -> list[Measure]:
    return [Measure(name, about, count, "counter", {label: key}) for key, count in sorted(counts.items())]


def _outcome(told: str) -> str:
    """The first word: `done`, `held`, `failed`, `dry run`, ..."""
    return told.partition(":")[0]
