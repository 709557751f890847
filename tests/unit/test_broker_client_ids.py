"""Where a topic names the device, for brokers that do not tell who published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.external import client_id_reader
from contracts.errors import ConfigError


@pytest.mark.parametrize(
    ("pattern", "topic", "client_id"),
    [
        ("+/+/{client_id}/#", "dt/meter/m1/telemetry", "m1"),
        ("+/+/{client_id}/#", "dt/meter/m1", "m1"),
        ("+/+/{client_id}/#", "dt/m1", ""),
        ("devices/{client_id}", "devices/a/b", ""),
        ("devices/{client_id}", "devices/a", "a"),
    ],
)
def test_device_ids_are_read_from_topics(pattern: str, topic: str, client_id: str) -> None:
    assert client_id_reader(pattern)(topic) == client_id


@given(st.lists(st.text(min_size=1).filter(lambda t: "/" not in t), min_size=3, max_size=6))
def test_the_third_level_is_the_device_by_default(levels: list[str]) -> None:
    assert client_id_reader("+/+/{client_id}/#")("/".join(levels)) == levels[2]


@pytest.mark.parametrize("pattern", ["", "a/b", "{client_id}/{client_id}", "#/{client_id}"])
def test_what_is_no_pattern_is_told(pattern: str) -> None:
    with pytest.raises(ConfigError, match="client_id_pattern"):
        client_id_reader(pattern)
