"""Backends by name: a table of names to import strings, imported late."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.errors import BackendMissing, UnknownName


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a backend lives (`module:attribute`), what it needs, and what it can do, as data.

    `package` and `extra` name the distribution and the extra of ours that installs it, for the error message.
    """

    where: str
    package: str = ""
    extra: str = ""
    capabilities: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class Registry:
    """The backends of one port. `kind` is the port's name in messages ("broker backend")."""

    kind: str
    backends: Mapping[str, Backend]

    def get(self, name: str) -> Backend:
        """The entry of that name. Raises UnknownName, which lists the known ones."""
        try:
            return self.backends[name]
        except KeyError:
            raise UnknownName(self.kind, name, self.backends) from None

    def load(self, name: str) -> Any:
        """Import the backend now. Raises UnknownName or BackendMissing."""
        backend = self.get(name)
        module, _, attribute = backend.where.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not backend.package:
                raise
            raise BackendMissing(name, package=backend.package, extra=backend.extra) from error
