"""Files that a command writes at its end. Whether they can be written is asked before minutes are spent on what goes into them."""

import os
from pathlib import Path

from contracts.errors import ConfigError

_FIX = "name a file in a folder that is there and that you may write"


def check_output(path: Path | None) -> Path | None:
    """The path itself, for typer's `callback`. Raises ConfigError if nothing can be written there."""
    if path is not None and (refusal := _refusal(path)):
        raise ConfigError(f"cannot write {path}: {refusal}", fix=_FIX)
    return path


def write_output(path: Path, text: str) -> None:
    """Raises ConfigError: the disk is full, or the folder has gone meanwhile."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", fix=_FIX) from None


def _refusal(path: Path) -> str:
    if path.is_dir():
        return "it is a folder"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    asked = path if path.exists() else path.parent
    return "" if os.access(asked, os.W_OK) else f"{asked} is read-only"
