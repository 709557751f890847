"""The settings of a delivery stream, read from AWS's own shape (`ExtendedS3DestinationConfiguration`).

Source: Amazon Data Firehose API reference, ExtendedS3DestinationConfiguration and the types that it is made of.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contracts.errors import ConfigError, UnknownName

from . import parquet
from .compression import COMPRESSIONS
from .parquet import Converter
from .partitions import Query, query
from .prefixes import Prefix, data_prefix, error_prefix

MIB: Final = 1024 * 1024

_READ: Final = frozenset(
    {
        "BucketARN",
        "BufferingHints",
        "CompressionFormat",
        "CustomTimeZone",
        "DataFormatConversionConfiguration",
        "DynamicPartitioningConfiguration",
        "ErrorOutputPrefix",
        "FileExtension",
        "Prefix",
        "ProcessingConfiguration",
    }
)
_WITHOUT_EFFECT: Final = frozenset(
    {"RoleARN", "CloudWatchLoggingOptions", "EncryptionConfiguration", "S3BackupMode"}
)
"""Access, logs and encryption are AWS's own; without effect here. A backup of the untransformed records is refused."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a delivery stream does. `buffer_bytes` and `buffer_seconds` may be any; AWS's limits hold for `settings_from`."""

    prefix: Prefix = field(default_factory=lambda: data_prefix(""))
    errors: Prefix = field(default_factory=lambda: error_prefix("", data=""))
    buffer_bytes: int = 5 * MIB
    buffer_seconds: float = 300.0
    compression: str = "UNCOMPRESSED"
    extension: str = ""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    delimiter: bytes = b""
    deaggregation: str = ""
    piece_delimiter: bytes = b"\n"
    extract: Query | None = None
    transform_arn: str = ""
    transform_retries: int = 3
    transform_bytes: int = MIB
    converter: Converter | None = None


def settings_from(told: Mapping[str, Any], *, columns: Mapping[str, str] | None = None) -> Settings:
    """Read and check. `columns` are those of the table that `SchemaConfiguration` names, with their Glue types.

    Raises ConfigError for what Amazon Data Firehose refuses or this does not have.
    """
    if unknown := sorted(told.keys() - _READ - _WITHOUT_EFFECT):
        raise UnknownName("setting of a delivery stream", unknown[0], _READ)
    if told.get("S3BackupMode", "Disabled") != "Disabled":
        raise ConfigError("S3BackupMode is not supported", fix="take it out, or use a second delivery stream")
    partitioned = bool(told.get("DynamicPartitioningConfiguration", {}).get("Enabled"))
    converted = bool(told.get("DataFormatConversionConfiguration", {}).get("Enabled", False))
    compression = told.get("CompressionFormat", "UNCOMPRESSED")
    if compression not in COMPRESSIONS:
        raise UnknownName("CompressionFormat", str(compression), COMPRESSIONS)
    if converted and compression != "UNCOMPRESSED":
        raise ConfigError(
            f"CompressionFormat {compression} beside record format conversion",
            fix="leave it out: Parquet compresses by itself (ParquetSerDe.Compression)",
        )
    size, seconds = _hints(told.get("BufferingHints", {}), large=partitioned or converted)
    text = str(told.get("Prefix", ""))
    prefix = data_prefix(text)
    return Settings(
        prefix=prefix,
        errors=error_prefix(str(told.get("ErrorOutputPrefix", "")), data=text),
        buffer_bytes=size,
        buffer_seconds=seconds,
        compression=compression,
        extension=told.get("FileExtension")
        or (parquet.EXTENSION if converted else COMPRESSIONS[compression].extension),
        zone=_zone(str(told.get("CustomTimeZone", "UTC"))),
        converter=_converter(told["DataFormatConversionConfiguration"], columns) if converted else None,
        **_processing(told.get("ProcessingConfiguration", {}), prefix=prefix, partitioned=partitioned),
    )


def _hints(told: Mapping[str, Any], *, large: bool) -> tuple[int, float]:
    """Size and interval. The defaults are those of the API reference, the least size that of the developer guide."""
    least = 64 if large else 1
    size, seconds = told.get("SizeInMBs", max(5, least)), told.get("IntervalInSeconds", 300)
    if not least <= int(size) <= 128:
        raise ConfigError(
            f"BufferingHints.SizeInMBs is {size}",
            fix=f"give {least} to 128 (64 with partitions or conversion)",
        )
    if not 0 <= int(seconds) <= 900:
        raise ConfigError(f"BufferingHints.IntervalInSeconds is {seconds}", fix="give 0 to 900")
    return int(size) * MIB, float(seconds)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"CustomTimeZone '{name}' is unknown", fix="give one such as Asia/Tokyo") from None


def _converter(told: Mapping[str, Any], columns: Mapping[str, str] | None) -> Converter:
    serializer = told.get("OutputFormatConfiguration", {}).get("Serializer", {})
    if "ParquetSerDe" not in serializer:
        raise ConfigError("record format conversion to ORC is not supported", fix="use ParquetSerDe")
    if columns is None:
        raise ConfigError("record format conversion without a schema", fix="name a Glue table with columns")
    return Converter(columns, compression=serializer["ParquetSerDe"].get("Compression", "SNAPPY"))


def _processing(told: Mapping[str, Any], *, prefix: Prefix, partitioned: bool) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for processor in told.get("Processors", []) if told.get("Enabled") else []:
        parameters = {one["ParameterName"]: one["ParameterValue"] for one in processor.get("Parameters", [])}
        kind = processor["Type"]
        if kind not in _PROCESSORS:
            raise UnknownName("processor", kind, _PROCESSORS)
        read |= _PROCESSORS[kind](parameters)
    if (prefix.query_keys or prefix.lambda_keys) and not partitioned:
        raise ConfigError(
            "Prefix has partition keys, but partitioning is off", fix="set DynamicPartitioningConfiguration"
        )
    if prefix.query_keys and "extract" not in read:
        raise ConfigError(
            "Prefix has keys of a query, but there is none", fix="add a MetadataExtraction processor"
        )
    if prefix.lambda_keys and "transform_arn" not in read:
        raise ConfigError("Prefix has keys of a function, but there is none", fix="add a Lambda processor")
    if partitioned and not (prefix.query_keys or prefix.lambda_keys):
        raise ConfigError(
            "dynamic partitioning, but Prefix has no partition key", fix="add !{partitionKeyFrom...}"
        )
    return read


def _lambda(parameters: Mapping[str, str]) -> dict[str, Any]:
    size = float(parameters.get("BufferSizeInMBs", "1"))
    if not 0.2 <= size <= 3:
        raise ConfigError(f"BufferSizeInMBs of the Lambda processor is {size}", fix="give 0.2 to 3")
    return {
        "transform_arn": parameters["LambdaArn"],
        "transform_retries": int(parameters.get("NumberOfRetries", "3")),
        "transform_bytes": int(size * MIB),
    }


def _extraction(parameters: Mapping[str, str]) -> dict[str, Any]:
    engine = parameters.get("JsonParsingEngine", "JQ-1.6")
    return {"extract": query(parameters["MetadataExtractionQuery"], engine=engine)}


def _deaggregation(parameters: Mapping[str, str]) -> dict[str, Any]:
    kind = parameters.get("SubRecordType", "JSON")
    if kind not in ("JSON", "DELIMITED"):
        raise UnknownName("SubRecordType", kind, ("JSON", "DELIMITED"))
    return {"deaggregation": kind, "piece_delimiter": _plain(parameters.get("Delimiter", "Cg=="))}


def _plain(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ConfigError(f"Delimiter '{encoded}' is no base64", fix="a line break is Cg==") from None


_PROCESSORS: Final[Mapping[str, Any]] = {
    "Lambda": _lambda,
    "MetadataExtraction": _extraction,
    "RecordDeAggregation": _deaggregation,
    "AppendDelimiterToRecord": lambda parameters: {
        "delimiter": parameters.get("Delimiter", "\n").replace("\\n", "\n").encode()
    },
}
