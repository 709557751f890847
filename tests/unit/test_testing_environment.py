import os

import pytest

from thingstorm.testing.environment import Exported

NAMES = (
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back even where it was not set
        monkeypatch.delenv(name)


def shown() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_everything_that_a_client_needs_is_exported_and_taken_away_again() -> None:
    exported = Exported()
    exported.add("a", endpoint="http://a", region="eu-west-1")
    assert shown() == {
        "AWS_ENDPOINT_URL": "http://a",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    exported.remove("a")
    assert shown() == {}


def test_what_is_set_already_stays_but_for_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://before")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    exported = Exported()
    exported.add("a", endpoint="http://a", region="eu-west-1")
    assert (os.environ["AWS_ENDPOINT_URL"], os.environ["AWS_ACCESS_KEY_ID"]) == ("http://a", "mine")
    exported.remove("a")
    assert shown() == {"AWS_ENDPOINT_URL": "http://before", "AWS_ACCESS_KEY_ID": "mine"}


@pytest.mark.parametrize(("first", "left"), [("a", "http://b"), ("b", "http://a")])
def test_of_two_stacks_the_one_that_stays_open_shows(first: str, left: str) -> None:
    exported = Exported()
    exported.add("a", endpoint="http://a", region="eu-west-1")
    exported.add("b", endpoint="http://b", region="us-east-1")
    assert os.environ["AWS_ENDPOINT_URL"] == "http://b"
    exported.remove(first)
    assert os.environ["AWS_ENDPOINT_URL"] == left
    exported.remove("b" if first == "a" else "a")
    assert shown() == {}


def test_removing_what_was_never_added_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://before")
    Exported().remove("nobody")
    assert shown() == {"AWS_ENDPOINT_URL": "http://before"}
