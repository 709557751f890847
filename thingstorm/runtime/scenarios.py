"""Finds scenario files: in the installed package first, in a checkout's `scenarios/` second."""

from pathlib import Path

import thingstorm
from contracts.errors import ConfigError

_PACKAGED = Path(thingstorm.__file__).parent / "scenarios"
_CHECKOUT = Path(thingstorm.__file__).parent.parent / "scenarios"


def library() -> Path:
    """The folder of all scenarios that thingstorm brings. Raises ConfigError if the installation lacks it."""
    return shipped("demo").parent


def shipped(name: str) -> Path:
    """The file of a scenario that thingstorm brings. Raises ConfigError if the installation lacks it."""
    for folder in (_PACKAGED, _CHECKOUT):
        if (path := folder / f"{name}.yaml").is_file():
            return path
    raise ConfigError(
        f"the scenario {name} is missing from this installation",
        fix="install thingstorm again, or run from a checkout",
    )
