import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from contracts.clock import SystemClock
from contracts.errors import ConfigError, NotReady
from thingstorm.dashboard import hub as hub_module
from thingstorm.dashboard.hub import MAX_KEY, MAX_WANTS, Hub, Listener, encode

pytestmark = pytest.mark.anyio


class Made:
    """A topic that counts how often it was made."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, given: Mapping[str, str]) -> dict[str, Any]:
        self.times += 1
        return {"times": self.times, **given}


async def _same(_given: Mapping[str, str]) -> str:
    return "as ever"


async def _wrong(_given: Mapping[str, str]) -> str:
    raise ConfigError("no such thing", fix="ask for another")


async def _broken(_given: Mapping[str, str]) -> str:
    raise KeyError("a defect of ours")


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[Hub]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda task_status: hub.run(task_status=task_status))
        yield hub
        tasks.cancel_scope.cancel()


async def _told(listener: Listener) -> dict[str, Any]:
    with anyio.fail_after(3):
        return {frame["key"]: frame for frame in map(json.loads, await listener.take())}


async def test_what_several_pages_want_is_made_once() -> None:
    made = Made()
    async with running(Hub({"now": made}, clock=SystemClock())) as hub:
        pages = [hub.open() for _ in range(3)]
        for page in pages:
            page.want(["now?span=5"])
        hub.hurry()
        frames = [await _told(page) for page in pages]
        assert made.times == 1
    assert frames == [{"now?span=5": {"key": "now?span=5", "data": {"times": 1, "span": "5"}}}] * 3


async def test_nothing_is_made_while_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "EVERY_SECONDS", 0.06)
    made = Made()
    async with running(Hub({"now": made}, clock=SystemClock())) as hub:
        page = hub.open()
        page.want(["now"])
        hub.hurry()
        await _told(page)
        hub.close(page)
        before = made.times
        for _ in range(3):
            hub.hurry()
            await anyio.sleep(0.07)
        assert made.times <= before + 1  # one may have been under way
    assert hub.health().buffers[0].used == 0


async def test_what_did_not_change_is_not_sent_again_and_what_was_not_taken_is_replaced() -> None:
    listener = Listener()
    listener.want(["now"])
    listener.put("now", "1")
    listener.put("now", "2")
    assert await listener.take() == ["2"]
    listener.put("now", "2")
    with anyio.move_on_after(0.05) as waited:
        await listener.take()
    assert waited.cancelled_caught


async def test_an_error_is_told_in_place_and_stops_no_other_topic(caplog: pytest.LogCaptureFixture) -> None:
    topics = {"same": _same, "wrong": _wrong, "broken": _broken}
    caplog.set_level(logging.CRITICAL, logger="thingstorm.dashboard.hub")
    async with running(Hub(topics, clock=SystemClock())) as hub:
        page = hub.open()
        page.want(["same", "wrong", "broken", "nowhere"])
        hub.hurry()
        told: dict[str, Any] = {}
        while len(told) < 4:
            told |= await _told(page)
    assert told["same"]["data"] == "as ever"
    assert told["wrong"] == {"key": "wrong", "error": "no such thing", "fix": "ask for another"}
    assert told["broken"]["error"] == "this view cannot be made"
    assert "known: broken, same, wrong" in told["nowhere"]["fix"]


async def test_a_page_that_wants_too_much_is_refused() -> None:
    listener = Listener()
    for keys in (["now"] * (MAX_WANTS + 1), ["x" * (MAX_KEY + 1)]):
        with pytest.raises(ConfigError, match="wants too much"):
            listener.want(keys)
    assert listener.wants == frozenset()


async def test_so_many_pages_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_PAGES", 2)
    hub = Hub({}, clock=SystemClock())
    first = hub.open()
    hub.open()
    with pytest.raises(NotReady, match="2 pages are open"):
        hub.open()
    hub.close(first)
    hub.open()


def test_a_frame_can_be_sent_whatever_a_page_asks_for() -> None:
    asked = {"key": "device?id=\ud800", "data": {"\udc00": 1}}
    assert json.loads(encode(asked).encode()) == asked
