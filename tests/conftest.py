"""Fixtures for all tests: asyncio in debug mode, ports that the system chooses, names that are used once."""

import asyncio.format_helpers
import os
import sys
import traceback
import uuid
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings

from analytics.detectors.process import keep

pytest_plugins = ["pytester"]
"""The tests of our own pytest plugin run pytest."""

STACK_DEPTH = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refresh", action="store_true", help="write the answers in tests/sql anew")


def pytest_configure() -> None:
    """PyOD's import is seconds: one process of it serves every test of a worker. The same for asyncio's debug mode.

    It keeps its checks (calls from a wrong thread, slow callbacks), and of every callback and future the lines
    that made it. By default it takes the whole stack, some 70 us a callback and 160 us a future: more than they do.
    """
    keep()
    asyncio.format_helpers.extract_stack = _nearest  # type: ignore[attr-defined]
    traceback.extract_stack.__defaults__ = (None, STACK_DEPTH)  # the futures in C hold the function itself


def _nearest(frame: FrameType | None = None, limit: int | None = None) -> list[traceback.FrameSummary]:
    """The oldest first; asyncio itself takes its own two away."""
    _ = limit
    found: list[traceback.FrameSummary] = []
    frame = frame or sys._getframe(1)
    while frame is not None and len(found) < STACK_DEPTH:
        code = frame.f_code
        found.append(
            traceback.FrameSummary(code.co_filename, frame.f_lineno, code.co_name, lookup_line=False)
        )
        frame = frame.f_back
    return found[::-1]


# an example's wall time says more about the machine than about the code; every test has its timeout
settings.register_profile(
    "thingstorm",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # .ci/run gives one answer for one state of the code; who runs the tests by hand tries new examples each time
    derandomize=os.environ.get("THINGSTORM_SAME_EXAMPLES") == "1",
)
settings.load_profile("thingstorm")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"debug": True})


@pytest.fixture
def unique() -> str:
    """A short name that no other test uses."""
    return uuid.uuid4().hex[:10]
