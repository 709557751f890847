"""Lines of JSON, and the id that joins them."""

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import NotReady
from contracts.trail import Trail, trace_id
from thingstorm.config_alerts import LogsConfig
from thingstorm.runtime.logs import JsonLog, listening, traced


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@given(st.text(min_size=1))
def test_the_id_is_found_in_whatever_form_a_hop_holds_a_message(identifier: str) -> None:
    body = json.dumps({"temp_c": 1, "message_id": identifier})
    assert trace_id({"message_id": identifier}) == identifier
    assert trace_id(body) == identifier
    assert trace_id(body.encode()) == identifier


@pytest.mark.parametrize("item", [{}, "", b"\xff", "{", 7, '{"message_id": null}'])
def test_what_has_no_id_has_none(item: object) -> None:
    assert trace_id(item) == ""


def test_an_id_within_an_envelope_of_sns_is_found() -> None:
    body = json.dumps({"Type": "Notification", "Message": json.dumps({"message_id": "m-1"})})
    assert trace_id(body) == "m-1"


def test_events_notes_and_other_libraries_all_become_lines() -> None:
    out = io.StringIO()
    with JsonLog(LogsConfig(format="json"), stage="broker", stream=out) as log:
        log.tell("broker is up")
        log.tell("error: no room")
        listening(log.emit)  # emits nothing by itself
        log.emit("verdict", {"kind": "attack", "confidence": 0.9, "summary": "a\nb", "devices": {"x"}})
        logging.getLogger("some.library").warning("odd %s", "packet")
    told = _lines(out)
    assert [line["level"] for line in told] == ["info", "error", "info", "warning"]
    assert {line["stage"] for line in told} == {"broker"}
    assert (told[2]["event"], told[2]["kind"], told[2]["confidence"]) == ("verdict", "attack", 0.9)
    assert told[3]["message"] == "odd packet"


@pytest.mark.parametrize(("level", "lines"), [("debug", 2), ("info", 0)])
def test_hops_are_logged_at_level_debug_alone(level: str, lines: int) -> None:
    out = io.StringIO()
    with JsonLog(LogsConfig.model_validate({"format": "json", "level": level}), stage="s", stream=out):
        traced(Trail(capacity=0)).note(
            "routed", 5_000_000, ['{"message_id": "a"}', "{}", '{"message_id":"b"}']
        )
    told = _lines(out)
    assert len(told) == lines
    assert [line["trace_id"] for line in told] == ["a", "b"][:lines]
    assert all(line["hop"] == "routed" and line["at"] == 5 for line in told)


def test_without_the_log_a_trail_has_no_listener_and_an_error_keeps_its_code() -> None:
    assert not traced(Trail())._listeners
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended, JsonLog(LogsConfig(), stage="s", stream=out):
        raise NotReady("the broker is away", fix="start it")
    assert ended.value.code == 3
    assert _lines(out)[0]["fix"] == "start it"
