"""How deep the queues are, asked when somebody wants to know, and not more often than is useful."""

import time
from collections.abc import Mapping

import anyio
from anyio import CapacityLimiter, to_thread

from contracts.errors import BackendError
from pipeline.aws.provision import LANES
from pipeline.worker import queue_depth
from thingstorm.runtime.parts import Cloud

FRESH_SECONDS = 5.0
"""A question is an AWS call a queue; a scrape comes every 15 s or so."""

PATIENCE_SECONDS = 2.0


class QueueDepths:
    """The depth of every lane's queue and dead-letter queue. What cannot be asked keeps its last depth."""

    def __init__(self, cloud: Cloud) -> None:
        names = [name for lane in LANES for name in (lane, f"{lane}-dlq")]
        self._queues = {name: cloud.resources.queues[name] for name in names}
        self._sqs = cloud.factory.client("sqs")
        self._limiter = CapacityLimiter(1)
        self._asked_at = -FRESH_SECONDS
        self._depths: dict[str, int] = {}

    @property
    def seen(self) -> Mapping[str, int]:
        """As they were when somebody last looked."""
        return self._depths

    async def look(self) -> None:
        """Ask, if the last answer is old. Never raises: the workers tell what is wrong with the services."""
        if time.monotonic() - self._asked_at < FRESH_SECONDS:
            return
        self._asked_at = time.monotonic()
        with anyio.move_on_after(PATIENCE_SECONDS):
            self._depths = await to_thread.run_sync(self._ask, limiter=self._limiter, abandon_on_cancel=True)

    def _ask(self) -> dict[str, int]:
        found = dict(self._depths)
        for name, url in self._queues.items():
            try:
                found[name] = queue_depth(self._sqs, url)
            except BackendError:
                continue
        return found
