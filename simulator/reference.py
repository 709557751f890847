"""The page about all behaviours, made from their docstrings: `python -m simulator.reference > docs/behaviours.md`."""

import inspect
import sys
from typing import Any

from contracts.messages import SECOND

from .behaviours import BEHAVIOURS, WITHOUT_TARGETS, Behaviour

HEAD = """# Behaviours

What a phase of a scenario's timeline may be. Parameters stand under `with:` with the defaults below; `targets` chooses devices of
a group. Written by `python -m simulator.reference > docs/behaviours.md`; a test fails when it is not up to date.
"""

FAMILIES = {
    "benign": "Benign: what makes traffic jump, or fall, and is no attack",
    "attack": "Attacks",
    "fault": "Faults: nothing may be lost by them, and nobody may be accused",
}


def page() -> str:
    """The whole page, as Markdown."""
    parts = [HEAD]
    for family, title in FAMILIES.items():
        parts.append(f"## {title}\n")
        parts += [_entry(kind, one) for kind, one in BEHAVIOURS.items() if kind.startswith(f"{family}.")]
    return "\n".join(parts)


def _entry(kind: str, behaviour: type[Behaviour]) -> str:
    about = inspect.cleandoc(behaviour.__doc__ or "")
    lines = [f"### {kind}\n", about, ""]
    lines += [f"- `{name}`: {_default(field.default)}" for name, field in behaviour.model_fields.items()]
    remarks = ["comes in `waves`"] if behaviour.in_waves else []
    remarks += ["needs no `targets`"] if kind in WITHOUT_TARGETS else []
    return "\n".join([*lines, *(f"- {remark}" for remark in remarks)]).rstrip() + "\n"


def _default(value: Any) -> str:
    """A default as a scenario file writes it; times of a millisecond and more are nanoseconds in the models."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and value >= SECOND // 1000:
        return f"`{value / SECOND:g}s`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
