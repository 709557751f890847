"""A part of a fleet: when several processes play one scenario, each plays its own."""

from dataclasses import dataclass

from .behaviours.base import AnyStep, FaultStep, LineStep


@dataclass(frozen=True, slots=True)
class Share:
    """The devices whose place in the file, counted over all groups, leaves `index` when divided by `of`.

    What is no device's (hostile clients, faults of the platform) belongs to the first share.
    """

    index: int = 0
    of: int = 1

    def has(self, place: int) -> bool:
        """Whether the device at this place is in it."""
        return place % self.of == self.index

    def does(self, step: AnyStep, places: dict[str, int]) -> bool:
        """Whether a step of the timeline is done here; `places` are those of all devices."""
        if isinstance(step, LineStep | FaultStep):
            return self.index == 0
        return self.has(places[step.device_id])


EVERYBODY = Share()
