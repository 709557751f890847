"""Who a device is, and what the registry of AWS IoT knows of it: things, certificates, policies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from contracts.messages import Json


@dataclass(frozen=True, slots=True)
class Thing:
    """An entry of the registry. Policy variables read its type and attributes."""

    name: str
    type_name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who can authenticate: a certificate, or a local name on a plain listener.

    `principal_id` of a certificate is the SHA-256 of its DER encoding in lower-case hexadecimal, as AWS names it.
    `documents` are the policy documents attached to it, `things` those it is attached to.
    """

    principal_id: str
    active: bool = True
    documents: tuple[Mapping[str, Json], ...] = ()
    things: tuple[Thing, ...] = ()


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a new device needs to connect with mutual TLS: PEM texts."""

    certificate_id: str
    certificate: str
    private_key: str
    root_ca: str


class Registry(Protocol):
    """The `iot` control plane, as far as the gateway and the operator need it."""

    async def principal(self, certificate_id: str) -> Principal | None:
        """What is known of a certificate; None if it is not registered. Raises Transient, Terminal."""
        ...

    async def trust_anchors(self) -> tuple[str, ...]:
        """PEM certificates that a client's chain may end in: the CAs, and certificates registered without one.

        Raises Transient, Terminal.
        """
        ...

    async def statuses(self) -> Mapping[str, bool]:
        """Every registered certificate, and whether it is active. Raises Transient, Terminal."""
        ...

    async def create_device(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> Credentials:
        """Make a thing, an active certificate and a policy (default: its own topics only), all attached.

        Raises ConfigError for an impossible id or document, Transient, Terminal.
        """
        ...
