"""What the stack, or the analytics stage, hands to the page that it serves, without knowing the page."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import FastAPI

from analytics.sync import Sync
from analytics.verdict_loop import VerdictLoop
from contracts.clock import Clock
from contracts.ports import Collections, Health, Service
from contracts.shadows import ShadowStore
from thingstorm.config import Config
from thingstorm.runtime.following import Steps
from thingstorm.runtime.theatre import Theatre

AskHealth = Callable[[], Awaitable[Sequence[Health]]]
"""Every service of the stack, wherever it runs; those that do not answer are left out."""


@dataclass(frozen=True, slots=True)
class Backstage:
    """The running parts that a page shows. `trace` has a source for each stage that remembers messages."""

    config: Config
    clock: Clock
    view: Collections
    model: VerdictLoop
    sync: Sync
    health: AskHealth
    trace: Sequence[Steps]
    shadows: ShadowStore | None
    theatre: Theatre


MakePage = Callable[[FastAPI, Backstage], Service]
"""Adds the page's routes to the API's application; what keeps the page fresh."""
