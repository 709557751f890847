"""Who holds something waits with it until the services work again, says what for, and ends nothing."""

import anyio
import pytest
from anyio import CapacityLimiter

from contracts.errors import BackendError, Misconfigured, Transient
from contracts.ports import Health, State
from pipeline import patience
from pipeline.patience import Patience
from thingstorm.runtime import troubles
from thingstorm.runtime.troubles import telling_troubles

pytestmark = pytest.mark.anyio

GONE = Misconfigured("SQS: no such queue", fix="make it")
BUSY = Transient("SQS: busy", fix="it is tried again")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE", 0.001)
    monkeypatch.setattr(patience, "LONG_PAUSE", 0.001)
    monkeypatch.setattr(troubles, "WATCH_SECONDS", 0.001)


class Service:
    """Fails as told, and notes what the health says of it each time."""

    def __init__(self, *errors: BackendError) -> None:
        self.errors = list(errors)
        self.mended = 0
        self.patience = Patience(CapacityLimiter(2), mend=self.mend)
        self.seen: list[tuple[State, str]] = []

    def work(self, answer: str) -> str:
        self.seen.append((self.patience.state("ready"), self.patience.detail))
        if self.errors:
            raise self.errors.pop(0)
        return answer

    def mend(self) -> None:
        self.mended += 1
        raise BUSY  # the mend may fail too: it is for the next try


async def test_what_a_person_must_mend_is_told_at_once_and_waited_for() -> None:
    service = Service(GONE, GONE)
    assert await service.patience.run(service.work, "done") == "done"
    told = ("failed", "trying again: SQS: no such queue; fix: make it")
    assert service.seen == [("ready", ""), told, told]
    assert (service.patience.state("ready"), service.patience.detail) == ("ready", "")
    assert (service.patience.retries, service.mended) == (2, 2)


async def test_what_passes_is_a_failure_only_when_it_lasts() -> None:
    service = Service(*[BUSY] * (patience.FAULTS_IN_A_ROW + 1))
    await service.patience.run(service.work, "")
    states = [state for state, _ in service.seen]
    assert states == ["ready"] * patience.FAULTS_IN_A_ROW + ["failed"] * 2
    assert service.mended == 0


async def test_another_that_works_hides_no_trouble() -> None:
    bad, good = Service(*[GONE] * 1_000_000), Service()
    good.patience = bad.patience
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bad.patience.run, bad.work, "")
        while not bad.patience.retries:
            await anyio.sleep(0.001)
        await good.patience.run(good.work, "")
        assert bad.patience.state("ready") == "failed"
        assert bad.patience.state("draining") == "draining"
        tasks.cancel_scope.cancel()
    assert bad.patience.detail == ""


async def test_troubles_are_told_once_and_their_end_too() -> None:
    told: list[str] = []
    now = [Health("a", "ready"), Health("b", "failed", "gone; fix: make it")]
    async with telling_troubles(lambda: now, told.append):
        while not told:
            await anyio.sleep(0.001)
        await anyio.sleep(0.01)
        now[:] = [Health("a", "ready", "busy"), Health("b", "ready")]
        while len(told) < 2:
            await anyio.sleep(0.001)
    assert told == ["b: gone; fix: make it", "b: ready again"]
