"""Damaged scenario files: each is loaded, or refused with file, line and fix. Nothing else may come out."""

import copy
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sizes import size

from contracts.errors import BadScenario
from simulator.scenario import load_all

HERE = Path(__file__).parent
SCENARIOS = HERE.parents[1] / "scenarios"
FULL = HERE / "simulator_scenarios" / "full.yaml"
BASE = HERE / "simulator_scenarios" / "base" / "meters.yaml"
FILES = (*sorted(one for one in SCENARIOS.glob("*.yaml") if one.name != "known-gaps.yaml"), FULL, BASE)
TEXTS = {file: file.read_text() for file in FILES}
VALUES = {file: yaml.safe_load(text) for file, text in TEXTS.items()}

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 1.5, 10**400, -(10**30), float("nan"), float("inf"), 1e308, "", " ", "x", "1", "30s", "9" * 5000,
    "50%", "$bad", "$", "$$", "$nobody", "{device}", "{", "a/+/b", "15:00", "walk", "extends", "\x7f", "\U0001f600", "é" * 300,
    "2026-01-05", [], [1], [[]], {}, {"a": 1}, {"lte": 5}, {"const": None}, {"walk": {}}, {"expression": "1/0"},
    {"recorded": {"file": "base/power.csv", "column": "watts"}}, {"recorded": {"file": "..", "column": "x"}},
    "full.yaml", "base/meters.yaml", [{"bad": 1}], {"bad": [1, 2]}, "(" * 200, "2 ** 9 ** 9 ** 9", "__import__('os')",
)  # fmt: skip

Spot = tuple[Any, Any]
"""A container and the key or place of one of its values."""


def spots(value: Any) -> Iterator[Spot]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from spots(inner)


def delete(rng: random.Random, spot: Spot, _: Spot) -> None:
    del spot[0][spot[1]]


def duplicate(rng: random.Random, spot: Spot, other: Spot) -> None:
    container, value = other[0], copy.deepcopy(spot[0][spot[1]])
    if isinstance(container, list):
        container.insert(rng.randrange(len(container) + 1), value)
    else:
        container[f"{spot[1]}{rng.choice(['', '2', '_'])}"] = value


def swap(rng: random.Random, spot: Spot, other: Spot) -> None:
    (a, i), (b, j) = spot, other
    a[i], b[j] = copy.deepcopy(b[j]), copy.deepcopy(a[i])


def retype(rng: random.Random, spot: Spot, _: Spot) -> None:
    spot[0][spot[1]] = copy.deepcopy(rng.choice(ODD))


def rename(rng: random.Random, spot: Spot, other: Spot) -> None:
    container, key = spot
    if isinstance(container, dict):
        new = rng.choice([str(other[1]), str(key)[::-1], str(key)[:-1], "", "$", "walk"])
        container[new] = container.pop(key)


MUTATIONS: tuple[Callable[[random.Random, Spot, Spot], None], ...] = (delete, duplicate, swap, retype, rename)


def with_other_values(file: Path, rng: random.Random) -> bytes:
    values = copy.deepcopy(VALUES[file])
    for _ in range(rng.choice([1, 1, 2, 4])):
        found = list(spots(values))
        if found:
            rng.choice(MUTATIONS)(rng, rng.choice(found), rng.choice(found))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()


BYTES = (b"\x00", b"\xff", b"\t", b"\n", b" ", b":", b"- ", b"{", b"}", b"[", b"]", b"'", b'"', b"&a ", b"*a ", b"!!int ", b"!!float ",
         b"!!bool ", b"!!timestamp ", b"!!binary ", b"!!python/name:os ", b"? ", b"| ", b"<<: ", b"%", b"#", b"$", b"\\UFFFFFFFF",
         b'"\\UFFFFFFFF"',
    b'"\\U00110000"', b'"\\uD800"', b"\xed\xa0\x80", b"\xc2\x85", b"---\n", b"...\n", b"0001-01-01 00:00:00 +23:59", b"1_0", b"0x", b"~")  # fmt: skip


def with_other_bytes(file: Path, rng: random.Random) -> bytes:
    text = bytearray(TEXTS[file].encode())
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(text))
        end = min(len(text), start + rng.choice([0, 0, 1, 2, 10, 200]))
        text[start:end] = rng.choice([*BYTES, bytes([rng.randrange(256)]), b""])
    return bytes(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the damaged file lies beside what it may extend."""
    made = tmp_path_factory.mktemp("damaged")
    shutil.copytree(BASE.parent, made / "base")
    shutil.copy(FULL, made / "full.yaml")
    return made


def holds(folder: Path, content: bytes, name: str = "x.yaml") -> None:
    file = folder / name
    file.write_bytes(content)
    try:
        scenarios = load_all(file)
    except BadScenario as error:
        assert Path(error.file).is_relative_to(folder)
        assert Path(error.file).exists()
        assert 1 <= error.line <= Path(error.file).read_bytes().count(b"\n") + content.count(b"\r") + 2
        assert error.fix
        assert str(error).startswith(f"{error.file}:{error.line}: ")
        str(error).encode()
    else:
        assert scenarios


@settings(
    max_examples=size(200, full=700),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(file=st.sampled_from(FILES), seed=st.integers(0, 10**9))
def test_other_values_are_loaded_or_refused(folder: Path, file: Path, seed: int) -> None:
    holds(folder, with_other_values(file, random.Random(seed)))


@settings(
    max_examples=size(150, full=300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(file=st.sampled_from(FILES), seed=st.integers(0, 10**9))
def test_other_bytes_are_loaded_or_refused(folder: Path, file: Path, seed: int) -> None:
    holds(folder, with_other_bytes(file, random.Random(seed)))


@settings(max_examples=size(20, full=50), deadline=None)
@given(seed=st.integers(0, 10**9))
def test_a_damaged_base_is_refused_where_it_is_damaged(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("base")
    shutil.copytree(BASE.parent, folder / "base")
    (folder / "base" / "meters.yaml").write_bytes(with_other_values(BASE, random.Random(seed)))
    holds(folder, FULL.read_bytes(), "full.yaml")


@pytest.mark.parametrize("odd", BYTES)
def test_odd_bytes_as_a_value_of_their_own(folder: Path, odd: bytes) -> None:
    holds(folder, b"scenario: v1\nname: " + odd + b"\n")
    holds(folder, b"scenario: v1\n" + odd + b": 1\n")
