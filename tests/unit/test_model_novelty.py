"""Topics nobody used before: a cascade spreads, a command from outside begins at once."""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from analytics.novelty import MAX_PATTERNS, MEMORY_SECONDS, Novel, Novelty

OWN: Mapping[str, Sequence[str]] = {"meter": ("dt/meter/{device}/",)}
ALARM = "dt/meter/{device}/alarm"


def _one(found: Mapping[int, Novel], line: int = 0) -> Novel:
    return found[line]


def test_a_cascade_has_company_that_joined_over_time() -> None:
    novelty = Novelty()
    for line in range(5):
        for now in range(3 * line, 20):
            novelty.use(line, "meter", [ALARM], now)
    found = _one(novelty.now(19, OWN))
    assert (found.company, found.spread, found.joined, found.age) == (5, 12, 7, 19)
    assert not found.foreign
    assert found.interval == 1.0


def test_what_begins_together_has_no_spread() -> None:
    novelty = Novelty()
    for line in range(4):
        novelty.use(line, "meter", [ALARM], 3)
    found = _one(novelty.now(9, OWN))
    assert (found.company, found.spread, found.joined) == (4, 0, 6)
    assert found.interval == MEMORY_SECONDS, "none has spoken again"


def test_other_types_are_no_company() -> None:
    novelty = Novelty()
    novelty.use(0, "meter", [ALARM], 0)
    novelty.use(1, "pump", [ALARM], 0)
    assert _one(novelty.now(1, OWN)).company == 1


def test_a_topic_outside_the_own_branch_is_foreign() -> None:
    novelty = Novelty()
    novelty.use(0, "meter", [ALARM, "sys/all"], 0)
    novelty.use(1, "unknown", ["sys/all"], 0)
    found = novelty.now(0, OWN)
    assert _one(found).foreign
    assert _one(found).patterns == 2
    assert not _one(found, 1).foreign, "of a type without a branch of its own nothing is foreign"


def test_after_a_minute_it_is_forgotten() -> None:
    novelty = Novelty()
    novelty.use(0, "meter", [ALARM], 10)
    assert novelty.now(10 + MEMORY_SECONDS, OWN)
    assert not novelty.now(11 + MEMORY_SECONDS, OWN)


def test_a_device_that_starts_anew_has_used_nothing() -> None:
    novelty = Novelty()
    novelty.use(0, "meter", [ALARM], 10)
    novelty.forget(0)
    novelty.forget(7)
    assert not novelty.now(10, OWN)


@given(uses=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 90), st.integers(0, 99)), max_size=200))
def test_it_is_bounded_and_consistent(uses: list[tuple[int, int, int]]) -> None:
    novelty = Novelty()
    now = 0
    for line, pattern, later in uses:
        now += later // 20
        novelty.use(line, "meter", [f"scan/{pattern}"], now)
    for found in novelty.now(now, OWN).values():
        assert 1 <= found.patterns <= MAX_PATTERNS
        assert 1 <= found.company <= 4
        assert found.spread >= 0
        assert 0 <= found.joined <= found.joined + found.spread <= now
        assert found.age >= 0
        assert found.interval > 0 or found.company
