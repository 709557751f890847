"""Shapes of payloads: what was learnt is known, what cannot be read is broken, what has more is added to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.schema import MIN_MESSAGES, fields_of, learn_schema

READING = "{fw:s,power_w:n,temp_c:n}"
LEARNT = learn_schema({READING: 500, "{fw:s,note:s,power_w:n,temp_c:n}": 5})


@pytest.mark.parametrize(
    ("shape", "fit"),
    [
        (READING, "known"),
        ("{fw:s,note:s,power_w:n,temp_c:n}", "known"),
        ("{fw:s,mode:s,power_w:n,temp_c:n}", "added"),
        ("{fw:s,power_w:n}", "broken"),
        ("{fw:s,power_w:s,temp_c:n}", "broken"),
        ("{fw:z,power_w:n,temp_c:n}", "known"),
        ("{fw:s,note:n,power_w:n,temp_c:n}", "broken"),
        ("text", "broken"),
        ("binary", "broken"),
        ("large", "known"),
    ],
)
def test_how_a_shape_fits_what_was_learnt(shape: str, fit: str) -> None:
    assert LEARNT.fit(shape) == fit


def test_of_a_few_messages_nothing_is_required() -> None:
    schema = learn_schema({READING: MIN_MESSAGES - 1})
    assert schema.fit("{fw:s}") == "known"
    assert schema.fit("{fw:n}") == "broken", "a type is learnt from the first"


def test_what_was_no_json_while_learning_may_be_anything() -> None:
    schema = learn_schema({"binary": 100})
    assert {schema.fit(shape) for shape in ("binary", "text", READING)} == {"known"}


def test_fields_of_nested_names() -> None:
    assert fields_of("{a.b:n,c:s}") == {"a.b": "n", "c": "s"}
    assert fields_of("{}") == {}
    assert fields_of("text") is None


_fields = st.dictionaries(st.text("abcdef.", min_size=1, max_size=6), st.sampled_from("nsbaoz"), max_size=5)


def _text(fields: dict[str, str]) -> str:
    return "{" + ",".join(f"{name}:{kind}" for name, kind in sorted(fields.items())) + "}"


@given(shapes=st.dictionaries(_fields.map(_text), st.integers(1, 1000), min_size=1, max_size=6))
def test_every_learnt_shape_is_known(shapes: dict[str, int]) -> None:
    schema = learn_schema(shapes)
    assert {schema.fit(shape) for shape in shapes} == {"known"}


@given(fields=_fields, more=_fields)
def test_more_fields_break_nothing(fields: dict[str, str], more: dict[str, str]) -> None:
    schema = learn_schema({_text(fields): 100})
    assert schema.fit(_text({**more, **fields})) in ("known", "added")
