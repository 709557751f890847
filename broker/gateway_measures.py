"""What a gateway tells `/metrics` beside its counters, whichever backend it is."""

from contracts.measures import Measure


def gateway_measures(*, quarantined: int, connections: int | None) -> tuple[Measure, ...]:
    """`connections` is None where the broker is somebody else's and does not say."""
    told = [Measure("quarantined_devices", "Devices that the gateway refuses now.", quarantined)]
    if connections is not None:
        told.append(Measure("connections", "Clients that are connected now.", connections))
    return tuple(told)
