"""Who is behind a connection: a principal with its policies, and the values that policies know of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.identity import Principal, Thing

from .policy import Permissions, Policy

LOCAL_PRINCIPAL = "local"
"""Who a client of the plain loopback listener is: no certificate is asked for there."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A principal with its policies read. The `local` one is taken for a thing of the client's own name."""

    principal: Principal
    policy: Policy
    local: bool = False

    def bind(self, *, client_id: str, source_ip: str, own: Policy | None = None) -> Permissions:
        """What a connection of this principal may do; `own` is in place of the principal's policy."""
        return (own or self.policy).bind(self._variables(client_id, source_ip))

    def _variables(self, client_id: str, source_ip: str) -> dict[str, str]:
        """Policy variables; those of a thing have values only when the client id is that of an attached thing.

        Source: AWS IoT Core thing policy variables page.
        """
        known = {
            "iot:ClientId": client_id,
            "aws:SourceIp": source_ip,
            "iot:Principal": self.principal.principal_id,
        }
        things = {thing.name: thing for thing in self.principal.things}
        thing = things.get(client_id) or (Thing(client_id) if self.local else None)
        known["iot:Connection.Thing.IsAttached"] = "true" if thing else "false"
        return {**known, **(_of_thing(thing) if thing else {})}


def _of_thing(thing: Thing) -> dict[str, str]:
    told = {"iot:Connection.Thing.ThingName": thing.name}
    if thing.type_name:
        told["iot:Connection.Thing.ThingTypeName"] = thing.type_name
    return told | {
        f"iot:Connection.Thing.Attributes[{name}]": value for name, value in thing.attributes.items()
    }


def identity_of(principal: Principal) -> Identity:
    """Raises ConfigError for a document that is none."""
    return Identity(principal, Policy(*principal.documents))


def local_identity(document: Mapping[str, Any], *, name: str = LOCAL_PRINCIPAL) -> Identity:
    """The local principal with this policy document. Raises ConfigError."""
    return Identity(Principal(name), Policy(document), local=True)
