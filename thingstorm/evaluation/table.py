"""What a person sees of an evaluation: a table by kind with both baselines beside, then what needs more words."""

from collections.abc import Sequence

from .evaluated import CUTS, MODEL, Evaluated
from .figures import Figures
from .reliability import error_of

COLUMNS = (
    "kind", "runs", "verdict recall", "95 %", "device precision", "device recall", "false", "undecided", "innocents shut out",
    "flag p50", "verdict p50", "p95",
)  # fmt: skip
METHODS = {"static": "static 5 min", "max_z": "max |z|"}


def rows(what: Evaluated) -> list[tuple[str, ...]]:
    """Three lines a kind: the model, and the baselines on the same seconds."""
    lines: list[tuple[str, ...]] = []
    for kind in what.kinds:
        pair = what.kind_intervals(kind)["verdict_recall"]
        lines.append(_row(kind, what.of_kind(MODEL, kind), pair))
        lines += [_row(f"  {METHODS[name]}", what.of_kind(name, kind), None) for name in what.baselines]
    for cut in CUTS:
        if what.of_cut(MODEL, cut)["runs"]:
            lines.append(_row(f"all {cut}", what.of_cut(MODEL, cut), None))
            lines += [_row(f"  {METHODS[name]}", what.of_cut(name, cut), None) for name in what.baselines]
    lines.append(_row("overall", what.overall(MODEL), None))
    lines += [_row(f"  {METHODS[name]}", what.overall(name), None) for name in what.baselines]
    return lines


def reliability_rows(what: Evaluated) -> list[tuple[str, ...]]:
    """Confidence against hit rate, by verdict kind."""
    return [
        (
            one.kind,
            f"{one.low:.2f}-{one.high:.2f}",
            f"{one.weight:.1f}",
            f"{one.confidence:.3f}",
            f"{one.right:.3f}",
        )
        for one in what.bins
    ]


def notes(what: Evaluated) -> Sequence[str]:
    """What must be said with the figures."""
    told = []
    if what.used:
        seeds = ", ".join(map(str, what.used))
        told.append(f"seeds {seeds} were used for tuning: not to be reported")
    error = error_of(what.bins)
    if error is not None:
        told.append(f"confidence is off by {error:.3f} on average (stretches of equal verdicts count once)")
    return told


def _row(name: str, found: Figures, interval: tuple[float, float] | None) -> tuple[str, ...]:
    between = f"{interval[0]:.2f}-{interval[1]:.2f}" if interval else ""
    return (
        name,
        f"{found['runs']:.0f}",
        _rate(found["verdict_recall"]),
        between,
        _rate(found["device_precision"]),
        _rate(found["device_recall"]),
        f"{found['false_verdicts']:.0f}",
        f"{found['undecided']:.0f}",
        f"{found['innocents_quarantined']:.0f}",
        *(_seconds(found[key]) for key in ("flag_p50_s", "detect_p50_s", "detect_p95_s")),
    )


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
