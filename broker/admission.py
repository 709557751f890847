"""Who may connect: the decision about a CONNECT, from what is known of devices, principals and the load.

The order is AWS's: what is wrong whoever sends it, then who it is, then what that one may, then whether there is room.
"""

from dataclasses import dataclass

from contracts.errors import ConfigError
from contracts.messages import Nanoseconds

from .codes import (
    BAD_AUTHENTICATION_METHOD,
    BAD_USER_NAME,
    ID_NOT_VALID,
    NOT_AUTHORIZED,
    RATE_EXCEEDED,
    SERVER_BUSY,
)
from .identity import Identity
from .limits import Limits, TokenBucket
from .packets import Connect
from .policy import Permissions, Policy


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A CONNECT, who authenticated (None: nobody), and where it came from."""

    packet: Connect
    identity: Identity | None
    source_ip: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The connect is refused with this reason code of MQTT 5."""

    code: int
    reason: str


class Admission:
    """Decides about connects, and remembers what it decides by: quarantine, devices' own policies, the rate."""

    def __init__(self, limits: Limits) -> None:
        self.quarantined: set[str] = set()
        self._limits = limits
        self._own_policies: dict[str, Policy] = {}
        self._connects = TokenBucket(limits.connects_per_second, 0)

    def decide(
        self, client_id: str, request: ConnectRequest, now: Nanoseconds, *, others: int
    ) -> Permissions | Refused:
        """What the client may do once it is connected, or why it may not connect; `others` are connected already."""
        identity = request.identity
        if (unfit := self._unfit(client_id, request.packet)) is not None:
            return unfit
        if identity is None or not identity.principal.active:
            return Refused(
                NOT_AUTHORIZED, "the certificate is not active" if identity else "nobody authenticated"
            )
        if client_id in self.quarantined:
            return Refused(NOT_AUTHORIZED, "in quarantine")
        permissions = self.bind(identity, client_id, request.source_ip)
        if not permissions.allows("iot:Connect", f"client/{client_id}"):
            return Refused(NOT_AUTHORIZED, "the policy does not allow it")
        return self._overload(now, others) or permissions

    def bind(self, identity: Identity, client_id: str, source_ip: str) -> Permissions:
        """What this identity may do as this client; a device's own policy is the local principal's there."""
        own = self._own_policies.get(client_id) if identity.local else None
        return identity.bind(client_id=client_id, source_ip=source_ip, own=own)

    def create(self, client_id: str, policy: Policy | None) -> None:
        """Register a device, with a policy of its own or the gateway's. Raises ConfigError for an impossible id."""
        if fault := self._id_fault(client_id):
            raise ConfigError(
                f"device id '{client_id[:200]}': {fault}",
                fix=f"choose 1 to {self._limits.client_id_bytes} bytes that do not begin with $",
            )
        self._own_policies.pop(client_id, None)
        if policy is not None:
            self._own_policies[client_id] = policy

    def _unfit(self, client_id: str, packet: Connect) -> Refused | None:
        """What is wrong with a CONNECT whoever sends it."""
        if "authentication_method" in packet.properties:
            return Refused(BAD_AUTHENTICATION_METHOD, "no such authentication")
        if fault := self._id_fault(client_id):
            return Refused(ID_NOT_VALID, fault)
        if packet.password is not None and not self._limits.any_password:
            return Refused(BAD_USER_NAME, "nobody has this password")
        return None

    def _overload(self, now: Nanoseconds, others: int) -> Refused | None:
        if not self._connects.take(now):
            return Refused(RATE_EXCEEDED, "over the connect rate")
        if others >= self._limits.connections:
            return Refused(SERVER_BUSY, "too many connections")
        return None

    def _id_fault(self, client_id: str) -> str:
        size = len(client_id.encode("utf-8", "surrogatepass"))
        impossible = not client_id or client_id.startswith("$") or size > self._limits.client_id_bytes
        return "client id is empty, reserved or too long" if impossible else ""
