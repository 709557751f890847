"""From records to objects: taken apart, transformed, partitioned, converted, or to the error prefix with the reason."""

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import BackendMissing, ConfigError, UnknownName
from contracts.messages import SECOND
from pipeline.delivering import partitions
from pipeline.delivering.objects import Object, make_objects, read_object
from pipeline.delivering.parquet import Converter, arrow_type, read_rows
from pipeline.delivering.records import Record
from pipeline.delivering.settings import Settings, settings_from
from pipeline.delivering.transform import Transform, transform_of

AT = 1_773_029_106 * SECOND
"""2026-03-09 04:05:06 UTC."""

PARTITIONED = {
    "Prefix": "!{partitionKeyFromQuery:kind}/!{timestamp:yyyy}/",
    "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/",
    "DynamicPartitioningConfiguration": {"Enabled": True},
}


def processors(**told: dict[str, str]) -> dict[str, Any]:
    return {
        "Enabled": True,
        "Processors": [
            {
                "Type": kind,
                "Parameters": [{"ParameterName": k, "ParameterValue": v} for k, v in values.items()],
            }
            for kind, values in told.items()
        ],
    }


def by_jq(query: str = "{kind: .kind}", **more: dict[str, str]) -> Settings:
    extraction = {"MetadataExtractionQuery": query, "JsonParsingEngine": "JQ-1.6"}
    return settings_from(
        {**PARTITIONED, "ProcessingConfiguration": processors(MetadataExtraction=extraction, **more)}
    )


def objects(settings: Settings, *bodies: Any, transform: Transform | None = None) -> list[Object]:
    records = [
        Record(AT + n, body if isinstance(body, bytes) else json.dumps(body).encode())
        for n, body in enumerate(bodies)
    ]
    return make_objects("s", records, settings, transform=transform, now=AT + SECOND)


def told(one: Object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in one.body.splitlines()]


def test_records_are_joined_as_they_are_unless_a_delimiter_is_asked_for() -> None:
    (plain,) = objects(settings_from({"Prefix": "t/"}), b"a", b"b")
    assert (plain.body, plain.records) == (b"ab", 2)
    assert re.fullmatch(r"t/2026/03/09/04/s-1-2026-03-09-04-05-06-[0-9a-f-]{36}", plain.key)
    settings = settings_from({"ProcessingConfiguration": processors(AppendDelimiterToRecord={})})
    (delimited,) = objects(settings, b"a", b"b")
    assert delimited.body == b"a\nb\n"


def test_keys_of_jq_lay_records_down_by_partition_in_order() -> None:
    settings = by_jq('{kind: .type.device, year: .at|strftime("%Y")}')
    bodies = [{"n": n, "at": 1565382027, "type": {"device": "ab"[n % 2]}} for n in range(5)]
    made = {one.key.split("/")[0]: one for one in objects(settings, *bodies)}
    assert sorted(made) == ["a", "b"]
    decoder, text, numbers = json.JSONDecoder(), made["a"].body.decode(), []
    while text:
        row, end = decoder.raw_decode(text)
        numbers.append(row["n"])
        text = text[end:]
    assert numbers == [0, 2, 4]
    assert all("/2026/" in one.key for one in made.values())


def test_keys_of_jmespath_do_the_same_without_an_extra() -> None:
    made = objects(by_jmespath("{kind: tags[0]}"), {"tags": ["x", "y"]}, {"tags": [7]})
    assert sorted(one.key.split("/")[0] for one in made) == ["7", "x"]
    with pytest.raises(ConfigError, match="MetadataExtractionQuery"):
        partitions.query("{kind: ", engine="JMESPath")
    with pytest.raises(UnknownName, match="JQ-2"):
        partitions.query("{}", engine="JQ-2")


def by_jmespath(query: str = "{kind: kind}") -> Settings:
    extraction = {"MetadataExtractionQuery": query, "JsonParsingEngine": "JMESPath"}
    return settings_from(
        {**PARTITIONED, "ProcessingConfiguration": processors(MetadataExtraction=extraction)}
    )


def test_half_a_surrogate_pair_is_no_partition() -> None:
    good, bad = objects(by_jmespath(), b'{"kind": "\\ud800"}', b'{"kind": "a"}')
    assert good.key.startswith("a/")
    assert "surrogates not allowed" in told(bad)[0]["errorMessage"]


def test_without_jq_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jq", None)
    with pytest.raises(BackendMissing) as caught:
        by_jq()
    assert "thingstorm[partitioning]" in caught.value.fix


@pytest.mark.parametrize("body", [b"no json", b"[]", {"kind": None}, {"kind": ""}, {}, b"\xff"])
def test_a_record_without_its_keys_goes_to_the_error_prefix(body: Any) -> None:
    good, bad = objects(by_jq(), {"kind": "a"}, body)
    assert good.key.startswith("a/2026/")
    assert bad.failed
    assert bad.key.startswith("errors/processing-failed/s-1-")
    (document,) = told(bad)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert base64.b64decode(document["rawData"]) == raw
    assert document["errorCode"] == "DynamicPartitioning.MetadataExtractionFailed"
    assert document["arrivalTimestamp"] == AT // 1_000_000
    assert document["attemptEndingTimestamp"] == AT // 1_000_000 + 1000


def test_beyond_500_partitions_records_fail_and_the_others_do_not() -> None:
    made = objects(by_jq(), *({"kind": str(n)} for n in range(503)), {"kind": "1"})
    failed = [one for one in made if one.failed]
    assert len(made) == 501
    assert [document["errorCode"] for document in told(failed[0])] == [
        "DynamicPartitioning.ActivePartitionLimitExceeded"
    ] * 3


def test_a_key_that_s3_would_refuse_fails_its_partition_only() -> None:
    made = objects(by_jq(), {"kind": "x" * 1_100}, {"kind": "a"})
    assert [one.failed for one in made] == [False, True]
    assert told(made[1])[0]["errorCode"] == "S3.KeyTooLongError"


def test_aggregated_records_are_taken_apart_first() -> None:
    settings = by_jq(RecordDeAggregation={"SubRecordType": "JSON"}, AppendDelimiterToRecord={})
    made = objects(settings, b'{"kind":"a","n":1}{"kind":"b","n":2}\n{"kind":"a","n":3}', b'{"kind":')
    assert {one.key.split("/")[0]: one.records for one in made} == {"a": 2, "b": 1, "errors": 1}
    lines = settings_from(
        {"ProcessingConfiguration": processors(RecordDeAggregation={"SubRecordType": "DELIMITED"})}
    )
    (one,) = objects(lines, b"a\nb\n\nc")
    assert (one.records, one.body) == (3, b"abc")
    (many,) = objects(lines, b"\n".join([b"x"] * 501))
    assert many.failed


def function(event: Mapping[str, Any]) -> dict[str, Any]:
    """Upper case; drops "drop", fails "fail", forgets "forget", makes nonsense of "odd"."""
    records = []
    for one in event["records"]:
        text = base64.b64decode(one["data"]).decode()
        if text == "forget":
            continue
        result = {"drop": "Dropped", "fail": "ProcessingFailed", "odd": "Fine"}.get(text, "Ok")
        records.append(
            {
                "recordId": one["recordId"],
                "result": result,
                "data": base64.b64encode(text.upper().encode()).decode(),
                "metadata": {"partitionKeys": {"first": text[0]}},
            }
        )
    return {"records": records[::-1]}


def test_a_transform_changes_drops_and_fails_records() -> None:
    made = objects(
        settings_from({}),
        b"one",
        b"drop",
        b"fail",
        b"forget",
        b"odd",
        b"two",
        transform=Transform(function, "arn"),
    )
    good, bad = made
    assert (good.body, good.records) == (b"ONETWO", 2)
    documents = told(bad)
    assert [base64.b64decode(one["rawData"]) for one in documents] == [b"fail", b"forget", b"odd"]
    assert {one["lambdaArn"] for one in documents} == {"arn"}
    assert {one["errorCode"] for one in documents} == {"Lambda.ProcessingFailed"}


def test_a_transform_gives_partition_keys() -> None:
    settings = settings_from(
        {
            **PARTITIONED,
            "Prefix": "!{partitionKeyFromLambda:first}/",
            "ProcessingConfiguration": processors(Lambda={"LambdaArn": "arn"}),
        }
    )
    made = objects(settings, b"apple", b"bean", transform=Transform(function))
    assert sorted(one.key[:2] for one in made) == ["a/", "b/"]


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ("x", "'metadata.partitionKeys' is no object"),
        ({"partitionKeys": ["first"]}, "'metadata.partitionKeys' is no object"),
        ({"partitionKeys": {"first": None}}, "null or empty: first"),
        ({"partitionKeys": {"first": "\ud800"}}, "surrogates not allowed"),
        (None, "null or empty: first"),
    ],
)
def test_wrong_partition_keys_of_a_transform_fail_their_record_only(metadata: Any, why: str) -> None:
    settings = settings_from(
        {
            **PARTITIONED,
            "Prefix": "!{partitionKeyFromLambda:first}/",
            "ProcessingConfiguration": processors(Lambda={"LambdaArn": "arn"}),
        }
    )

    def answer(event: Mapping[str, Any]) -> dict[str, Any]:
        told = function(event)
        next(one for one in told["records"] if one["recordId"] == "0")["metadata"] = metadata
        return told

    good, bad = objects(settings, b"wrong", b"right", transform=Transform(answer))
    assert (good.key[:2], good.body) == ("r/", b"RIGHT")
    assert why in told(bad)[0]["errorMessage"]


def test_a_failing_function_is_called_again_and_then_fails_its_batch() -> None:
    calls: list[int] = []

    def shaky(event: Mapping[str, Any]) -> dict[str, Any]:
        calls.append(len(event["records"]))
        if len(calls) < 3:
            raise TimeoutError("slow")
        return function(event)

    (good,) = objects(settings_from({}), b"a", transform=Transform(shaky))
    assert good.body == b"A"
    assert len(calls) == 3

    def broken(_event: Mapping[str, Any]) -> dict[str, Any]:
        raise ValueError("no")

    (bad,) = objects(settings_from({}), b"a", b"b", transform=Transform(broken, "arn"))
    assert [(one["attemptsMade"], one["errorMessage"]) for one in told(bad)] == [(4, "ValueError: no")] * 2


@pytest.mark.parametrize(
    "answer", [None, {}, {"records": "x"}, {"records": [{"recordId": "0", "result": "Ok"}]}]
)
def test_an_answer_of_the_wrong_shape_loses_nothing(answer: Any) -> None:
    (bad,) = objects(settings_from({}), b"a", transform=Transform(lambda _event: answer))
    assert bad.failed
    assert base64.b64decode(told(bad)[0]["rawData"]) == b"a"


def test_the_settings_name_the_function_and_how_it_is_called() -> None:
    """A boto3 client whose calls are answered here, in the place of the network."""
    client = boto3.client(
        "lambda", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    failing: list[str] = []

    def answer(params: Mapping[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        assert "function%3Aupper" in params["url_path"] or "function:upper" in params["url_path"]
        body = json.dumps(function(json.loads(params["body"]))).encode()
        more = {"FunctionError": failing.pop()} if failing else {}
        return SimpleNamespace(status_code=200), {"Payload": io.BytesIO(body), **more}

    client.meta.events.register("before-call.lambda.Invoke", answer)
    arn = "arn:aws:lambda:us-east-1:000000000000:function:upper"
    asked = processors(Lambda={"LambdaArn": arn, "NumberOfRetries": "1", "BufferSizeInMBs": "0.5"})
    settings = settings_from({"ProcessingConfiguration": asked})
    made = transform_of(settings, lambda: client)
    assert made is not None
    assert (made.arn, made.retries, made.batch_bytes) == (arn, 1, 512 * 1024)
    failing.append("Unhandled")
    (good,) = objects(settings, b"one", transform=made)
    assert (good.body, failing) == (b"ONE", []), "the first call failed, the second did not"
    assert transform_of(settings_from({}), lambda: client) is None


def test_a_transform_gets_batches_of_its_size() -> None:
    sizes: list[int] = []

    def count(event: Mapping[str, Any]) -> dict[str, Any]:
        sizes.append(len(event["records"]))
        return function(event)

    objects(settings_from({}), *[b"x" * 40] * 10, transform=Transform(count, batch_bytes=100))
    assert sizes == [2] * 5


COLUMNS = {
    "device_id": "string",
    "n": "bigint",
    "At": "timestamp",
    "price": "decimal(10,2)",
    "day": "date",
    "tags": "array<string>",
    "where": "struct<lat:double,lon:double>",
    "counts": "map<string,int>",
    "payload": "string",
}


def parquet(**serde: str) -> Settings:
    return settings_from(
        {
            "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/",
            "DataFormatConversionConfiguration": {
                "Enabled": True,
                "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": serde}},
            },
        },
        columns=COLUMNS,
    )


@pytest.mark.parametrize("codec", ["SNAPPY", "GZIP", "UNCOMPRESSED"])
def test_records_become_parquet_by_their_schema(codec: str) -> None:
    row = {
        "device_id": "d",
        "N": 3,
        "at": 1_773_029_106_789,
        "price": 1.5,
        "day": "2026-03-09",
        "tags": ["x"],
        "where": {"lat": 1, "LON": 2.5},
        "counts": {"a": 1},
        "payload": {"t": 21.5},
        "unknown": True,
    }
    (one,) = objects(parquet(Compression=codec), row, {"device_id": "e"})
    assert one.key.endswith(".parquet")
    first, second = read_object(one.key, one.body)
    assert first["At"].isoformat() == "2026-03-09T04:05:06.789000"
    assert (first["n"], str(first["price"]), str(first["day"])) == (3, "1.50", "2026-03-09")
    assert first["where"] == {"lat": 1.0, "lon": 2.5}
    assert (first["counts"], first["payload"]) == ([("a", 1)], '{"t":21.5}')
    assert second["n"] is None


def test_a_record_that_does_not_fit_fails_alone() -> None:
    made = objects(parquet(), {"n": 1}, {"n": "many"}, b"{", b"[1]", {"n": 2**70}, {"tags": 5}, {"n": 2})
    good, bad = made
    assert [row["n"] for row in read_rows(good.body)] == [1, 2]
    assert bad.key.startswith("errors/format-conversion-failed/")
    assert len(told(bad)) == 5
    assert all(one["lastErrorMessage"] for one in told(bad))
    (only_bad,) = objects(parquet(), b"{")
    assert only_bad.failed


@pytest.mark.parametrize("kind", ["text", "array<>", "map<string>", "struct<a>", "decimal(x)"])
def test_a_type_that_glue_does_not_have_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError):
        arrow_type(kind)


def test_a_schema_without_columns_and_an_unknown_codec_are_refused() -> None:
    with pytest.raises(ConfigError, match="without columns"):
        Converter({})
    with pytest.raises(UnknownName, match="LZ9"):
        Converter({"a": "varchar(10)"}, compression="LZ9")


@pytest.mark.parametrize(
    ("at", "seen"),
    [
        (1_773_029_106, "2026-03-09T04:05:06"),
        ("2026-03-09T05:05:06+01:00", "2026-03-09T04:05:06"),
        ("2026-03-09T04:05:06", "2026-03-09T04:05:06"),
        (1e20, None),
        (1e300, None),
        (True, None),
        ([1], None),
        ("soon", None),
    ],
)
def test_times_are_seconds_milliseconds_or_iso(at: Any, seen: str | None) -> None:
    made = objects(parquet(), {"at": at}, {"n": 1})
    rows = [row for one in made if not one.failed for row in read_object(one.key, one.body)]
    assert [row["At"] and row["At"].isoformat() for row in rows] == ([seen, None] if seen else [None])
    assert sum(one.records for one in made if one.failed) == (seen is None)


def test_an_object_that_is_none_is_said() -> None:
    assert read_object("a.ndjson", b'{"a":1}\n\n[1]\n') == [{"a": 1}]
    (table,) = objects(parquet(), *[{"n": n} for n in range(9)])
    footless = table.body[:-30] + b"\xff" * 22 + table.body[-8:]
    for key, body in (
        ("a.parquet", b"x"),
        ("a.parquet", footless),
        ("a.ndjson", b'{"a":1}{"b":2}'),
        ("a.ndjson", b"[" * 100_000),
    ):
        with pytest.raises(ConfigError) as caught:
            read_object(key, body)
        assert caught.value.fix


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from([b'{"kind":"a"}', b'{"kind":"b"}{"kind":"c"}', b"drop", b"fail"]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_no_record_is_lost_whatever_it_is(bodies: list[bytes]) -> None:
    """Every record is in an object, of data or of errors."""
    settings = by_jq()
    made = objects(settings, *bodies)
    failed = Counter(base64.b64decode(one["rawData"]) for each in made if each.failed for one in told(each))
    assert sum(one.records for one in made) == len(bodies)
    assert sorted(failed.elements()) == sorted(body for body in bodies if body != b'{"kind":"a"}')
