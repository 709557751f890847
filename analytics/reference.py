"""The page about all features, made from their definitions: `python -m analytics.reference > docs/features.md`."""

import sys

from .evidence_rules import EvidenceRules
from .feature_table import DEVICE_FEATURES, FEATURES_VERSION, FLEET_FEATURES
from .verdict import Rules

_HEAD = f"""# Features

What the model knows of a device and of the fleet at the end of every second, version {FEATURES_VERSION}. How a verdict follows from it
stands in [model.md](model.md). Windows are event time; "the window" is the last 5 seconds. A *scored* feature is one
that detectors see, with the smallest standard deviation that is believed of it. Written by
`python -m analytics.reference > docs/features.md`; a test fails when it is not up to date.
"""


def page() -> str:
    """The whole page as Markdown."""
    lines = [_HEAD, "## Of a device", "", "| Feature | Unit | Scored, floor | Meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {one.unit} | {f'{one.floor:g}' if one.scored else ''} | {one.meaning} |"
        for one in DEVICE_FEATURES
    ]
    lines += ["", "## Of the fleet", "", "| Feature | Meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in FLEET_FEATURES.items()]
    lines += ["", "## Limits", "", *_limits("Evidence", EvidenceRules()), "", *_limits("Verdict", Rules())]
    return "\n".join(lines) + "\n"


def _limits(title: str, rules: EvidenceRules | Rules) -> list[str]:
    names = [name for name in rules.__slots__ if name != "evidence"]
    figures = ", ".join(f"`{name}` {getattr(rules, name):g}" for name in names)
    return [f"{title} (`{type(rules).__module__.rpartition('.')[2]}.{type(rules).__name__}`): {figures}."]


if __name__ == "__main__":
    sys.stdout.write(page())
