"""Statements of IoT SQL and payloads of any kind, for tests that hold whatever anybody writes or sends."""

import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from sizes import size

from contracts.messages import Message
from pipeline.rules.functions import FUNCTIONS

COMMON = settings(
    deadline=None, max_examples=size(150, full=3_000), suppress_health_check=[HealthCheck.too_slow]
)


def message(payload: bytes, topic: str = "a/b") -> Message:
    return Message(
        "id-1", "device-1", "cert-1", topic, payload, 1, False, 1_700_000_000_000_000_000, "10.0.0.1"
    )


numbers = st.one_of(
    st.integers(-5, 5),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([10**33, 10**34, -(10**40), 1e300, 5e-324, 0.1]),
)
documents = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        numbers,
        st.text(max_size=6),
        st.sampled_from(["true", "-1.5", "5E-12", "9E998"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["a", "b", "value", "e"]), inner, max_size=4),
    ),
    max_leaves=12,
)
payloads = st.one_of(documents.map(lambda document: json.dumps(document).encode()), st.binary(max_size=40))

atoms = st.one_of(
    st.sampled_from(
        ["a", "b", "value", "e", "a.b", "e.a.b", "*", "NULL", "TRUE", "false", "''", "'x'", '"-1.5"']
    ),
    st.integers(0, 10**36).map(str),
    st.floats(0, allow_nan=False, allow_infinity=False).map(repr),
    st.text("ab01.*+?()[]{}$\\'yMdHms ", max_size=8).map(lambda text: "'" + text.replace("'", "''") + "'"),
)


def bigger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    lists = st.lists(inner, max_size=3).map(", ".join)
    operators = ["+", "-", "*", "/", "%", "=", "<>", "<", "<=", ">", ">=", "AND", "OR", "IN"]
    return st.one_of(
        st.tuples(inner, st.sampled_from(operators), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), lists).map(lambda parts: f"{parts[0]}({parts[1]})"),
        inner.map(lambda text: f"(NOT {text})"),
        inner.map(lambda text: f"(-{text})"),
        lists.map(lambda text: f"[{text}]"),
        inner.map(lambda text: f"{{'k': {text}}}"),
        st.tuples(inner, st.sampled_from(["Int", "Decimal", "Bool", "String", "Double"])).map(
            lambda parts: f"CAST({parts[0]} AS {parts[1]})"
        ),
        st.tuples(inner, inner).map(lambda parts: f"(CASE {parts[0]} WHEN {parts[1]} THEN 1 ELSE 'no' END)"),
        st.tuples(inner, inner).map(lambda parts: f"(SELECT {parts[0]} AS a FROM e WHERE {parts[1]})"),
        st.tuples(inner, inner).map(lambda parts: f"(SELECT VALUE {parts[0]} FROM e WHERE {parts[1]})"),
    )


expressions = st.recursive(atoms, bigger, max_leaves=8)
