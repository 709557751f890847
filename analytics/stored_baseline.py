"""What the model learnt as one Parquet file: no pickle, readable with any SQL engine, refitted at the next start.

Rows are `part` (a field of `Baseline`, `anchors`, `windows`), `path` (the keys that lead to the value, a JSON list) and
`value` (JSON). The facts of the file say of which features and detector it is. A file of other features is refused: its
numbers would mean something else.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from contracts.errors import BackendError, Terminal

from .baseline import Baseline, Profile
from .detectors.base import CleanRows
from .features import FEATURES_VERSION
from .view.parquet import read_parquet, write_parquet

FORMAT = 1
_SCHEMA = pa.schema([("part", pa.string()), ("path", pa.string()), ("value", pa.string())])
_RETRAIN = "nothing to do: the model learns anew and writes a new one"


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything a model needs to go on: its baseline, from what drift is counted, the rows its detector is fitted on.

    `configuration` says how it was made: detector, seed, and since when.
    """

    baseline: Baseline
    anchors: Mapping[str, Profile]
    clean: CleanRows
    configuration: Mapping[str, Any]


def save(path: Path, stored: Stored) -> None:
    """Write the file, whole or not at all. Raises BackendError."""
    hints = get_type_hints(Baseline)
    rows = [
        _row(field.name, keys, value)
        for field in fields(Baseline)
        for keys, value in _flat(hints[field.name], getattr(stored.baseline, field.name), [])
    ]
    rows += [_row("anchors", keys, value) for keys, value in _flat(Mapping[str, Profile], stored.anchors, [])]
    rows += [_row("windows", [number], record) for number, record in enumerate(stored.clean.records())]
    facts = {"format": FORMAT, "features": FEATURES_VERSION, **stored.configuration}
    write_parquet(path, rows, _SCHEMA, facts)


def load(path: Path) -> Stored:
    """Read it back. Raises Terminal for one of other features or another format, BackendError for a broken one."""
    rows, facts = read_parquet(path)
    if facts.get("features") != FEATURES_VERSION or facts.get("format") != FORMAT:
        raise Terminal(
            f"the baseline {path} is of features version {facts.get('features')}, this model measures version "
            f"{FEATURES_VERSION}",
            fix=_RETRAIN,
        )
    parts: dict[str, list[tuple[list[Any], Any]]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append((json.loads(row["path"]), json.loads(row["value"])))
    try:
        hints = get_type_hints(Baseline)
        baseline = Baseline(
            **{field.name: _whole(hints[field.name], parts.get(field.name, [])) for field in fields(Baseline)}
        )
        anchors = _whole(Mapping[str, Profile], parts.get("anchors", []))
        clean = CleanRows.of_records([record for _, record in parts["windows"]])
    except (ValidationError, KeyError, IndexError, TypeError, ValueError) as error:
        raise BackendError(f"the baseline {path} is damaged: {error}", fix=_RETRAIN) from None
    rest = {name: value for name, value in facts.items() if name not in ("format", "features")}
    return Stored(baseline, anchors, clean, rest)


def _row(part: str, keys: list[Any], value: Any) -> dict[str, str]:
    return {"part": part, "path": json.dumps(keys), "value": json.dumps(value)}


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _mapping(hint: Any) -> tuple[Any, Any] | None:
    """The types of keys and values if the hint is a mapping."""
    origin = get_origin(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key, value = get_args(hint)
        return key, value
    return None


def _flat(hint: Any, value: Any, keys: list[Any]) -> Iterator[tuple[list[Any], Any]]:
    """The leaves of nested mappings, each with the keys that lead to it."""
    kinds = _mapping(hint)
    if kinds is None:
        yield keys, _adapter(hint).dump_python(value, mode="json")
        return
    for key, item in value.items():
        yield from _flat(kinds[1], item, [*keys, _adapter(kinds[0]).dump_python(key, mode="json")])


def _whole(hint: Any, leaves: list[tuple[list[Any], Any]]) -> Any:
    """The other way round."""
    kinds = _mapping(hint)
    if kinds is None:
        return _adapter(hint).validate_python(leaves[0][1], strict=False)
    grouped: dict[str, tuple[Any, list[tuple[list[Any], Any]]]] = {}
    for keys, value in leaves:
        grouped.setdefault(json.dumps(keys[0]), (keys[0], []))[1].append((keys[1:], value))
    return {
        _adapter(kinds[0]).validate_python(key, strict=False): _whole(kinds[1], below)
        for key, below in grouped.values()
    }
