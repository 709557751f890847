"""The fleets of `bench simulator` against our real gateway: every subject really publishes what it is counted for."""

from collections import Counter
from typing import Any

import anyio
import pytest
from test_broker_embedded import a_house, until

from thingstorm.bench import simulator_load
from thingstorm.bench.simulator import OURS, RAW
from thingstorm.bench.simulator_fleets import OurFlood, Ours, Theirs
from thingstorm.bench.simulator_peers import PEERS

pytestmark = [
    pytest.mark.anyio,
    # both peers leave their sockets and transports to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LIMITS = {name: float("inf") for name in ("publishes_per_second", "bytes_per_second", "connects_per_second")}
SUBJECTS = (OURS, RAW, *PEERS)


def settings(subject: str, port: int, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "port": port, "devices": 3, "broker_pid": 1, **more}


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("subject", SUBJECTS)
async def test_a_flood_arrives_whole_before_it_is_over(subject: str, qos: int) -> None:
    async with a_house(overrides=LIMITS) as house:
        fleet = simulator_load._flooding(settings(subject, house.broker.port, qos=qos))
        assert isinstance(fleet, OurFlood if subject in (OURS, RAW) else Theirs)
        async with fleet.connected():
            await fleet.flood(120)
            await until(lambda: len(house.seen) >= 360)
        assert Counter(one.client_id for one in house.seen) == {f"meter-000{n}": 120 for n in (1, 2, 3)}
        assert 150 < len(house.seen[0].payload) < 250


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_paced_devices_keep_their_pace(subject: str) -> None:
    async with a_house(overrides=LIMITS) as house:
        fleet = simulator_load._fleet(settings(subject, house.broker.port, every="50ms", qos=1))
        assert isinstance(fleet, Ours if subject in (OURS, RAW) else Theirs)
        async with fleet.connected(), fleet.publishing():
            await anyio.sleep(1.0)
            count = fleet.acknowledged()
        assert 45 <= count <= 66
        await until(lambda: len(house.seen) >= count)


async def test_figures_of_a_case_are_what_was_measured() -> None:
    async with a_house(overrides=LIMITS) as house:
        told = settings(RAW, house.broker.port)
        connects = await simulator_load.connects(told)
        assert connects["connects_per_s"] > 0
        flood = await simulator_load.flood({**told, "each": 50, "qos": 1})
        assert flood["messages_per_s"] > 0
        assert flood["cpu_us_per_message"] > 0
        assert len(house.seen) == 150
