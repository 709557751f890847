"""Items become columns: what fits is typed, the rest is JSON text; fields are counted, of large batches by a sample."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.view import fields
from analytics.view.collection import BIGINT, JSON, TEXTS, TIMESTAMP, VARCHAR, Collection
from analytics.view.storage import MAX_LITERALS, connect, literals
from contracts.messages import Json

DOCS = Collection("docs", ("_id",), {"n": BIGINT, "at": TIMESTAMP, "word": VARCHAR}, {"n": 0})
DATABASE = connect(None, memory_limit="100MB", threads=1)
NOW = datetime(2026, 11, 26, tzinfo=UTC).replace(tzinfo=None)


def stored(*items: dict[str, Any]) -> list[dict[str, Any]]:
    named = {str(number): item for number, item in enumerate(items)}
    columns = DOCS.columns_of(named, sequences=range(len(items)), at=NOW)
    rows: list[dict[str, Any]] = DOCS.table(columns).to_pylist()
    return rows


def test_what_fits_no_column_is_kept_beside_it() -> None:
    fits, not_, absent = stored(
        {"_id": "x", "n": 7, "at": 1_000, "word": "a", "more": [1]},
        {"n": "seven", "at": 10**30, "word": None},
        {"n": 2**70},
    )
    assert (fits["n"], str(fits["at"]), fits["word"]) == (7, "1970-01-01 00:00:01", "a")
    assert json.loads(fits["extra"]) == {"more": [1]}
    assert (not_["n"], not_["at"], not_["word"]) == (0, None, None)
    assert json.loads(not_["extra"]) == {"n": "seven", "at": 10**30}
    assert (absent["n"], json.loads(absent["extra"])) == (0, {"n": 2**70})
    assert [row["_id"] for row in (fits, not_, absent)] == ["0", "1", "2"]
    assert [row["_seq"] for row in (fits, not_, absent)] == ["0", "1", "2"]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=4))
def test_any_value_comes_back_from_its_text(given_: dict[str, Json]) -> None:
    item = {f"f{name}": value for name, value in given_.items()}
    (row,) = stored(item)
    assert json.loads(row["extra"] or "{}") == item


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, [1, math.nan], {"a": {"b": math.inf}}])
def test_what_json_has_not_is_kept_as_text_beside_its_column(value: Json) -> None:
    docs = Collection("docs", ("_id",), {"payload": JSON}, {})
    columns = docs.columns_of({"0": {"payload": value}}, sequences=range(1), at=NOW)
    (row,) = docs.table(columns).to_pylist()
    assert row["payload"] is None
    assert json.loads(row["extra"]) == {"payload": str(value)}


@pytest.mark.parametrize("value", [None, [None, 1], {"null": "null"}, {"a": None, "b": 2**70}, 2**70])
def test_a_null_of_json_stays_in_its_column(value: Json) -> None:
    docs = Collection("docs", ("_id",), {"payload": JSON}, {})
    columns = docs.columns_of({"0": {"payload": value}}, sequences=range(1), at=NOW)
    (row,) = docs.table(columns).to_pylist()
    assert (json.loads(row["payload"] or "null"), row["extra"]) == (value, None)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_json_does_not_know_is_kept_as_text(odd: float) -> None:
    (row,) = stored({"odd": odd, "fine": 1, "none": None})
    assert json.loads(row["extra"]) == {"odd": str(odd), "fine": "1", "none": "None"}
    (within,) = stored({"deep": {"odd": [odd]}, "moment": NOW})
    assert json.loads(within["extra"]) == {"deep": str({"odd": [odd]}), "moment": str(NOW)}


@pytest.mark.parametrize("text", ["NaN", "[1, NaN]", "{", "", "[" * 2_000])
def test_text_that_the_database_takes_for_no_json_is_kept_beside_its_column(text: str) -> None:
    """Python's own reader takes NaN: one such payload would fail every batch that it is in."""
    collection = Collection("c", ("_id",), {"payload": JSON}, {})
    columns = collection.columns_of({"a": {"payload": text}}, sequences=[1], at=NOW)
    assert columns["payload"] == [None]
    assert json.loads(columns["extra"][0]) == {"payload": text}


HALF = "\ud800"
"""Half a surrogate pair: the escape that brings it is JSON, but no UTF-8 holds it."""


@pytest.mark.parametrize(
    ("item", "extra"),
    [
        ({"word": HALF}, {"word": r"\ud800"}),
        ({"words": ["a", HALF]}, {"words": ["a", r"\ud800"]}),
        ({"payload": {"a": HALF}}, {"payload": {"a": r"\ud800"}}),
        ({"payload": r'"\ud800"'}, {"payload": r'"\ud800"'}),
        ({"payload": f'"{HALF}"'}, {"payload": r'"\ud800"'}),
        (
            {"more": {HALF: [HALF, "\U0001f600", None]}},
            {"more": {r"\ud800": [r"\ud800", "\U0001f600", None]}},
        ),
        ({"odd": math.inf, "more": HALF}, {"odd": "inf", "more": r"\ud800"}),
    ],
)
def test_half_a_surrogate_pair_fails_no_batch(item: dict[str, Any], extra: dict[str, Json]) -> None:
    """One device's message would stop everybody's: the database takes it in no text and no JSON."""
    docs = Collection("halves", ("_id",), {"word": VARCHAR, "words": TEXTS, "payload": JSON}, {})
    named = {"bad": item, "good": {"word": "\u00fc", "payload": '"x"'}}
    batch = docs.table(docs.columns_of(named, sequences=range(2), at=NOW))
    assert [row["word"] for row in batch.to_pylist()] == [None, "\u00fc"]
    DATABASE.register("halves", batch)
    kept = DATABASE.execute("SELECT extra::JSON, payload::JSON FROM halves").fetchall()
    DATABASE.unregister("halves")
    assert (json.loads(kept[0][0]), kept[0][1], kept[1]) == (extra, None, (None, '"x"'))


def test_a_field_whose_name_is_half_a_surrogate_pair_is_counted() -> None:
    connection = connect(None, memory_limit="100MB", threads=1)
    fields.write(connection, fields.tally(DOCS, [{HALF: 1}]))
    told = connection.execute("SELECT field FROM _fields WHERE field <> ''").fetchall()
    connection.close()
    assert told == [(r"\ud800",)]


def test_fields_of_a_large_batch_are_counted_by_a_sample_that_sums_to_the_whole() -> None:
    items: list[dict[str, Json]] = [
        {"n": 1, "level": number, **({"rare": "x"} if number % 2 else {})} for number in range(5_000)
    ]
    counts = fields.tally(DOCS, items)
    assert counts["docs", fields.ROWS, "row"] == 5_000
    assert counts["docs", "level", "integer"] == pytest.approx(5_000, rel=0.01)
    assert 0 <= counts["docs", "rare", "string"] <= 5_000
    assert ("docs", "n", "integer") not in counts, "it has a column"
    few = fields.tally(DOCS, items[:100])
    assert few["docs", "rare", "string"] == 50, "of a small one all are"
    assert not fields.tally(DOCS, [{"n": 1}])


def test_fields_beyond_the_most_are_not_kept_but_known_ones_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MAX_FIELDS", 3)
    connection = connect(None, memory_limit="100MB", threads=1)
    for item in ({"a": 1, "b": 1}, {"a": "x", "c": 1, "d": 1}, {"a": 1, "e": 1}):
        fields.write(connection, fields.tally(DOCS, [item]))
    told = connection.execute("SELECT field, kind, seen FROM _fields ORDER BY 1, 2").fetchall()
    assert told == [("", "row", 3), ("a", "integer", 2), ("a", "string", 1), ("b", "integer", 1)]
    connection.close()


def test_long_lists_of_literals_come_in_parts() -> None:
    parts = list(literals(f"it's {number}" for number in range(MAX_LITERALS + 1)))
    assert [part.count("it''s") for part in parts] == [MAX_LITERALS, 1]
    assert list(literals([])) == []


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_the_database_orders_ids_as_python_does(ids: list[str]) -> None:
    """An id beyond the largest is taken for new."""
    assert DATABASE.execute("SELECT max(x) FROM (SELECT unnest(?) AS x)", [ids]).fetchall() == [(max(ids),)]
