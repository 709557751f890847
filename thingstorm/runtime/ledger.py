"""Counts every hop, reading back what is stored rather than trusting what was sent, and waits until it is quiet."""

from collections.abc import Awaitable, Callable

import anyio

from contracts.errors import NotReady
from thingstorm.report.record import Ledger, Losses

POLL_SECONDS = 0.2
"""How often to look whether the hops are quiet: a look costs some ten AWS calls, 20 ms of CPU."""

Quiet = Callable[[], Awaitable[str]]
"""Looks at one hop: the empty string when nothing is under way there, else what still is."""


async def settle(hops: list[Quiet], *, within: float, longest: float | None = None) -> None:
    """Return when every hop was quiet in the same round, twice running. Raises NotReady naming the hop that was not.

    Twice, because a message may slip from a hop not yet looked at into one already seen quiet. `within` seconds are
    for all; with `longest` they are for each step of what still moves, and that is for all: a backlog that is worked
    off takes as long as it takes, one that stands still is told soon.
    """
    quiet_rounds, busy, began = 0, "nothing was looked at", anyio.current_time()
    with anyio.move_on_after(within) as scope:
        while quiet_rounds < 2:
            states = [state for hop in hops if (state := await hop())]
            quiet_rounds = 0 if states else quiet_rounds + 1
            before, busy = busy, "; ".join(states) or busy
            if longest is not None and busy != before:
                scope.deadline = min(anyio.current_time() + within, began + longest)
            await anyio.sleep(POLL_SECONDS if states else POLL_SECONDS / 4)
        return
    waited = anyio.current_time() - began
    raise NotReady(
        f"the path did not become quiet within {waited:.0f} s: {busy}",
        fix="the machine may be too slow for this rate; send less, or give it longer",
    )


def losses(ledger: Ledger, *, distinct: int, dead_letters: int) -> Losses:
    """What must be zero. `distinct` is how many different messages the view holds."""
    return Losses(
        lost=max(0, ledger.routed - distinct),
        duplicates=ledger.viewed - distinct,
        dead_letters=dead_letters,
    )
