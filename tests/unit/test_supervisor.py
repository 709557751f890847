import anyio
import pytest
from anyio.abc import TaskStatus

from contracts.errors import BackendError, Misconfigured
from contracts.ports import Health
from thingstorm.runtime import supervisor
from thingstorm.runtime.supervisor import DrainCut, supervise

pytestmark = pytest.mark.anyio


class Recorder:
    """A service that writes down what happens to it."""

    def __init__(self, name: str, log: list[str], **options: float | bool) -> None:
        self.name = name
        self._log = log
        self._options = options

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        if self._options.get("fails_at_start"):
            raise BackendError(f"{self.name} cannot start", fix="mend it")
        self._log.append(f"start {self.name}")
        if not self._options.get("never_ready"):
            task_status.started()
        try:
            if "crashes_after" in self._options:
                await anyio.sleep(self._options["crashes_after"])
                raise BackendError(f"{self.name} crashed", fix="mend it")
            await anyio.sleep_forever()
        finally:
            self._log.append(f"end {self.name}")

    async def drain(self) -> None:
        self._log.append(f"drain {self.name}")
        if self._options.get("drain_fails"):
            raise Misconfigured(f"{self.name}: no bucket", fix="make it")
        await anyio.sleep(self._options.get("drain_takes", 0.0))

    def health(self) -> Health:
        return Health(self.name, "ready", "no queue; fix: make it" if self._options.get("waits") else "well")


async def test_starts_in_order_and_stops_in_reverse_each_drained_before_the_next() -> None:
    log: list[str] = []
    async with supervise([Recorder("sink", log), Recorder("source", log)], drain_seconds=1):
        log.append("body")
    assert log == [
        "start sink",
        "start source",
        "body",
        "drain source",
        "end source",
        "drain sink",
        "end sink",
    ]


async def test_a_service_that_fails_to_start_stops_those_before_it() -> None:
    log: list[str] = []
    with pytest.raises(BackendError, match="source cannot start"):
        async with supervise(
            [Recorder("sink", log), Recorder("source", log, fails_at_start=True)], drain_seconds=1
        ):
            log.append("body")
    assert "body" not in log
    assert log[-1] == "end sink"


async def test_a_crash_stops_everything_and_comes_out_as_its_own_error() -> None:
    log: list[str] = []
    with pytest.raises(BackendError, match="source crashed"):
        async with supervise(
            [Recorder("sink", log), Recorder("source", log, crashes_after=0.01)], drain_seconds=1
        ):
            await anyio.sleep_forever()
    assert "end sink" in log


async def test_a_drain_that_does_not_end_is_cut_and_said() -> None:
    log: list[str] = []
    with pytest.raises(DrainCut, match="slow") as caught:
        async with supervise(
            [Recorder("sink", log), Recorder("slow", log, drain_takes=60)], drain_seconds=0.05
        ):
            pass
    assert caught.value.exit_code == 1
    assert log[-1] == "end sink"


async def test_what_was_cut_is_told_with_what_it_waited_for() -> None:
    waiting = Recorder("waiting", [], drain_takes=60, waits=True)
    with pytest.raises(DrainCut) as caught:
        async with supervise([Recorder("slow", [], drain_takes=60), waiting], drain_seconds=0.05):
            pass
    assert caught.value.what.endswith(": waiting (no queue; fix: make it), slow")


async def test_a_drain_that_fails_stops_the_others_in_their_order_and_is_told() -> None:
    log: list[str] = []
    with pytest.raises(Misconfigured, match="source: no bucket"):
        async with supervise(
            [Recorder("sink", log), Recorder("source", log, drain_fails=True)], drain_seconds=1
        ):
            log.clear()
    assert log == ["drain source", "end source", "drain sink", "end sink"]


async def test_an_error_of_the_body_still_drains() -> None:
    log: list[str] = []
    with pytest.raises(RuntimeError, match="mine"):
        async with supervise([Recorder("sink", log)], drain_seconds=1):
            raise RuntimeError("mine")
    assert log == ["start sink", "drain sink", "end sink"]


async def test_a_service_that_never_gets_ready_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "START_SECONDS", 0.05)
    log: list[str] = []
    with pytest.raises(BackendError, match="mute was not ready"):
        async with supervise([Recorder("mute", log, never_ready=True)], drain_seconds=1):
            pass


async def test_a_crash_of_an_outer_group_does_not_wait_for_the_drain_of_an_inner_one() -> None:
    log: list[str] = []
    outer, inner = Recorder("aws", log, crashes_after=0.01), Recorder("worker", log, drain_takes=60)
    with anyio.fail_after(2), pytest.raises(BackendError, match="aws crashed"):
        async with supervise([outer], drain_seconds=50), supervise([inner], drain_seconds=50):
            await anyio.sleep_forever()
    assert "drain worker" not in log
    assert "end worker" in log
