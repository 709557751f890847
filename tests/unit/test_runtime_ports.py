"""Ports that cannot be had are told before anything starts."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from contracts.errors import BackendError, ConfigError
from thingstorm.config import Config, load_config
from thingstorm.runtime.ports import check_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def config(**ports: Any) -> Config:
    """Every port is the system's choice, but those given as section__setting."""
    flags: dict[str, Any] = {
        "broker": {"port": 0, "tls_port": 0, "websocket_port": 0},
        "aws": {"port": 0},
        "api": {"port": 0, "postgres_port": 0},
    }
    for name, value in ports.items():
        section, _, setting = name.partition("__")
        flags[section][setting] = value
    return load_config(flags=flags)


@pytest.mark.parametrize(
    "setting",
    [
        "broker__port",
        "broker__tls_port",
        "broker__websocket_port",
        "aws__port",
        "api__port",
        "api__postgres_port",
    ],
)
def test_each_port_is_asked_for(setting: str, taken: int) -> None:
    with pytest.raises(BackendError) as told:
        check_ports(config(**{setting: taken}))
    assert f"127.0.0.1:{taken} ({setting.replace('__', '.')})" in told.value.what
    assert "--ports auto" in told.value.fix


def test_all_that_are_taken_are_told_at_once(taken: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        second = other.getsockname()[1]
        with pytest.raises(BackendError) as told:
            check_ports(config(broker__port=taken, api__port=second))
    assert f"{taken} (broker.port)" in told.value.what
    assert f"{second} (api.port)" in told.value.what


def test_what_is_free_or_nobodys_or_somebody_elses_is_not_asked_for(taken: int) -> None:
    check_ports(config(broker__tls_port=None, broker__websocket_port=None, api__postgres_port=None))
    check_ports(config(aws__port=taken, aws__backend="localstack"))
    check_ports(config(broker__port=taken, broker__backend="external"))


def test_one_port_for_two_settings_is_a_mistake_of_the_settings(taken: int) -> None:
    with pytest.raises(ConfigError, match=rf"api.port and broker.port are both {taken}"):
        check_ports(config(api__port=taken, broker__port=taken))


def test_one_port_of_two_hosts_is_two_ports() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        free = probe.getsockname()[1]
    check_ports(config(api__port=free, broker__port=free, broker__host="127.0.0.2"))


def test_a_host_that_is_not_this_machines_is_told() -> None:
    with pytest.raises(BackendError, match=r"192.0.2.1:47123 \(broker.port\)"):
        check_ports(config(broker__port=47123, broker__host="192.0.2.1"))
