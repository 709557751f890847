"""Whether the configured ports can be had, asked before the seconds that a start takes.

Who takes one between this and the start is told of by the part that listens there.
"""

import socket
from collections.abc import Iterator

from contracts.errors import BackendError, ConfigError
from thingstorm.config import Config

LOOPBACK = "127.0.0.1"


def check_ports(config: Config) -> None:
    """Tell all the ports of a stack in one process that it cannot have, each with its setting.

    Raises ConfigError where two settings name one port of a host, BackendError where somebody else has it.
    """
    wanted = list(_ports(config))
    named: dict[tuple[str, int], str] = {}
    for setting, host, port in wanted:
        if other := named.get((host, port)):
            raise ConfigError(
                f"{other} and {setting} are both {port}", fix="give them different ports, or 0 for any"
            )
        named[host, port] = setting
    refused = [
        f"{host}:{port} ({setting}): {why}" for setting, host, port in wanted if (why := _refusal(host, port))
    ]
    if refused:
        raise BackendError(
            f"cannot listen on {'; '.join(refused)}",
            fix="stop what uses it, set another port, or let the system choose all of them with --ports auto",
        )


def _ports(config: Config) -> Iterator[tuple[str, str, int]]:
    """Setting, host and port of each listener whose port is not left to the system."""
    broker, api = config.broker, config.api
    listeners = [("api.port", api.host, api.port), ("api.postgres_port", api.host, api.postgres_port)]
    if config.aws.backend == "embedded":
        listeners.append(("aws.port", LOOPBACK, config.aws.port))
    if broker.backend == "amqtt":
        listeners += [
            (f"broker.{name}", broker.host, getattr(broker, name))
            for name in ("port", "tls_port", "websocket_port")
        ]
    return ((setting, host, port) for setting, host, port in listeners if port)


def _refusal(host: str, port: int) -> str:
    """What the system says against listening there; empty if nothing."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return ""
