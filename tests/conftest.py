"""Fixtures for all tests: asyncio in debug mode, ports that the system chooses, names that are used once."""

import uuid

import pytest
from hypothesis import settings

from analytics.detectors.process import keep

pytest_plugins = ["pytester"]
"""The tests of our own pytest plugin run pytest."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refresh", action="store_true", help="write the answers in tests/sql anew")


def pytest_configure() -> None:
    """PyOD's import is seconds: one process of it serves every test of a worker."""
    keep()


# an example's wall time says more about the machine than about the code; every test has its timeout
settings.register_profile("thingstorm", deadline=None)
settings.load_profile("thingstorm")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"debug": True})


@pytest.fixture
def unique() -> str:
    """A short name that no other test uses."""
    return uuid.uuid4().hex[:10]
