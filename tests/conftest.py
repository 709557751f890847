"""Fixtures for all tests: asyncio in debug mode, ports that the system chooses, names that are used once."""

import uuid

import pytest

from analytics.detectors.process import keep

pytest_plugins = ["pytester"]
"""The tests of our own pytest plugin run pytest."""


def pytest_configure() -> None:
    """PyOD's import is seconds: one process of it serves every test of a worker."""
    keep()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"debug": True})


@pytest.fixture
def unique() -> str:
    """A short name that no other test uses."""
    return uuid.uuid4().hex[:10]
