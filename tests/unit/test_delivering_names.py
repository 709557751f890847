"""Prefixes, settings and compression of a delivery stream."""

import gzip
import re
import struct
from datetime import UTC, datetime, timedelta, timezone

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import BackendMissing, ConfigError, UnknownName
from pipeline.delivering import compression
from pipeline.delivering.compression import COMPRESSIONS, unpack
from pipeline.delivering.prefixes import Moment, Prefix, data_prefix, error_prefix
from pipeline.delivering.settings import MIB, settings_from

AT = datetime(2026, 3, 9, 4, 5, 6, 789_000, tzinfo=UTC)
"""A Monday, the 68th day of its year."""


def render(text: str, at: datetime = AT, **told: object) -> str:
    return Prefix(text).render(Moment(at, **told))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("yyyy/MM/dd/HH/", "2026/03/09/04/"),
        ("'year='yyyy'/month='MM'/day='dd'/hour='HH", "year=2026/month=03/day=09/hour=04"),
        ("yy-M-d-H", "26-3-9-4"),
        ("hh:mm:ss.SSS a", "04:05:06.789 AM"),
        ("EEE MMM", "Mon Mar"),
        ("EEEE d. MMMM", "Monday 9. March"),
        ("DDD", "068"),
        ("''", "'"),
        ("'it''s'", "it's"),
        ("XXX", "Z"),
    ],
)
def test_timestamps_are_javas(pattern: str, expected: str) -> None:
    assert render(f"a/!{{timestamp:{pattern}}}b") == f"a/{expected}b"


@pytest.mark.parametrize(
    ("day", "week_year"),
    [((2025, 12, 27), "2025"), ((2025, 12, 28), "2026"), ((2026, 1, 1), "2026"), ((2026, 12, 27), "2027")],
)
def test_capital_years_are_those_of_the_week(day: tuple[int, int, int], week_year: str) -> None:
    """2026 begins on a Thursday: its first week on Sunday, 28 December 2025."""
    assert render("!{timestamp:YYYY}", datetime(*day, tzinfo=UTC)) == week_year


def test_every_instance_is_the_same_instant_and_in_its_zone() -> None:
    tokyo = AT.astimezone(timezone(timedelta(hours=9)))
    assert render("!{timestamp:HH}/!{timestamp:HH}/!{timestamp:Z}", tokyo) == "13/13/+0900"


def test_the_other_namespaces() -> None:
    told = render(
        "!{partitionKeyFromQuery:kind}/!{partitionKeyFromLambda:site}/",
        from_query={"kind": "meter"},
        from_lambda={"site": "a b"},
    )
    assert told == "meter/a b/"
    first, second = (render("!{firehose:random-string}") for _ in range(2))
    assert re.fullmatch("[A-Za-z0-9]{11}", first)
    assert first != second
    assert render("!{firehose:error-output-type}/", error="processing-failed") == "processing-failed/"


@pytest.mark.parametrize(
    ("data", "errors", "data_key", "error_key"),
    [
        ("", "", "2026/03/09/04/", "processing-failed/2026/03/09/04/"),
        ("t/", "", "t/2026/03/09/04/", "t/processing-failed/2026/03/09/04/"),
        ("t/", "e/", "t/2026/03/09/04/", "e/processing-failed/2026/03/09/04/"),
        ("!{timestamp:yyyy}/", "e/!{firehose:error-output-type}/", "2026/", "e/processing-failed/"),
    ],
)
def test_defaults_are_firehoses(data: str, errors: str, data_key: str, error_key: str) -> None:
    assert data_prefix(data).render(Moment(AT)) == data_key
    assert error_prefix(errors, data=data).render(Moment(AT, error="processing-failed")) == error_key


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Prefix("!{timestamp:yyyy"), "not closed"),
        (lambda: Prefix("!{time:yyyy}"), "namespace"),
        (lambda: Prefix("!{timestamp:'year}"), "quote"),
        (lambda: Prefix("!{timestamp:qq}"), "letters"),
        (lambda: Prefix("!{firehose:name}"), "value"),
        (lambda: data_prefix("!{firehose:error-output-type}/"), "belongs to ErrorOutputPrefix"),
        (lambda: error_prefix("", data="!{timestamp:yyyy}/"), "missing"),
        (lambda: error_prefix("e/!{timestamp:yyyy}/", data=""), "no !{firehose:error-output-type}"),
        (lambda: error_prefix("!{partitionKeyFromQuery:a}", data=""), "no partition keys"),
    ],
)
def test_what_firehose_refuses_is_refused_by_name(make: object, match: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(match)) as caught:
        make()  # type: ignore[operator]
    assert caught.value.fix


@given(st.text(alphabet="ab/!{}:'y ", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        prefix = data_prefix(text)
    except ConfigError:
        return
    if not (prefix.query_keys or prefix.lambda_keys):
        assert isinstance(prefix.render(Moment(AT)), str)


@pytest.mark.parametrize("name", COMPRESSIONS)
@given(body=st.binary(max_size=2_000))
def test_what_is_packed_is_unpacked(name: str, body: bytes) -> None:
    one = COMPRESSIONS[name]
    assert unpack(f"x{one.extension}", one.pack(body)) == body


def test_hadoop_snappy_is_blocks_of_length_length_chunk() -> None:
    body = bytes(range(256)) * 1_500
    packed = COMPRESSIONS["HADOOP_SNAPPY"].pack(body)
    place, found = 0, b""
    while place < len(packed):
        plain, length = struct.unpack_from(">II", packed, place)
        chunk = bytes(cramjam.snappy.decompress_raw(packed[place + 8 : place + 8 + length]))
        assert len(chunk) == plain <= 256 * 1024
        found, place = found + chunk, place + 8 + length
    assert found == body


def test_gzip_is_gzip_and_rubbish_is_said() -> None:
    assert gzip.decompress(COMPRESSIONS["GZIP"].pack(b"x")) == b"x"
    for extension in (".gz", ".zip", ".zst", ".snappy", ".hsnappy"):
        with pytest.raises(ConfigError, match="object k"):
            unpack("k" + extension, b"\0\0\0\5rubbish")
    assert unpack("k", b"rubbish") == b"rubbish", "no extension, no compression"


@pytest.mark.parametrize("name", [name for name in COMPRESSIONS if name != "UNCOMPRESSED"])
@given(damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_object_is_read_or_refused(name: str, damage: list[tuple[int, int]]) -> None:
    body = bytearray(COMPRESSIONS[name].pack(bytes(range(256)) + b"a" * 100))
    for place, byte in damage:
        body[place % len(body)] = byte
    try:
        unpack(f"k{COMPRESSIONS[name].extension}", bytes(body))
    except ConfigError as error:
        assert f"object k{COMPRESSIONS[name].extension} is no {name}" in error.what


def test_a_chunk_of_snappy_takes_no_more_than_its_block_says() -> None:
    for claimed in (b"\xff\xff\xff\xff\x0f", b"\xff" * 8):  # 4 GB; a number without an end
        with pytest.raises(ConfigError, match="larger than its block"):
            unpack("k.hsnappy", struct.pack(">II", 10, len(claimed)) + claimed)


def test_a_missing_package_says_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cramjam", None)
    with pytest.raises(BackendMissing) as caught:
        compression.COMPRESSIONS["Snappy"].pack(b"")
    assert "thingstorm[snappy]" in caught.value.fix


KEYS = {"Enabled": True, "Processors": [{"Type": "MetadataExtraction", "Parameters": []}]}
QUERY = {"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{kind: .kind}"}


def processing(*processors: tuple[str, dict[str, str]]) -> dict[str, object]:
    return {
        "Enabled": True,
        "Processors": [
            {
                "Type": kind,
                "Parameters": [{"ParameterName": k, "ParameterValue": v} for k, v in parameters.items()],
            }
            for kind, parameters in processors
        ],
    }


def test_settings_are_read_from_awss_shape() -> None:
    settings = settings_from(
        {
            "BucketARN": "arn:aws:s3:::b",
            "RoleARN": "arn:aws:iam::1:role/r",
            "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 0},
            "CompressionFormat": "HADOOP_SNAPPY",
            "CustomTimeZone": "Asia/Tokyo",
            "Prefix": "!{partitionKeyFromQuery:kind}/",
            "ErrorOutputPrefix": "e/!{firehose:error-output-type}/",
            "DynamicPartitioningConfiguration": {"Enabled": True},
            "ProcessingConfiguration": processing(
                ("RecordDeAggregation", {"SubRecordType": "DELIMITED", "Delimiter": "IyM="}),
                ("Lambda", {"LambdaArn": "arn:f", "NumberOfRetries": "1", "BufferSizeInMBs": "0.5"}),
                (
                    "MetadataExtraction",
                    {"MetadataExtractionQuery": "{kind: .kind}", "JsonParsingEngine": "JQ-1.6"},
                ),
                ("AppendDelimiterToRecord", {"Delimiter": "\\n"}),
            ),
        }
    )
    assert (settings.buffer_bytes, settings.buffer_seconds) == (64 * MIB, 0)
    assert (settings.compression, settings.extension, settings.zone.key) == (
        "HADOOP_SNAPPY",
        ".hsnappy",
        "Asia/Tokyo",
    )
    assert (settings.deaggregation, settings.piece_delimiter, settings.delimiter) == (
        "DELIMITED",
        b"##",
        b"\n",
    )
    assert (settings.transform_arn, settings.transform_retries, settings.transform_bytes) == (
        "arn:f",
        1,
        MIB // 2,
    )
    assert settings.extract is not None
    assert settings.extract({"kind": "meter"}) == {"kind": "meter"}


@pytest.mark.parametrize(
    ("told", "error", "match"),
    [
        ({"Bucket": "x"}, UnknownName, "Bucket"),
        ({"CompressionFormat": "LZO"}, UnknownName, "LZO"),
        ({"BufferingHints": {"SizeInMBs": 129}}, ConfigError, "SizeInMBs is 129"),
        ({"BufferingHints": {"IntervalInSeconds": 901}}, ConfigError, "IntervalInSeconds"),
        ({"CustomTimeZone": "Mars/Base"}, ConfigError, "Mars"),
        (
            {
                "Prefix": "!{partitionKeyFromQuery:k}/",
                "ErrorOutputPrefix": "e/!{firehose:error-output-type}",
                "DynamicPartitioningConfiguration": {"Enabled": True},
            },
            ConfigError,
            "keys of a query",
        ),
        (
            {
                "ProcessingConfiguration": processing(
                    ("Lambda", {"LambdaArn": "arn:f", "BufferSizeInMBs": "3.1"})
                )
            },
            ConfigError,
            r"BufferSizeInMBs .* is 3\.1",
        ),
        (
            {"ProcessingConfiguration": processing(("RecordDeAggregation", {"SubRecordType": "CSV"}))},
            UnknownName,
            "CSV",
        ),
        (
            {"ProcessingConfiguration": processing(("RecordDeAggregation", {"Delimiter": "##"}))},
            ConfigError,
            "no base64",
        ),
        (
            {
                "ProcessingConfiguration": processing(
                    ("MetadataExtraction", {"MetadataExtractionQuery": ".", "JsonParsingEngine": "JQ-2"})
                )
            },
            UnknownName,
            "JQ-2",
        ),
        (
            {
                "DataFormatConversionConfiguration": {
                    "Enabled": True,
                    "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {}}},
                }
            },
            ConfigError,
            "without a schema",
        ),
        ({"S3BackupMode": "Enabled"}, ConfigError, "S3BackupMode"),
        (
            {"Prefix": "!{partitionKeyFromQuery:k}/", "ErrorOutputPrefix": "e/!{firehose:error-output-type}"},
            ConfigError,
            "partitioning is off",
        ),
        (
            {"Prefix": "t/", "DynamicPartitioningConfiguration": {"Enabled": True}},
            ConfigError,
            "no partition key",
        ),
        (
            {
                "Prefix": "!{partitionKeyFromLambda:k}/",
                "ErrorOutputPrefix": "e/!{firehose:error-output-type}",
                "DynamicPartitioningConfiguration": {"Enabled": True},
                "ProcessingConfiguration": processing(
                    ("MetadataExtraction", {"MetadataExtractionQuery": "{k: .k}"})
                ),
            },
            ConfigError,
            "keys of a function",
        ),
        (
            {
                "ProcessingConfiguration": processing(
                    ("MetadataExtraction", {"MetadataExtractionQuery": "{k: "})
                )
            },
            ConfigError,
            "MetadataExtractionQuery",
        ),
        ({"ProcessingConfiguration": processing(("Decompression", {}))}, UnknownName, "Decompression"),
        ({"DataFormatConversionConfiguration": {"Enabled": True}}, ConfigError, "ORC"),
        (
            {"DataFormatConversionConfiguration": {"Enabled": True}, "CompressionFormat": "GZIP"},
            ConfigError,
            "beside record format conversion",
        ),
    ],
)
def test_wrong_settings_are_refused_by_name(
    told: dict[str, object], error: type[ConfigError], match: str
) -> None:
    with pytest.raises(error, match=match) as caught:
        settings_from(told)
    assert caught.value.fix
