"""Where the shadows of things are kept. A document is a JSON object: `state`, `metadata`, `version`, `timestamp`."""

from collections.abc import Mapping
from typing import Protocol

from contracts.messages import Json


class ShadowError(Exception):
    """A request that the shadow service refuses, with AWS's code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ShadowStore(Protocol):
    """Shadows by thing and name; the classic one has the empty name. Versions grow by one with every change."""

    async def get(self, thing: str, name: str) -> Mapping[str, Json] | None:
        """The whole document; None if there is none. Raises Transient, Terminal."""
        ...

    async def update(self, thing: str, name: str, request: Mapping[str, Json]) -> Mapping[str, Json]:
        """Merge the request's `state` into the document; the document after it.

        Raises ShadowError (a version that is not the stored one, a document too large), Transient, Terminal.
        """
        ...

    async def delete(self, thing: str, name: str) -> int:
        """Forget the document; the version it had. Raises ShadowError if there is none, Transient, Terminal."""
        ...
