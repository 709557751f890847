"""When a path counts as quiet: twice running, soon told if it stands still, waited for while it moves."""

from collections.abc import Iterator

import pytest

from contracts.errors import NotReady
from thingstorm.runtime.ledger import POLL_SECONDS, Quiet, settle

pytestmark = pytest.mark.anyio

STILL = 0.15


def hop(states: Iterator[str]) -> Quiet:
    async def look() -> str:
        return next(states)

    return look


async def test_quiet_is_asked_twice() -> None:
    states = iter(["", "one waits", "", "", "never asked"])
    await settle([hop(states)], within=5)
    assert list(states) == ["never asked"]


async def test_a_path_that_stands_still_is_told_with_its_hop() -> None:
    with pytest.raises(NotReady, match="three wait"):
        await settle([hop(iter(["three wait"] * 10))], within=STILL, longest=60)


async def test_a_backlog_that_is_worked_off_is_waited_for_beyond_the_time_of_a_step() -> None:
    states = [f"{left} wait" for left in range(6, 0, -1)] + ["", ""]
    step = 4 * POLL_SECONDS  # six looks take longer
    await settle([hop(iter(states))], within=step, longest=60)
    with pytest.raises(NotReady, match="wait"):
        await settle([hop(iter(states))], within=step)


async def test_what_moves_for_ever_ends_at_the_longest() -> None:
    with pytest.raises(NotReady, match="within 0 s"):
        await settle([hop(f"{n} came" for n in range(1_000))], within=2 * STILL, longest=2.5 * STILL)
