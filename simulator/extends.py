"""Scenario files that build on others: `extends: base/meters.yaml`.

Mappings are merged key by key, whatever else stands in both is that of the file that extends. Every value
remembers the file that it came from.
"""

from pathlib import Path
from typing import Any

from .positions import Document, KeyPath, Place, read

MAX_CHAIN = 20
"""Nobody follows a longer one when looking for where a value comes from."""

_INSTEAD = {"seed": "seeds", "seeds": "seed"}
"""A word that replaces another one of the base."""


def read_all(path: Path) -> Document:
    """Read a file with those it extends. Raises BadScenario: one of them is wrong or not there, or a cycle."""
    return _read(path, ())


def _read(path: Path, before: tuple[Path, ...]) -> Document:
    document = read(path)
    if not isinstance(document.values, dict):
        raise document.error("is no scenario", at=(), fix="begin the file with: scenario: v1")
    if "extends" not in document.values:
        return document
    base = _base(document, path)
    chain = (*before, path.resolve())
    if base.resolve() in chain:
        names = " extends ".join(one.name for one in (*chain, base))
        raise document.error(f"a cycle: {names}", at=("extends",), fix="let one of them extend nothing")
    if len(chain) >= MAX_CHAIN:
        what = f"more than {MAX_CHAIN} files that extend each other"
        raise document.error(what, at=("extends",), fix="extend a file nearer to the end of the chain")
    return _merged(document, _read(base, chain))


def _base(document: Document, path: Path) -> Path:
    """The file that is extended; its name is relative to the folder of the file that names it."""
    name = document.values["extends"]
    at: KeyPath = ("extends",)
    if not isinstance(name, str) or not name or "\x00" in name:
        raise document.error("extends names no file", at=at, fix="write extends: base/meters.yaml")
    base = path.parent / name
    try:
        found = base.is_file()
    except OSError as error:
        raise document.error(f"extends: {error.strerror}", at=at, fix="give the name of a file") from None
    if not found:
        what, fix = f"extends names '{name}', and there is no such file", f"paths begin at {path.parent}"
        raise document.error(what, at=at, fix=fix)
    return base


def _merged(top: Document, base: Document) -> Document:
    values = {key: value for key, value in base.values.items() if _INSTEAD.get(key) not in top.values}
    own = {key: value for key, value in top.values.items() if key != "extends"}
    values.pop("extends", None)
    places = {path: place for path, place in base.places.items() if _from_base(path, top.values)}
    return Document(top.file, _deep(values, own), {**places, **top.places})


def _from_base(path: KeyPath, top: Any) -> bool:
    """Whether what stands at a path of the base is still there when `top` is laid over it."""
    for step in path:
        if not isinstance(top, dict):
            return False
        if step not in top:
            return True
        top = top[step]
    return True


def _deep(base: Any, top: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(top, dict):
        return top
    both = {key: _deep(base[key], top[key]) if key in top else base[key] for key in base}
    return {**both, **{key: value for key, value in top.items() if key not in base}}


def beside(place: Place, file: str) -> str:
    """The path of a file that is named at a place: relative to the folder of the file it is named in."""
    return str(Path(place.file).parent / file)
