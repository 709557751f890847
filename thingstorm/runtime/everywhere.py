"""How all stages are, asked by one of them: its own services, and what the others answer on their ports."""

from collections.abc import Callable, Sequence

import anyio
import httpx

from contracts.ports import Health
from thingstorm.config import StagesConfig
from thingstorm.runtime.remote_target import health_from

PATIENCE_SECONDS = 1.0
"""A stage that does not answer in this time is told as failed; it is asked again with the next question."""

FRESH_SECONDS = 0.8
"""Several views ask within a second; one answer serves them all."""


class Everywhere:
    """Asks `broker`, `pipeline` and, where there is one, `simulator`."""

    def __init__(self, stages: StagesConfig, own: Callable[[], Sequence[Health]]) -> None:
        self._stages = stages
        self._own = own
        self._told: list[Health] = []
        self._asked = -FRESH_SECONDS
        self._http = httpx.AsyncClient(
            timeout=PATIENCE_SECONDS, headers={"Authorization": f"Bearer {stages.token}"}
        )

    async def health(self) -> list[Health]:
        """Every service that is known of now."""
        if anyio.current_time() - self._asked >= FRESH_SECONDS:
            self._asked = anyio.current_time()
            self._told = [
                *await self._ask("broker", self._stages.broker),
                *await self._ask("pipeline", self._stages.pipeline),
                *await self._ask("simulator", self._stages.simulator, wanted=False),
            ]
        return [*self._own(), *self._told]

    async def close(self) -> None:
        """Give back the connections."""
        await self._http.aclose()

    async def _ask(self, stage: str, url: str, *, wanted: bool = True) -> list[Health]:
        try:
            told = (await self._http.get(f"{url}/healthz")).json()
            return [health_from(service) for service in told["services"]]
        except (httpx.HTTPError, ValueError, KeyError):
            return [Health(stage, "failed", f"{url} does not answer")] if wanted else []
