"""Finds scenario files: those that a person names, and those that thingstorm brings."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import thingstorm
from contracts.errors import ConfigError

_PACKAGED = Path(thingstorm.__file__).parent / "scenarios"
_CHECKOUT = Path(thingstorm.__file__).parent.parent / "scenarios"

_WORDS = re.compile(rb"""^(\xef\xbb\xbf)?[{"']*(scenario|extends|fleet|timeline)["']?\s*:""", re.MULTILINE)
"""Any of these at the outermost level: where one is misspelt, the others still say that the file wants to be played."""

BASES = "base"
"""The name of folders of files that others extend; they are not played with the rest."""


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


def scenario_files(given: Sequence[Path]) -> list[Path]:
    """The scenario files of these names, in folders those that say what they are.

    What is not there may be a file or folder of the library, with or without its ending: `mixed/botnet-inside-rollout`.
    Raises ConfigError: there is no such thing, or no scenario in it.
    """
    found = [
        file
        for path in map(_here_or_shipped, given)
        for file in (_in_folder(path) if path.is_dir() else [path])
    ]
    if not found:
        raise ConfigError(
            f"no scenario in {', '.join(map(str, given))}", fix="name a .yaml file or a folder with some"
        )
    return found


def scenario_file(given: Path) -> Path:
    """The one file of this name, here or in the library. Raises ConfigError: there is none, or it is a folder."""
    path = _here_or_shipped(given)
    if path.is_dir():
        raise ConfigError(f"{given} is a folder, and one scenario is wanted", fix="name a file in it")
    return path


def _here_or_shipped(path: Path) -> Path:
    if _is_there(path):
        return path
    for ours in (library() / path, library() / f"{path}.yaml"):
        if _is_there(ours):
            return ours
    raise ConfigError(f"there is no scenario file {path}", fix=_fix(path))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _fix(path: Path) -> str:
    ours = [str(file.relative_to(library()).with_suffix("")) for file in _in_folder(library())]
    beside = [str(file) for file in path.parent.glob("*.yaml")] if _is_there(path.parent) else []
    names = {name.rpartition("/")[2]: name for name in ours} | {name: name for name in (*ours, *beside)}
    near = difflib.get_close_matches(str(path), names, n=1)
    hint = f"did you mean {names[near[0]]}? " if near else ""
    return (
        f"{hint}name a file, a folder, or a scenario of thingstorm's own, such as mixed/botnet-inside-rollout"
    )


def _in_folder(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*.yaml")) if _is_played(file, folder)]


def _is_played(file: Path, folder: Path) -> bool:
    """Whether it says that it is a scenario; bases are not, nor is what stands in hidden folders."""
    inside = (folder.name, *file.relative_to(folder).parent.parts)
    hidden = any(part.startswith(".") for part in inside[1:])
    return not hidden and BASES not in inside and file.is_file() and bool(_WORDS.search(file.read_bytes()))
