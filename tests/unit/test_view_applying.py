"""Which changes take effect, and what a collection makes of keys, paths and rows: pure."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from view_changes import device

from analytics.view.applying import effect, lasting, latest
from analytics.view.collection import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    JSON,
    TEXTS,
    TIMESTAMP,
    VARCHAR,
    Collection,
    ColumnType,
)
from contracts.messages import Change

NOW = datetime(2026, 11, 26, tzinfo=UTC).replace(tzinfo=None)
MILLISECONDS = 1_000 * int(NOW.replace(tzinfo=UTC).timestamp())

DEVICES = Collection("devices", ("device_id",), {"n": BIGINT}, {})
PARTS = Collection(
    "parts",
    ("site", "made_at"),
    {"site": VARCHAR, "made_at": TIMESTAMP, "n": BIGINT, "tags": TEXTS, "note": JSON},
    {},
    event_time="made_at",
    indexes=("site",),
    retention_seconds=60.0,
)


def removed(**old: Any) -> Change:
    return Change("REMOVE", "parts", {"site": "s", "made_at": 1}, None, old, 5, "s")


def test_the_last_of_a_key_is_chosen_and_of_equal_ones_the_first() -> None:
    changes = [device("a", 2, n=1), device("a", 3, n=2), device("a", 3, n=3), device("b", 1), device("a", 1)]
    assert latest(changes, DEVICES) == {"a": changes[1], "b": changes[3]}


def test_what_is_not_newer_than_what_is_stored_does_nothing() -> None:
    chosen = {
        "new": device("new", 1),
        "old": device("old", 4),
        "same": device("same", 5),
        "later": device("later", 6),
    }
    found = effect(chosen, {"old": 5, "same": 5, "later": 5})
    assert (list(found.upserts), dict(found.removals), len(found)) == (["new", "later"], {}, 2)


def test_a_removal_leaves_its_sequence_and_an_insert_without_an_item_is_one() -> None:
    gone = device("gone", 7, kind="REMOVE")
    empty = Change("MODIFY", "devices", {"device_id": "empty"}, None, None, 8, "s")
    found = effect({"gone": gone, "empty": empty, "kept": device("kept", 9)}, {"gone": 6})
    assert dict(found.removals) == {"gone": 7, "empty": 8}
    assert (list(found.upserts), len(found)) == (["kept"], 3)


def test_a_removal_removes_whatever_item_comes_with_it() -> None:
    odd = Change("REMOVE", "devices", {"device_id": "a"}, {"device_id": "a"}, None, 3, "s")
    found = effect({"a": odd}, {})
    assert (dict(found.upserts), dict(found.removals)) == ({}, {"a": 3})


def test_what_a_scan_found_is_newer_than_all_and_leaves_the_sequence_of_its_key() -> None:
    found = effect({"a": device("a", 0, n=1), "b": device("b", 0)}, {"a": 9})
    assert {name: (one.sequence, one.new) for name, one in found.upserts.items()} == {
        "a": (9, {"device_id": "a", "n": 1}),
        "b": (0, {"device_id": "b"}),
    }
    assert len(effect({}, {"a": 1})) == 0


def test_the_removal_of_what_retention_takes_anyway_leaves_no_tombstone() -> None:
    """A second before the minute is over: DynamoDB's clock counts whole ones."""
    edge = MILLISECONDS - 59_000
    young, old = removed(made_at=edge + 1), removed(made_at=edge)
    unknown, words = removed(), removed(made_at="yesterday")
    written = Change("INSERT", "parts", {}, {"made_at": 1}, {"made_at": 1}, 6, "s")
    assert lasting([young, old, unknown, words, written], PARTS, NOW) == [young, unknown, words, written]
    kept = Collection("parts", ("site",), {}, {}, event_time="made_at")
    assert lasting([old], kept, NOW) == [old], "a collection that keeps everything"


@pytest.mark.parametrize(
    ("key", "identity"),
    [
        ({"site": "a", "made_at": 1}, "a/1"),
        ({"made_at": 1, "site": "a"}, "a/1"),
        ({"site": "a/b", "made_at": "~"}, "a~1b/~0"),
        ({"site": "~1", "made_at": "/~"}, "~01/~1~0"),
    ],
)
def test_the_id_of_a_row_is_its_key_and_two_keys_never_share_one(key: dict[str, Any], identity: str) -> None:
    assert PARTS.identity(key) == identity
    assert DEVICES.identity({"device_id": "a/~b", **key}) == "a/~b", "of one attribute it is as it is"


def test_half_a_surrogate_pair_in_a_key_is_spelt_out() -> None:
    assert DEVICES.identity({"device_id": "\u00fc\ud800"}) == "\u00fc\\ud800"
    assert PARTS.identity({"site": "\ud800/", "made_at": 1}) == "\\ud800~1/1"


@pytest.mark.parametrize(
    ("path", "sql"),
    [
        ("n", 'TRY_CAST("n" AS DOUBLE)'),
        ("note.deep.t", """TRY_CAST("note"->>'$."deep"."t"' AS DOUBLE)"""),
        ("loose", """TRY_CAST(extra->>'$."loose"' AS DOUBLE)"""),
        ("loose.t", """TRY_CAST(extra->>'$."loose"."t"' AS DOUBLE)"""),
    ],
)
def test_numbers_are_found_in_columns_inside_them_and_beside_them(path: str, sql: str) -> None:
    assert PARTS.number(path) == sql


def test_a_table_has_its_columns_indexes_and_keys() -> None:
    create, *rest = PARTS.create_sql()
    assert create.startswith("CREATE TABLE IF NOT EXISTS parts (_id VARCHAR PRIMARY KEY, ")
    assert '"site" VARCHAR, "made_at" TIMESTAMP, "n" BIGINT, "tags" VARCHAR[], "note" JSON, extra' in create
    assert rest[:2] == [
        'ALTER TABLE parts ADD COLUMN IF NOT EXISTS "site" VARCHAR',
        'ALTER TABLE parts ADD COLUMN IF NOT EXISTS "made_at" TIMESTAMP',
    ]
    assert rest[-1] == 'CREATE INDEX IF NOT EXISTS _parts_by_site ON parts ("site")'
    assert PARTS.keys_sql() == 'SELECT "site", epoch_ms("made_at") FROM parts'


def test_a_row_becomes_its_item_again() -> None:
    row = {
        "site": "a",
        "made_at": NOW + timedelta(milliseconds=7),
        "n": None,
        "tags": ("x", "y"),
        "note": '{"a":1}',
        "extra": '{"more":[1]}',
    }
    item = {"site": "a", "made_at": MILLISECONDS + 7, "tags": ["x", "y"], "note": '{"a":1}', "more": [1]}
    assert PARTS.item(row) == item
    assert PARTS.item(dict.fromkeys(row)) == {}


@pytest.mark.parametrize(
    ("kind", "value", "fitted"),
    [
        (BIGINT, 7.0, 7),
        (BIGINT, 2**63 - 1, 2**63 - 1),
        (BIGINT, -(2**63 - 1), -(2**63 - 1)),
        (DOUBLE, 7, 7.0),
        (BOOLEAN, False, False),
        (VARCHAR, "", ""),
        (VARCHAR, "\u00fc", "\u00fc"),
        (TEXTS, ("a", "b"), ["a", "b"]),
        (TIMESTAMP, 1_500, datetime(1970, 1, 1, 0, 0, 1, 500_000)),
        (JSON, {"a": [1, None]}, '{"a":[1,null]}'),
        (JSON, 2**70, str(2**70)),
        (JSON, {"a": [2**70, 1]}, f'{{"a":[{2**70},1]}}'),
        (JSON, "[1]", "[1]"),
    ],
)
def test_what_fits_a_column(kind: ColumnType, value: Any, fitted: Any) -> None:
    found = kind.fit(value)
    assert (found, type(found)) == (fitted, type(fitted))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (BIGINT, True),
        (BIGINT, 7.5),
        (BIGINT, "7"),
        (BIGINT, 2**63),
        (BIGINT, -(2**63)),
        (BIGINT, math.inf),
        (DOUBLE, True),
        (DOUBLE, "7"),
        (BOOLEAN, 1),
        (VARCHAR, 1),
        (TEXTS, "ab"),
        (TEXTS, ["a", 1]),
        (TIMESTAMP, 10**17),
        (TIMESTAMP, "now"),
        (JSON, "{"),
        (JSON, {"a": math.nan, "b": 2**70}),
        (JSON, {"a": "\ud800"}),
        (VARCHAR, "\ud800"),
        (TEXTS, ["\ud800"]),
    ],
)
def test_what_does_not_fit_is_said(kind: ColumnType, value: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        kind.fit(value)
