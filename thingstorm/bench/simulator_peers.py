"""Client libraries that are measured beside ours, each as its documentation tells to use it.

They are imported when they are asked for: a bench without peers does not need them.
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from simulator.device import Reading

from .simulator_fleets import HOST, Client

GMQTT_WINDOW = 100
"""gmqtt does not wait for acknowledgements by itself: as many as ours are under way, then all are waited for."""

MQTT_3_1_1 = 4


class AiomqttClient:
    """aiomqtt: a wrapper of paho-mqtt; every publish at QoS 1 waits for its acknowledgement."""

    def __init__(self) -> None:
        self._client: Any = None

    async def open(self, device_id: str, port: int) -> None:
        """See `Client.open`."""
        import aiomqtt  # noqa: PLC0415 - see above

        self._client = aiomqtt.Client(HOST, port, identifier=device_id)
        await self._client.__aenter__()

    async def publish(self, reading: Reading) -> None:
        """See `Client.publish`."""
        await self._client.publish(reading.topic, reading.payload, reading.qos, timeout=math.inf)

    async def settle(self) -> None:
        """Nothing to do: `publish` waits."""

    async def close(self) -> None:
        """DISCONNECT."""
        await self._client.__aexit__(None, None, None)


class GmqttClient:
    """gmqtt: an asyncio.Protocol of its own; publishing is a plain call."""

    def __init__(self) -> None:
        self._client: Any = None
        self._storage: Any = None
        self._count = 0

    async def open(self, device_id: str, port: int) -> None:
        """See `Client.open`."""
        import gmqtt  # noqa: PLC0415 - see above
        from gmqtt.storage import PersistentStorage  # noqa: PLC0415

        self._storage = PersistentStorage()
        self._client = gmqtt.Client(device_id, persistent_storage=self._storage)
        await self._client.connect(HOST, port, version=MQTT_3_1_1)

    async def publish(self, reading: Reading) -> None:
        """See `Client.publish`."""
        self._client.publish(reading.topic, reading.payload, qos=reading.qos)
        self._count += 1
        if self._count % GMQTT_WINDOW == 0:
            await (self.settle() if reading.qos else asyncio.sleep(0))

    async def settle(self) -> None:
        """See `Client.settle`."""
        await self._storage.wait_empty()

    async def close(self) -> None:
        """DISCONNECT."""
        await self._client.disconnect()


PEERS: Mapping[str, type[Client]] = {"aiomqtt": AiomqttClient, "gmqtt": GmqttClient}
