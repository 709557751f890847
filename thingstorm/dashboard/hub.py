"""Pushes to all open pages, once a second, what each of them looks at.

A page wants topics (`devices?search=meter`); what several want is made once and sent as the same text. With no page
open nothing is made.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import anyio
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import ConfigError, NotReady, ThingstormError, UnknownName
from contracts.messages import MILLISECOND, Nanoseconds
from contracts.ports import Gauge, Health, State
from contracts.text import spelt

EVERY_SECONDS = 1.0

MAX_PAGES = 100
"""Connections at a time; each may want `MAX_WANTS` topics of at most `MAX_KEY` characters."""
MAX_WANTS = 8
MAX_KEY = 500

Make = Callable[[Mapping[str, str]], Awaitable[Any]]
"""Makes the JSON value of a topic for its arguments. Raises ThingstormError: the page shows it in place."""

_log = logging.getLogger(__name__)


class Listener:
    """One open page: what it wants, and the newest frame of each topic that it has not taken yet."""

    def __init__(self) -> None:
        self.wants: frozenset[str] = frozenset()
        self._frames: dict[str, str] = {}
        self._sent: dict[str, str] = {}
        self._news = anyio.Event()

    def want(self, keys: list[str]) -> None:
        """Look at these topics from now on. Raises ConfigError for too many of them, or too long ones."""
        if len(keys) > MAX_WANTS or any(len(key) > MAX_KEY for key in keys):
            raise ConfigError("this page wants too much", fix=f"want at most {MAX_WANTS} topics at a time")
        self.wants = frozenset(keys)
        self._frames = {key: frame for key, frame in self._frames.items() if key in self.wants}
        self._sent = {key: frame for key, frame in self._sent.items() if key in self.wants}

    def put(self, key: str, frame: str) -> None:
        """A newer frame takes the place of one that was not taken; what did not change is not sent again."""
        if self._sent.get(key) != frame:
            self._sent[key] = self._frames[key] = frame
            self._news.set()

    async def take(self) -> list[str]:
        """Wait until there are frames, and take them all."""
        await self._news.wait()
        self._news = anyio.Event()
        frames = list(self._frames.values())
        self._frames.clear()
        return frames


class Hub:
    """The service "page"."""

    name = "page"

    def __init__(self, topics: Mapping[str, Make], *, clock: Clock) -> None:
        self._topics = topics
        self._clock = clock
        self._listeners: set[Listener] = set()
        self._most = 0
        self._frames = 0
        self._state: State = "starting"
        self._last_progress: Nanoseconds = 0
        self._wake = anyio.Event()

    def open(self) -> Listener:
        """Raises NotReady when too many pages are open."""
        if len(self._listeners) >= MAX_PAGES:
            raise NotReady(f"{MAX_PAGES} pages are open", fix="close one of them")
        listener = Listener()
        self._listeners.add(listener)
        self._most = max(self._most, len(self._listeners))
        return listener

    def close(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def hurry(self) -> None:
        """Something was done or wanted: do not wait for the next second."""
        self._wake.set()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self._state = "ready"
        task_status.started()
        while True:
            began = anyio.current_time()
            await self._push()
            with anyio.move_on_after(max(0.05, EVERY_SECONDS - (anyio.current_time() - began))):
                await self._wake.wait()
            if self._wake.is_set():
                self._wake = anyio.Event()

    async def drain(self) -> None:
        self._state = "stopped"

    def health(self) -> Health:
        pages = Gauge("pages", len(self._listeners), MAX_PAGES, self._most)
        detail = f"{len(self._listeners)} pages are open"
        return Health(self.name, self._state, detail, self._last_progress, (pages,), {"frames": self._frames})

    async def _push(self) -> None:
        for key in {key for listener in self._listeners for key in listener.wants}:
            frame = await self._frame(key)
            self._frames += 1
            for listener in tuple(self._listeners):
                if key in listener.wants:
                    listener.put(key, frame)
        if self._listeners:
            self._last_progress = self._clock.now()

    async def _frame(self, key: str) -> str:
        try:
            return encode({"key": key, "data": await self._made(key)})
        except ThingstormError as error:
            return encode({"key": key, "error": error.what, "fix": error.fix})
        except Exception:  # noqa: BLE001 - one view that cannot be made must not stop the others, nor the stack
            _log.exception("the page cannot make %s", key)
            return encode({"key": key, "error": "this view cannot be made", "fix": "see the log"})

    async def _made(self, key: str) -> Any:
        topic, _, query = key.partition("?")
        if topic not in self._topics:
            raise UnknownName("topic", topic, self._topics)
        return await self._topics[topic](dict(parse_qsl(query, keep_blank_values=True)))


def encode(value: Any) -> str:
    """Compact JSON that UTF-8 can carry; what has no JSON is told as text."""
    return spelt(json.dumps(value, default=str, separators=(",", ":"), ensure_ascii=False))


def milliseconds(moment: Nanoseconds | None) -> int | None:
    """A time as the page's JSON has it."""
    return None if moment is None else moment // MILLISECOND
