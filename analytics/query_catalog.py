"""Named, versioned, parameterised queries: one SQL file each in `queries/`, described in its header.

-- name: top_talkers
-- version: 1
-- description: Devices with the most messages in the last seconds.
-- parameter: seconds INTEGER 60
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from contracts.errors import ConfigError, UnknownName
from contracts.messages import Json
from contracts.ports import Rows, View

KINDS = {"INTEGER": int, "DOUBLE": float, "VARCHAR": str}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named parameter: its SQL type and default."""

    name: str
    kind: str
    default: Json

    def read(self, text: Json) -> Json:
        """The value of a text from a flag or a URL. Raises ConfigError."""
        try:
            return KINDS[self.kind](text)
        except (TypeError, ValueError):
            raise ConfigError(
                f"parameter {self.name}: {text!r} is no {self.kind}", fix=f"its default is {self.default}"
            ) from None


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that people and the model run by name."""

    name: str
    version: int
    description: str
    parameters: tuple[Parameter, ...]
    sql: str

    def bind(self, given: Mapping[str, Json]) -> dict[str, Json]:
        """All parameters with their values. Raises UnknownName for one that it does not have."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise UnknownName(f"parameter of {self.name}", name, known)
        return {name: p.read(given[name]) if name in given else p.default for name, p in known.items()}


@cache
def catalog() -> Mapping[str, NamedQuery]:
    """All named queries by name."""
    folder = resources.files("analytics") / "queries"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name
    )
    queries = [_parse(file.read_text(encoding="utf-8")) for file in files]
    return {query.name: query for query in queries}


async def run_named(view: View, name: str, given: Mapping[str, Json]) -> Rows:
    """Run a named query. Raises UnknownName, ConfigError."""
    if name not in catalog():
        raise UnknownName("query", name, catalog())
    query = catalog()[name]
    return await view.query(query.sql, query.bind(given))


def _parse(text: str) -> NamedQuery:
    head = [line.removeprefix("-- ") for line in text.splitlines() if line.startswith("-- ")]
    fields = dict(line.split(": ", 1) for line in head if not line.startswith("parameter: "))
    parameters = [
        _parameter(line.removeprefix("parameter: ")) for line in head if line.startswith("parameter: ")
    ]
    return NamedQuery(fields["name"], int(fields["version"]), fields["description"], tuple(parameters), text)


def _parameter(text: str) -> Parameter:
    name, kind, default = text.split(" ", 2)
    return Parameter(name, kind, KINDS[kind](default))
