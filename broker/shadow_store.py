"""Shadows in the gateway's own memory, and on its disk where it has one."""

import json
from collections.abc import Mapping

from contracts.clock import Clock
from contracts.messages import Json

from .shadows import ShadowRequest, not_found, updated
from .store import Store


class MemoryShadows:
    """The port `ShadowStore`. A deleted shadow's versions go on where they were, as AWS's do for two days."""

    def __init__(self, *, clock: Clock, store: Store | None = None) -> None:
        self._clock = clock
        self._store = store or Store(None)
        self._documents: dict[tuple[str, str], Mapping[str, Json]] = {}
        self._versions: dict[tuple[str, str], int] = {}
        for body in self._store.all("shadow").values():
            kept = json.loads(body)
            self._keep((kept["thing"], kept["name"]), kept["document"])

    async def get(self, thing: str, name: str) -> Mapping[str, Json] | None:
        return self._documents.get((thing, name))

    async def update(self, thing: str, name: str, request: Mapping[str, Json]) -> Mapping[str, Json]:
        key = (thing, name)
        version = self._versions.get(key, 0) + 1
        after = updated(self._documents.get(key), request, version=version, now=self._clock.now())
        self._keep(key, after)
        body = json.dumps({"thing": thing, "name": name, "document": after})
        self._store.put("shadow", f"{thing}\n{name}", body.encode())
        return after

    async def delete(self, thing: str, name: str) -> int:
        key = (thing, name)
        if key not in self._documents:
            raise not_found(ShadowRequest(thing, name, "delete"))
        version = int(self._documents.pop(key)["version"])
        self._versions[key] = version + 1
        self._store.remove("shadow", f"{thing}\n{name}")
        return version

    def _keep(self, key: tuple[str, str], document: Mapping[str, Json]) -> None:
        self._documents[key] = document
        self._versions[key] = int(document["version"])
