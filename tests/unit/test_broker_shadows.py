"""Shadow documents and the messages about them, as AWS documents them."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.defender import answer
from broker.shadows import (
    ShadowRequest,
    check_update,
    delta,
    got,
    read_request,
    request_of,
    told_of_refusal,
    told_of_update,
    updated,
    watched_by,
)
from contracts.messages import MILLISECOND, SECOND
from contracts.shadows import ShadowError

NOW = 1_700_000_000 * SECOND
STAMP = {"timestamp": 1_700_000_000}


def after(*states: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] | None = None
    for version, state in enumerate(states, start=1):
        document = updated(document, {"state": state}, version=version, now=NOW)
    assert document is not None
    return document


@pytest.mark.parametrize(
    ("topic", "request_"),
    [
        ("$aws/things/t/shadow/get", ShadowRequest("t", "", "get")),
        ("$aws/things/t/shadow/name/n/update", ShadowRequest("t", "n", "update")),
        ("$aws/things/t/shadow/update/accepted", None),
        ("$aws/things/t/jobs/get", None),
        ("dt/t", None),
    ],
)
def test_topics_that_are_requests(topic: str, request_: ShadowRequest | None) -> None:
    assert request_of(topic) == request_


@pytest.mark.parametrize(
    ("topic_filter", "watched"),
    [
        ("$aws/things/t/shadow/update/delta", ("t", "")),
        ("$aws/things/t/shadow/#", ("t", "")),
        ("$aws/things/t/shadow/name/n/update/documents", ("t", "n")),
        ("$aws/things/t/shadow/get/accepted", None),
        ("$aws/things/+/shadow/update/delta", None),
        ("dt/#", None),
    ],
)
def test_filters_that_watch_a_shadow(topic_filter: str, watched: tuple[str, str] | None) -> None:
    assert watched_by(topic_filter) == watched


def test_an_update_merges_stamps_and_counts() -> None:
    document = after(
        {"desired": {"color": "RED", "sequence": ["RED", "GREEN"]}},
        {"reported": {"color": "GREEN"}, "desired": {"engine": {"speed": 1, "gear": 2}}},
        {"desired": {"engine": {"gear": None}, "sequence": None}},
    )
    assert document["state"] == {
        "desired": {"color": "RED", "engine": {"speed": 1}},
        "reported": {"color": "GREEN"},
    }
    assert document["metadata"]["desired"] == {"color": STAMP, "engine": {"speed": STAMP}}
    assert document["version"] == 3
    assert after({"desired": {"a": [1, {"b": 2}]}})["metadata"]["desired"]["a"] == [STAMP, {"b": STAMP}]


def test_null_removes_a_section_and_empty_ones_go() -> None:
    assert after({"desired": {"a": 1}, "reported": {"a": 1}}, {"desired": None})["state"] == {
        "reported": {"a": 1}
    }
    assert after({"desired": {"a": {"b": 1}}}, {"desired": {"a": {"b": None}}})["state"] == {}


def test_the_delta_is_what_is_desired_and_not_reported() -> None:
    document = after(
        {
            "desired": {"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2]},
            "reported": {"a": 1, "b": {"c": 1}, "e": [1], "x": 9},
        }
    )
    assert delta(document) == ({"b": {"d": 2}, "e": [1, 2]}, {"b": {"d": STAMP}, "e": [STAMP, STAMP]})
    assert got(document)["state"]["delta"] == {"b": {"d": 2}, "e": [1, 2]}
    assert "delta" not in got(after({"desired": {"a": 1}, "reported": {"a": 1}}))["state"]


def test_everything_that_is_published_about_an_update() -> None:
    request = ShadowRequest("t", "n", "update")
    body = {"state": {"desired": {"a": 2}}, "clientToken": "tok"}
    before = after({"desired": {"a": 1}, "reported": {"a": 1}})
    now = updated(before, body, version=2, now=NOW)
    told = dict(told_of_update(request, body, before=before, after=now))
    prefix = "$aws/things/t/shadow/name/n/update/"
    assert set(told) == {prefix + one for one in ("accepted", "delta", "documents")}
    assert told[prefix + "accepted"] == {
        "state": {"desired": {"a": 2}}, "metadata": {"desired": {"a": STAMP}}, "version": 2,
        "timestamp": 1_700_000_000, "clientToken": "tok",
    }  # fmt: skip
    assert told[prefix + "delta"]["state"] == {"a": 2}
    documents = told[prefix + "documents"]
    assert (documents["previous"]["version"], documents["current"]["version"]) == (1, 2)
    assert documents["previous"]["state"]["desired"] == {"a": 1}


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        (b"{", 400, "invalid json"),
        (b"[]", 400, "invalid json"),
        (b'{"state": {}, "clientToken": 3}', 400, "clientToken"),
        (b"{}", 400, "Missing required node: state"),
        (b'{"state": 3}', 400, "must be an object"),
        (b'{"state": {"wanted": {}}}', 400, "wanted"),
        (b'{"state": {"desired": 3}}', 400, "Desired"),
        (b'{"state": {}, "version": "1"}', 400, "Version"),
        (
            json.dumps(
                {"state": {"desired": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}}}
            ).encode(),
            400,
            "nesting",
        ),
        (b'{"state": {"desired": {"a": 1}}, "version": 7}', 409, "Version conflict"),
        (json.dumps({"state": {"desired": {"a": "x" * 8200}}}).encode(), 413, "maximum size"),
    ],
)
def test_requests_that_are_refused(payload: bytes, code: int, message: str) -> None:
    with pytest.raises(ShadowError, match=message) as caught:
        _update(payload)
    assert caught.value.code == code
    topic, told = told_of_refusal(ShadowRequest("t", "", "update"), {"clientToken": "x"}, caught.value, NOW)
    assert topic == "$aws/things/t/shadow/update/rejected"
    assert (told["code"], told["timestamp"], told["clientToken"]) == (code, 1_700_000_000, "x")


def _update(payload: bytes) -> None:
    body = read_request(payload)
    check_update(body)
    updated(None, body, version=1, now=NOW)


LEAVES = st.integers(-3, 3) | st.booleans() | st.sampled_from(["x", "y"])
TREES = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        LEAVES, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6
    ),
    max_size=3,
)


@given(TREES, TREES)
def test_there_is_a_delta_exactly_where_reported_lacks_something_desired(
    desired: dict[str, Any], reported: dict[str, Any]
) -> None:
    document = updated(None, {"state": {"desired": desired, "reported": reported}}, version=1, now=NOW)
    difference, about = delta(document)
    state = document["state"]
    assert bool(difference) == (not within(state.get("desired", {}), state.get("reported", {})))
    assert set(difference) == set(about)
    report = updated(document, {"state": {"reported": difference}}, version=2, now=NOW)
    assert delta(report)[0] == {} or clashes(difference, reported)


def within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and within(value, whole[key]) for key, value in part.items())
    return type(part) is type(whole) and part == whole


def clashes(difference: Any, reported: Any) -> bool:
    """A leaf where the other has an object: reporting merges into it."""
    return any(
        isinstance(value, dict) or isinstance(reported.get(key), dict) for key, value in difference.items()
    )


@given(TREES, TREES)
def test_an_update_changes_nothing_that_it_was_given(first: dict[str, Any], second: dict[str, Any]) -> None:
    stored = updated(None, {"state": {"desired": first}}, version=1, now=NOW)
    request = {"state": {"desired": second}}
    copies = copy.deepcopy((stored, request))
    updated(stored, request, version=2, now=NOW)
    assert (stored, request) == copies


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b'{"header": {"report_id": 1, "version": "1.0"}, "metrics": {"tcp_connections": {}}}', "ACCEPTED"),
        (b'{"hed": {"rid": 1, "v": "1.0"}, "cmet": {}}', "ACCEPTED"),
        (b'{"header": {"report_id": 1, "version": "1.0"}}', "REJECTED"),
        (b'{"header": {"version": "1.0"}, "metrics": {}}', "REJECTED"),
        (b"[]", "REJECTED"),
        (b"{", "REJECTED"),
    ],
)
def test_device_defender_reports_are_answered(payload: bytes, status: str) -> None:
    answered = answer("$aws/things/t/defender/metrics/json", payload, NOW)
    assert answered is not None
    topic, told = answered
    assert topic.endswith("/json/accepted" if status == "ACCEPTED" else "/json/rejected")
    assert (told["thingName"], told["status"], told["timestamp"]) == ("t", status, NOW // MILLISECOND)
    assert answer("$aws/things/t/shadow/get", payload, NOW) is None
