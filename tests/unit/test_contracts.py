import pickle

import anyio
import pytest

from contracts.clock import ManualClock, SystemClock
from contracts.errors import BackendMissing, BadRule, ConfigError, ThingstormError, Transient, UnknownName
from contracts.messages import SECOND, Score
from contracts.ports import Rows
from contracts.registry import Backend, Registry
from contracts.text import spelt

KNOWN = Registry(
    "view backend",
    {
        "pathlib": Backend("pathlib:Path"),
        "absent": Backend("not_installed_anywhere:X", package="nia", extra="nia"),
    },
)


def test_a_backend_is_imported_by_name() -> None:
    from pathlib import Path

    assert KNOWN.load("pathlib") is Path


def test_an_unknown_backend_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        KNOWN.load("pathlub")
    assert str(caught.value) == "unknown view backend 'pathlub'"
    assert caught.value.fix == "did you mean 'pathlib'? known: absent, pathlib"


def test_a_missing_package_says_the_command_that_installs_it() -> None:
    with pytest.raises(BackendMissing) as caught:
        KNOWN.load("absent")
    assert "pip install 'thingstorm[nia]'" in caught.value.fix


def test_every_error_has_a_fix_and_an_exit_code() -> None:
    def leaves(kind: type[ThingstormError]) -> list[type[ThingstormError]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in leaves(child))]

    assert all(kind.exit_code in (1, 2, 3, 130) for kind in leaves(ThingstormError))
    assert issubclass(BadRule, ConfigError)
    error = BadRule("expected FROM", line=1, column=8, fix="add FROM 'topic'")
    assert (str(error), error.exit_code) == ("expected FROM at line 1, column 8", 2)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("no such file", fix="name one"),
        BadRule("a comma", line=2, column=7, fix="leave it out"),
        Transient("busy", fix="wait", retry_after=2.5),
        BackendMissing("x", package="nia", extra="nia"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_another_process_is_what_it_was_there(error: ThingstormError) -> None:
    brought = pickle.loads(pickle.dumps(error))
    assert type(brought) is type(error)
    assert (str(brought), vars(brought)) == (str(error), vars(error))


@pytest.mark.anyio
async def test_sleepers_on_a_manual_clock_wake_when_their_moment_has_come() -> None:
    clock = ManualClock(start=100)
    woken: list[int] = []

    async def sleeper(moment: int) -> None:
        await clock.sleep_until(moment)
        woken.append(moment)

    async with anyio.create_task_group() as tasks:
        for moment in (300, 150, 100):
            tasks.start_soon(sleeper, moment)
        await anyio.wait_all_tasks_blocked()
        assert woken == [100]
        clock.advance(60)
        await anyio.wait_all_tasks_blocked()
        assert woken == [100, 150]
        clock.set(1_000)
    assert woken == [100, 150, 300]
    with pytest.raises(ValueError, match="backwards"):
        clock.set(0)


@pytest.mark.anyio
async def test_the_system_clock_does_not_wake_too_early() -> None:
    clock = SystemClock()
    moment = clock.now() + SECOND // 50
    await clock.sleep_until(moment)
    assert clock.now() >= moment - SECOND // 1000


def test_rows_become_dicts_and_a_score_knows_its_flag() -> None:
    assert Rows(("a", "b"), ((1, 2), (3, 4))).dicts() == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert Score("d", 0, value=2.0, threshold=1.0).flagged
    assert not Score("d", 0, value=1.0, threshold=1.0).flagged


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("plain", "plain"),
        ("grün \U0001f600", "grün \U0001f600"),
        ("a\ud800b\udfff", r"a\ud800b\udfff"),
    ],
)
def test_halves_of_surrogate_pairs_are_spelt_and_nothing_else(text: str, told: str) -> None:
    assert spelt(text) == told
    assert spelt(text).encode().decode() == told
