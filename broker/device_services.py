"""What AWS IoT Core answers on reserved topics: shadows, and Device Defender's reports. No sockets.

Bounded: so many requests of a thing under way, so many a second, and so many of all things together; what is more
is refused as AWS refuses it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from contracts.clock import Clock
from contracts.errors import ThingstormError
from contracts.messages import Json, Message, Nanoseconds
from contracts.ports import Gauge
from contracts.shadows import ShadowError, ShadowStore

from . import defender, shadows
from .limits import TokenBucket
from .shadows import ShadowRequest

IN_FLIGHT_OF_A_THING = 10
REQUESTS_PER_SECOND = 20.0
"""Of one thing. Source: AWS IoT Device Shadow service quotas."""

IN_FLIGHT = 500
MAX_BUCKETS = 10_000

Publish = Callable[[str, bytes], None]


class DeviceServices:
    """Takes requests that devices published, publishes the answers."""

    def __init__(self, *, store: ShadowStore, clock: Clock, publish: Publish) -> None:
        self._store = store
        self._clock = clock
        self._publish = publish
        self._under_way: Counter[str] = Counter()
        self._highest = 0
        self._buckets: dict[str, TokenBucket] = {}
        self._seen: dict[tuple[str, str], Mapping[str, Json] | None] = {}
        self.fault = ""

    def gauge(self) -> Gauge:
        return Gauge("shadow requests", self._under_way.total(), IN_FLIGHT, self._highest)

    async def serve(self, message: Message) -> None:
        """Answer one request; what is no request is nobody's. Never raises for what a device sent."""
        if (request := shadows.request_of(message.topic)) is not None:
            await self._serve_shadow(request, message.payload)
        elif (answer := defender.answer(message.topic, message.payload, self._clock.now())) is not None:
            self._publish(answer[0], _json(answer[1]))

    async def look(self, watched: Iterable[tuple[str, str]]) -> None:
        """Tell of changes that others made (over HTTP) to the shadows that somebody watches."""
        keys = set(watched)
        for key in keys:
            known = key in self._seen
            before = self._seen.get(key)
            try:
                after = await self._store.get(*key)
            except (ThingstormError, ShadowError) as error:
                self.fault = f"shadows cannot be read: {error}"
                return
            self._seen[key] = after
            if known and after is not None and (before is None or after["version"] > before["version"]):
                self._tell(shadows.told_of_change(*key, before=before, after=after))
        self.fault = ""
        self._seen = {key: document for key, document in self._seen.items() if key in keys}

    async def _serve_shadow(self, request: ShadowRequest, payload: bytes) -> None:
        now = self._clock.now()
        body: Mapping[str, Json] = {}
        self._under_way[request.thing] += 1
        self._highest = max(self._highest, self._under_way.total())
        try:
            body = shadows.read_request(payload)
            self._check_rate(request.thing, now)
            self._tell(await self._answer(request, body))
        except ShadowError as error:
            self._tell([shadows.told_of_refusal(request, body, error, now)])
        except ThingstormError as error:
            self.fault = f"shadows cannot be kept: {error}"
            failed = ShadowError(500, "Internal service failure")
            self._tell([shadows.told_of_refusal(request, body, failed, now)])
        finally:
            self._under_way[request.thing] -= 1
            if not self._under_way[request.thing]:
                del self._under_way[request.thing]

    async def _answer(self, request: ShadowRequest, body: Mapping[str, Json]) -> list[shadows.Published]:
        thing, name = request.thing, request.name
        if request.operation == "delete":
            version = await self._store.delete(thing, name)
            self._seen.pop((thing, name), None)
            return [shadows.told_of_delete(request, body, version=version, now=self._clock.now())]
        before = await self._store.get(thing, name)
        if request.operation == "get":
            if before is None:
                raise shadows.not_found(request)
            return [shadows.told_of_get(request, body, before)]
        shadows.check_update(body)
        asked = {key: body[key] for key in ("state", "version") if key in body}
        # the store may not know the limit of a document: what would become of it is looked at first
        shadows.updated(before, {"state": body["state"]}, version=0, now=self._clock.now())
        after = await self._store.update(thing, name, asked)
        self._seen[thing, name] = after
        return list(shadows.told_of_update(request, body, before=before, after=after))

    def _check_rate(self, thing: str, now: Nanoseconds) -> None:
        if self._under_way[thing] > IN_FLIGHT_OF_A_THING or self._under_way.total() > IN_FLIGHT:
            raise ShadowError(429, "Too many requests in flight")
        if thing not in self._buckets and len(self._buckets) >= MAX_BUCKETS:
            self._buckets.clear()
        if not self._buckets.setdefault(thing, TokenBucket(REQUESTS_PER_SECOND, now)).take(now):
            raise ShadowError(429, "Too many requests")

    def _tell(self, published: Iterable[shadows.Published]) -> None:
        for topic, body in published:
            self._publish(topic, _json(body))


def _json(body: Mapping[str, Json]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
