"""Which seeds the model may be tuned on and which figures are reported from: the one place that says so.

Scenario variants: every file of `scenarios/` is used for both, with different seeds. A scenario's own seed (those of
the library are 1 to 172) is what people run while they work, so it counts as tuning. Scenarios that nobody here has
seen and recorded traffic are no part of either.
"""

from collections.abc import Iterable, Sequence

from contracts.errors import ConfigError

TUNING = frozenset(range(1, 6))
"""Beside each scenario's own seed."""

REPORT = frozenset(range(201, 211))
DEFAULT = (201, 202, 203, 204, 205)


def parse_seeds(text: str) -> tuple[int, ...]:
    """`1,2,3` or `201-205`. Raises ConfigError."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        raise ConfigError(
            f"--seeds {text}: no list of numbers", fix="write --seeds 1,2,3 or 201-205"
        ) from None
    if not seeds:
        raise ConfigError(f"--seeds {text}: no seed", fix="write --seeds 1,2,3 or 201-205")
    return tuple(dict.fromkeys(seeds))


def tuned_on(seeds: Iterable[int], own: Iterable[int]) -> list[int]:
    """Those of the seeds that figures must not be reported from; `own` are the scenarios' own seeds."""
    return sorted(set(seeds) & (TUNING | set(own)))


def check_report(seeds: Sequence[int], own: Iterable[int]) -> None:
    """Raises ConfigError if what is to be reported was used for tuning."""
    if used := tuned_on(seeds, own):
        raise ConfigError(
            f"seeds {', '.join(map(str, used))} were used for tuning: no baseline comes from them",
            fix=f"leave --seeds out, or use some of {min(REPORT)}-{max(REPORT)}",
        )


def check_tuning(seeds: Sequence[int]) -> None:
    """Raises ConfigError if something is to be learnt from what is reported."""
    if reported := sorted(set(seeds) & REPORT):
        raise ConfigError(
            f"seeds {', '.join(map(str, reported))} are reported: nothing may be learnt from them",
            fix=f"use some of {min(TUNING)}-{max(TUNING)}",
        )
