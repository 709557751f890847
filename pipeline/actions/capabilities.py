"""What each AWS backend can do for rules, as data: `doctor` prints it, and a rule that asks for more is refused.

Every action and every function that asks a service is listed; those that a backend lacks come with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..rules.functions import FUNCTIONS
from ..rules.specs import ACTIONS, UNAVAILABLE

_NO_IOT: Final = "LocalStack has the iot APIs in its paid editions only"

SERVICES_LACKING: Final[Mapping[str, Mapping[str, str]]] = {
    "localstack": {"iot": _NO_IOT, "iot-data": _NO_IOT},
}
"""By backend: services that functions may not ask, with the reason."""

ACTIONS_LACKING: Final[Mapping[str, Mapping[str, str]]] = {
    "direct": dict.fromkeys(
        ACTIONS.backends.keys() - {"sns", "firehose"}, "the direct path has no AWS service behind it"
    ),
}
"""By backend: actions that cannot be done, with the reason. All others were tried against the emulator."""


@dataclass(frozen=True, slots=True)
class Capability:
    """One line of the table."""

    what: str
    can: bool
    why: str = ""


def capabilities(backend: str) -> Iterator[Capability]:
    """All actions, then all functions that ask a service."""
    lacking = ACTIONS_LACKING.get(backend, {})
    for kind in sorted({*ACTIONS.backends, *UNAVAILABLE}, key=str.lower):
        why = "thingstorm has it not" if kind in UNAVAILABLE else lacking.get(kind, "")
        yield Capability(f"action {kind}", not why, why)
    services = SERVICES_LACKING.get(backend, {})
    for name, function in sorted(FUNCTIONS.items()):
        if function.service:
            why = services.get(function.service, "")
            yield Capability(f"function {name}", not why, why)
