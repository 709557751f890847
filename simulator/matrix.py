"""One file, several scenarios: `matrix` (every combination of values of variables) and `seeds`."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from .positions import Document, KeyPath
from .values import nearest
from .variables import declared_variables

Cell: TypeAlias = Mapping[str, Any]

MAX_SCENARIOS = 1_000
"""Cells times seeds; at a minute each they play for most of a day."""


def label(cell: Cell) -> str:
    """`[bad=5,meters=40]`, or nothing for the one cell of a file without a matrix."""
    return f"[{','.join(f'{name}={value}' for name, value in cell.items())}]" if cell else ""


def cells(document: Document, pinned: Sequence[str]) -> list[Cell]:
    """The values of the variables for each scenario of a file; `pinned` variables vary no more.

    Raises BadScenario: it is no matrix, has names that are no variables, or too many cells.
    """
    matrix = document.values.get("matrix")
    if matrix is None:
        return [{}]
    if isinstance(matrix, dict) and matrix:
        found = _product(document, matrix)
    elif isinstance(matrix, list) and matrix:
        found = _listed(document, matrix)
    else:
        raise document.error("matrix is empty or no matrix", at=("matrix",), fix=_FIX)
    left = ({name: value for name, value in cell.items() if name not in pinned} for cell in found)
    distinct: list[Cell] = list({label(cell): cell for cell in left}.values())
    if len(distinct) > MAX_SCENARIOS:
        raise document.error("the matrix has too many cells", at=("matrix",), fix=f"at most {MAX_SCENARIOS}")
    return distinct


_FIX = "write matrix: {bad: [1, 5]}, or a list: [{bad: 1}, {bad: 5}]"


def _product(document: Document, matrix: Mapping[str, Any]) -> Iterator[Cell]:
    size = 1
    for name, values in matrix.items():
        at: KeyPath = ("matrix", name)
        _declared(document, name, at)
        if not isinstance(values, list) or not values:
            raise document.error(f"matrix: '{name}' has no list of values", at=at, fix=_FIX)
        for place, value in enumerate(values):
            _scalar(document, value, (*at, place))
        size *= len(values)
    if size > MAX_SCENARIOS:
        what = f"the matrix has {size} cells"
        raise document.error(what, at=("matrix",), fix=f"at most {MAX_SCENARIOS}: give fewer values")
    return (dict(zip(matrix, one, strict=True)) for one in itertools.product(*matrix.values()))


def _listed(document: Document, matrix: Sequence[Any]) -> Iterator[Cell]:
    for place, cell in enumerate(matrix):
        if not isinstance(cell, dict) or not cell:
            raise document.error("a cell of the matrix is no mapping", at=("matrix", place), fix=_FIX)
        for name, value in cell.items():
            _declared(document, name, ("matrix", place, name))
            _scalar(document, value, ("matrix", place, name))
        yield cell


def _declared(document: Document, name: str, at: KeyPath) -> None:
    known = declared_variables(document)
    if name not in known:
        fix = nearest(name, known, what="declare it under vars; declared")
        raise document.error(f"matrix: there is no variable '{name}'", at=at, fix=fix)


def _scalar(document: Document, value: Any, at: KeyPath) -> None:
    if value is None or isinstance(value, dict | list):
        fix = "write a number or a text"
        raise document.error("a value of the matrix is empty, a list or a mapping", at=at, fix=fix)


def seeds(document: Document, values: Mapping[str, Any]) -> list[int]:
    """The seeds under `seeds`, or none. Raises BadScenario."""
    given = values.get("seeds")
    if given is None:
        return []
    if "seed" in document.values:
        what, fix = "there are seed and seeds", "leave one of them out"
        raise document.error(what, at=("seeds",), fix=fix)
    if not isinstance(given, list) or not 0 < len(given) <= MAX_SCENARIOS:
        what = f"seeds is no list of 1 to {MAX_SCENARIOS} numbers"
        raise document.error(what, at=("seeds",), fix="write seeds: [1, 2, 3]")
    for place, seed in enumerate(given):
        if isinstance(seed, bool) or not isinstance(seed, int):
            what = f"the seed {seed!r} is no whole number"
            raise document.error(what, at=("seeds", place), fix="write seeds: [1, 2, 3]")
        if seed in given[:place]:
            what = f"the seed {seed} stands twice"
            raise document.error(what, at=("seeds", place), fix="leave one of them out")
    return given
