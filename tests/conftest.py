"""Fixtures for all tests: asyncio in debug mode, ports that the system chooses, names that are used once."""

import uuid

import pytest

pytest_plugins = ["pytester"]
"""The tests of our own pytest plugin run pytest."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"debug": True})


@pytest.fixture
def unique() -> str:
    """A short name that no other test uses."""
    return uuid.uuid4().hex[:10]
