"""Whether a port is this machine's own, or others may reach it and must say who they are."""

import ipaddress

from contracts.errors import ConfigError


def check_open(host: str, token: str, *, setting: str) -> None:
    """Raises ConfigError: it would listen beyond this machine, and ask nobody who he is."""
    if token or is_loopback(host):
        return
    raise ConfigError(
        f"the API would listen on {host}, beyond this machine, without a token",
        fix=f"set {setting} to a secret, or api.host to 127.0.0.1",
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
