"""The level of the whole fleet: how much it sends against the forecast, and since when it has been more.

The forecast is what a device sent at this time of the week, else of the day, or what the devices' own history says
if that is more: a fleet that was enlarged for good is not above its forecast for weeks, nor is its daily peak. It is
learnt on line from ticks that were judged normal, so no rise becomes its own forecast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from contracts.messages import SECOND, VerdictKind, Window

from .forecast import day_profile, week_profile

RATIO = 1.15
SPREAD = 3.0
"""A rise is this many times the forecast, and so many Poisson standard deviations beyond it."""

PAUSE = 5
"""Ticks below both that end a rise: one window without them."""


class FleetLevel:
    """Give it each tick's fleet window, in order; then what the verdict was."""

    def __init__(self) -> None:
        self._week, self._day = week_profile(), day_profile()
        self._since: int | None = None
        self._below = 0

    def measure(self, fleet: Window) -> Window:
        """The window with `uptick` against the forecast (ratio), and `rising`: seconds since the rise began, 0 if none."""
        figures = fleet.features
        expected = self._expected(fleet)
        ratio = figures["messages"] / expected if expected else figures["uptick"]
        beyond = 2.0 * float(np.sqrt(figures["messages"] + 0.375) - np.sqrt(expected + 0.375))
        rising = self._rising(fleet.end, up=ratio >= RATIO and beyond >= SPREAD)
        return replace(fleet, features={**figures, "uptick": ratio, "rising": rising})

    def learn(self, fleet: Window, kind: VerdictKind) -> None:
        """Take a window in that was judged; only a normal one teaches."""
        devices = fleet.features["devices"]
        if kind == "normal" and devices:
            moment, each = fleet.end / SECOND, fleet.features["messages"] / devices
            self._week.learn(moment, each)
            self._day.learn(moment, each)

    @property
    def state(self) -> dict[str, list[float | None]]:
        """What was learnt, as JSON: messages a device and window."""
        return {"week": self._week.means, "day": self._day.means}

    def restore(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Take up the `state` of an earlier process."""
        self._week.restore(state.get("week", ()))
        self._day.restore(state.get("day", ()))

    def _expected(self, fleet: Window) -> float:
        """Messages in the window; 0 if nothing says how many."""
        moment, figures = fleet.end / SECOND, fleet.features
        own = figures["messages"] / figures["uptick"] if figures["uptick"] else 0.0
        week, day = self._week.expected(moment), self._day.expected(moment)
        each = week if week is not None else day
        return own if each is None else max(own, each * figures["devices"])

    def _rising(self, end: int, *, up: bool) -> float:
        self._below = 0 if up else self._below + 1
        if self._below >= PAUSE:
            self._since = None
        elif up and self._since is None:
            self._since = end - SECOND  # the newest second is what made it a rise
        return 0.0 if self._since is None else (end - self._since) / SECOND
