"""Recorded traffic as files: formats, column maps, times, payloads, labels, and what is said of mistakes."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import BEGIN, write_csv

from contracts.errors import ConfigError, UnknownName
from contracts.messages import SECOND
from simulator import recording as recording_module
from simulator.recorded_labels import read_labels
from simulator.recording import RELATIVE_START, Recording, column_map, moment, read_recording
from thingstorm.runtime.recorder import _written

ROWS = [
    {"ts": BEGIN + 2, "client_id": "b", "topic": "x/t/b", "payload": '{"v": 2}', "qos": 1},
    {"ts": BEGIN + 1, "client_id": "a", "topic": "x/t/a", "payload": "plain", "qos": 0},
    {"ts": BEGIN + 2, "client_id": "c", "topic": "x/t/c", "payload": "", "qos": 2},
]


def text_file(folder: Path, text: str, name: str = "r.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def payload_of(folder: Path, value: str, **options: str) -> bytes:
    file = folder / "r.ndjson"
    file.write_text(json.dumps({"ts": BEGIN, "client_id": "a", "topic": "t", "payload": value, **options}))
    return read_recording(file).rows[0].payload


def one_recording(folder: Path) -> Recording:
    return read_recording(
        write_csv(folder / "r.csv", [{**ROWS[0], "ts": BEGIN}, {**ROWS[0], "ts": BEGIN + 99}])
    )


def test_the_three_formats_hold_the_same_rows_in_the_order_of_their_times(tmp_path: Path) -> None:
    csv_file = write_csv(tmp_path / "r.csv", ROWS)
    ndjson = text_file(tmp_path, "\n".join(json.dumps(row) for row in ROWS) + "\n\n", "r.ndjson")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "r.parquet")
    read = [read_recording(file).rows for file in (csv_file, ndjson, tmp_path / "r.parquet")]
    assert read[0] == read[1] == read[2]
    assert [(row.client_id, row.qos, row.payload) for row in read[0]] == [
        ("a", 0, b"plain"),
        ("b", 1, b'{"v": 2}'),  # rows of one moment stay as they came
        ("c", 2, b""),
    ]
    assert read[0][0].at == (BEGIN + 1) * SECOND
    assert {row.event for row in read[0]} == {"publish"}


def test_a_map_renames_columns_and_others_are_left_alone(tmp_path: Path) -> None:
    row = {"when": BEGIN, "who": "a", "where": "x/y", "size": 30, "topic": "not/this", "colour": "red"}
    columns = column_map("ts=when, client_id=who,topic=where")
    (read,) = read_recording(write_csv(tmp_path / "r.csv", [row]), columns=columns).rows
    assert (read.client_id, read.topic, len(read.payload)) == ("a", "x/y", 30)
    assert json.loads(read.payload)


def test_parquet_times_and_bytes_are_taken_as_they_are(tmp_path: Path) -> None:
    row = {"ts": datetime(2026, 1, 5, 8, tzinfo=UTC), "client_id": "a", "topic": "t", "payload": b"\xff\x00"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "r.parquet")
    (read,) = read_recording(tmp_path / "r.parquet").rows
    assert (read.at, read.payload) == (BEGIN * SECOND, b"\xff\x00")


def test_all_events_are_read_and_only_a_connect_has_a_code(tmp_path: Path) -> None:
    rows = [
        {"ts": BEGIN, "client_id": "a", "topic": "", "event": "connect", "rc": "5"},
        {"ts": BEGIN, "client_id": "a", "topic": "", "event": "CONNECT", "rc": "0"},
        {"ts": BEGIN, "client_id": "a", "topic": "cmd/#", "event": "subscribe", "rc": ""},
        {"ts": BEGIN, "client_id": "a", "topic": "ignored", "event": "disconnect", "rc": "7"},
    ]
    read = read_recording(write_csv(tmp_path / "r.csv", rows)).rows
    assert [(row.event, row.topic, row.code) for row in read] == [
        ("connect", "", 5),
        ("connect", "", 0),
        ("subscribe", "cmd/#", 0),
        ("disconnect", "", 0),
    ]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1767600000", BEGIN),
        (1767600000.5, BEGIN + 0.5),
        ("2026-01-05T08:00:00Z", BEGIN),
        ("2026-01-05T08:00:00", BEGIN),
        ("2026-01-05 09:00:00.5+01:00", BEGIN + 0.5),
    ],
)
def test_times_are_seconds_or_iso_8601(written: object, seconds: float) -> None:
    assert moment(written) == seconds * SECOND


@pytest.mark.parametrize("written", [None, "", "noon", -1, "nan", "inf", True, "2026-13-45"])
def test_what_is_no_time_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="is no time"):
        moment(written)


def test_milliseconds_are_found_out() -> None:
    with pytest.raises(ValueError, match="divide milliseconds by 1000"):
        moment(1767600000000)


def test_times_from_zero_are_put_where_the_virtual_clock_begins(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "ts": 0.5}, {**ROWS[0], "ts": 7.25}]
    recording = read_recording(write_csv(tmp_path / "r.csv", rows))
    assert recording.start == RELATIVE_START
    assert recording.duration == 8 * SECOND
    assert recording.moment("3") == RELATIVE_START + 3 * SECOND


def test_binary_payloads_are_known_from_text(tmp_path: Path) -> None:
    binary = bytes(range(200, 240))
    assert payload_of(tmp_path, base64.b64encode(binary).decode()) == binary
    assert payload_of(tmp_path, base64.b64encode(b'{"value":12}').decode()) == b'{"value":12}'
    for word in ("shutdown", "12345678", "deadbeef", "on", '{"a": "QUJDREVGRw=="}'):
        assert payload_of(tmp_path, word) == word.encode()


def test_what_the_encoding_says_wins(tmp_path: Path) -> None:
    assert payload_of(tmp_path, "c2h1dA==", encoding="text") == b"c2h1dA=="
    assert payload_of(tmp_path, "shutdown", encoding="base64") == base64.b64decode("shutdown")


@given(st.binary(max_size=60))
def test_what_record_writes_is_read_as_it_was(payload: bytes) -> None:
    written = _written(payload)
    assert recording_module._bytes_of(written["payload"], written["encoding"]) == payload


def test_a_json_payload_may_be_an_object_of_the_line(tmp_path: Path) -> None:
    line = {"ts": BEGIN, "client_id": "a", "topic": "t", "payload": {"v": [1, "é"]}}
    file = text_file(tmp_path, json.dumps(line), "r.jsonl")
    assert json.loads(read_recording(file).rows[0].payload) == {"v": [1, "é"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ts,client_id,topic\n1,a,t\nlater,a,t\n", r"r\.csv:3: 'later' is no time"),
        ("ts,client_id,topic\n1,,t\n", r"r\.csv:2: client_id is empty"),
        ("ts,client_id,topic\n1,a,\n", r"r\.csv:2: a publish needs a topic"),
        ("ts,client_id,topic\n1,a,x/#\n", r"r\.csv:2: nobody can publish to the filter"),
        ("ts,client_id,topic,qos\n1,a,t,3\n", r"r\.csv:2: qos is '3'"),
        ("ts,client_id,topic,size\n1,a,t,-5\n", r"r\.csv:2: size is '-5'"),
        ("ts,client_id,topic,event\n1,a,t,ping\n", r"r\.csv:2: the event is 'ping'"),
        ("ts,client_id,topic\n1,a,t,more\n", r"r\.csv:2: more values than columns"),
        ("time,client_id,topic\n1,a,t\n", r"r\.csv:1: there is no column ts"),
        ("", r"r\.csv is empty"),
        ("ts,client_id,topic\n", r"holds no rows"),
    ],
)
def test_a_mistake_names_file_row_and_fix(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read_recording(text_file(tmp_path, text))
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_a_column_that_the_map_names_must_be_there(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "r.csv", ROWS)
    with pytest.raises(ConfigError, match="no column body") as caught:
        read_recording(file, columns={"payload": "body"})
    assert "client_id, topic, payload" in caught.value.fix


@pytest.mark.parametrize("line", ["[1]", "{", '{"ts": 1}'])
def test_lines_that_are_no_row_are_named(tmp_path: Path, line: str) -> None:
    good = json.dumps(ROWS[0])
    with pytest.raises(ConfigError, match=r"r\.ndjson:2: "):
        read_recording(text_file(tmp_path, f"{good}\n{line}\n", "r.ndjson"))


def test_empty_lines_before_the_first_row_do_not_hide_that_a_column_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"r\.ndjson:3: there is no column client_id$"):
        read_recording(text_file(tmp_path, '\n\n{"ts": 1}\n', "r.ndjson"))


def test_files_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no suffix that is known"):
        read_recording(text_file(tmp_path, "", "r.xml"))
    with pytest.raises(ConfigError, match="there is no file"):
        read_recording(tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="no valid Parquet"):
        read_recording(text_file(tmp_path, "no parquet at all", "r.parquet"))
    (tmp_path / "latin.csv").write_bytes(b"ts,client_id\n1,\xe4\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recording(tmp_path / "latin.csv")


def test_a_recording_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_csv(tmp_path / "r.csv", ROWS)
    monkeypatch.setattr(recording_module, "MAX_ROWS", 2)
    with pytest.raises(ConfigError, match="more than 2 rows"):
        read_recording(file)
    monkeypatch.undo()
    monkeypatch.setattr(recording_module, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="more than 10 bytes"):
        read_recording(file)


@pytest.mark.parametrize("text", ["ts", "ts=", "=a", "ts=a,ts=b"])
def test_a_map_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        column_map(text)


def test_an_unknown_column_of_the_map_lists_the_known() -> None:
    with pytest.raises(UnknownName) as caught:
        column_map("clientid=a")
    assert "did you mean 'client_id'" in caught.value.fix


def test_labels_are_read_in_the_times_of_the_recording(tmp_path: Path) -> None:
    file = text_file(
        tmp_path,
        "id,start,end,label,devices\n"
        f"late,{BEGIN + 50},{BEGIN + 60},attack,a; b;a\n"
        "early,2026-01-05T08:00:10Z,2026-01-05T08:00:20Z,benign,\n",
        "labels.csv",
    )
    early, late = read_labels(file, one_recording(tmp_path))
    assert (early.id, early.kind, early.devices) == ("early", "benign.recorded", ())
    assert (early.start, early.end) == ((BEGIN + 10) * SECOND, (BEGIN + 20) * SECOND)
    assert (late.kind, late.devices) == ("attack.recorded", ("a", "b"))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (f"x,{BEGIN},{BEGIN + 1},evil,", "the label is 'evil'"),
        (f"x,{BEGIN + 2},{BEGIN + 1},attack,", "ends before it starts"),
        ("x,5,6,attack,", "outside the recording"),
        (f"x y,{BEGIN},{BEGIN + 1},attack,", "is no name"),
        (f"x,soon,{BEGIN + 1},attack,", "'soon' is no time"),
        (f"ok,{BEGIN},{BEGIN + 1},attack,", "two labels are named 'ok'"),
    ],
)
def test_a_mistake_in_the_labels_is_named(tmp_path: Path, row: str, told: str) -> None:
    text = f"id,start,end,label,devices\nok,{BEGIN},{BEGIN + 1},benign,a\n{row}\n"
    with pytest.raises(ConfigError, match=told) as caught:
        read_labels(text_file(tmp_path, text, "labels.csv"), one_recording(tmp_path))
    assert "labels.csv:3: " in caught.value.what
