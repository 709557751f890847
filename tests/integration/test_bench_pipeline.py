"""`thingstorm bench pipeline`: both subjects move messages on a real emulator; no assertion on speed."""

import pytest
from anyio import to_thread

from pipeline.aws.emulator import Emulator
from thingstorm.bench import pipeline_load
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


async def test_ours_and_the_bare_loop_move_messages_and_ours_loses_none() -> None:
    settings = {"seconds": 2.0, "warm": 0.5, "backlog": 50}
    emulator = Emulator()
    async with supervise([emulator], drain_seconds=1.0):
        ours = await pipeline_load.path(settings, emulator)
        bare = await to_thread.run_sync(
            pipeline_load.ceiling, {**settings, "subject": "ceiling-loopback"}, emulator
        )
    for figures in (ours, bare):
        assert figures["messages_per_s"] > 0
        assert figures["cpu_us_per_message"] > 0
        assert figures["emulator_us_per_message"] > 0
    assert ours["lost"] == 0
    assert ours["data_latency_p95_ms"] >= ours["data_latency_p50_ms"] > 0
