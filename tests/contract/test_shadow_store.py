"""What every store of shadows does: the gateway's own, and the `iot-data` API of the real emulator."""

from pathlib import Path

import pytest
from anyio import to_thread

from broker.shadow_store import MemoryShadows
from broker.store import Store
from contracts.clock import SystemClock
from contracts.shadows import ShadowError, ShadowStore
from pipeline.aws.session import ClientFactory
from pipeline.aws.shadows import IotDataShadows

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "iot-data"])
async def store(request: pytest.FixtureRequest, endpoint: str, unique: str) -> ShadowStore:
    if request.param == "memory":
        return MemoryShadows(clock=SystemClock())
    factory = ClientFactory(backend="embedded", endpoint=endpoint)
    await to_thread.run_sync(lambda: factory.client("iot").create_thing(thingName=unique))
    return IotDataShadows(factory.client("iot-data"))


@pytest.mark.parametrize("name", ["", "named"])
async def test_a_shadow_is_made_merged_read_and_forgotten(store: ShadowStore, unique: str, name: str) -> None:
    assert await store.get(unique, name) is None
    first = await store.update(unique, name, {"state": {"desired": {"a": {"b": 1}}, "reported": {"a": 1}}})
    second = await store.update(unique, name, {"state": {"desired": {"a": {"c": [1, 2]}}, "reported": None}})
    assert second["version"] == first["version"] + 1
    assert second["state"] == {"desired": {"a": {"b": 1, "c": [1, 2]}}}
    stamps = second["metadata"]["desired"]["a"]
    assert set(stamps) == {"b", "c"}
    assert stamps["b"]["timestamp"] <= second["timestamp"]
    read = await store.get(unique, name)
    assert read is not None
    assert {key: read[key] for key in ("state", "metadata", "version")} == {
        key: second[key] for key in ("state", "metadata", "version")
    }
    assert await store.delete(unique, name) == second["version"]
    assert await store.get(unique, name) is None


async def test_versions_guard_against_lost_updates(store: ShadowStore, unique: str) -> None:
    first = await store.update(unique, "", {"state": {"desired": {"a": 1}}})
    await store.update(unique, "", {"state": {"desired": {"a": 2}}, "version": first["version"]})
    with pytest.raises(ShadowError) as caught:
        await store.update(unique, "", {"state": {"desired": {"a": 3}}, "version": first["version"]})
    assert caught.value.code == 409
    read = await store.get(unique, "")
    assert read is not None
    assert read["state"]["desired"] == {"a": 2}


async def test_what_is_not_there_cannot_be_deleted(store: ShadowStore, unique: str) -> None:
    with pytest.raises(ShadowError) as caught:
        await store.delete(unique, "")
    assert caught.value.code == 404


async def test_shadows_of_the_gateway_outlive_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    before = await MemoryShadows(clock=SystemClock(), store=store).update(
        "t", "n", {"state": {"desired": {"a": 1}}}
    )
    store.close()
    store = Store(tmp_path / "s")
    after = await MemoryShadows(clock=SystemClock(), store=store).get("t", "n")
    store.close()
    assert after == before
