"""Records into objects: everything that happens between the buffer and the upload, in Firehose's order.

Taken apart ▸ transformed ▸ partitioned ▸ delimited ▸ converted or joined and compressed ▸ named. Source of the order:
developer guide, "Apply dynamic partitioning to aggregated data".
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from contracts.errors import ConfigError
from contracts.messages import SECOND, Nanoseconds

from . import compression, parquet, partitions
from .prefixes import MAX_KEY_BYTES, Moment
from .records import PROCESSING_FAILED, Failure, Record
from .settings import Settings
from .transform import Transform


@dataclass(frozen=True, slots=True)
class Object:
    """What S3 gets: `records` are those in it, `failed` is set for the error prefix."""

    key: str
    body: bytes
    records: int
    failed: bool = False


def make_objects(
    name: str,
    records: Sequence[Record],
    settings: Settings,
    *,
    transform: Transform | None = None,
    now: Nanoseconds,
) -> list[Object]:
    """The objects of these records, which are not empty. A record is in exactly one, unless the transform dropped it."""
    failures: list[Failure] = []
    left: Sequence[Record] = records
    if settings.deaggregation:
        left, failed = partitions.split(left, kind=settings.deaggregation, delimiter=settings.piece_delimiter)
        failures += failed
    if transform is not None:
        left, failed = transform(left)
        failures += failed
    prefix = settings.prefix
    if prefix.query_keys or prefix.lambda_keys:
        left, failed = partitions.keyed(
            left, extract=settings.extract, query_keys=prefix.query_keys, lambda_keys=prefix.lambda_keys
        )
        failures += failed
    objects: list[Object] = []
    for group in _groups(left, settings, failures):
        objects += _data(name, group, settings, failures)
    return objects + _errors(name, failures, settings, now)


def _groups(records: Sequence[Record], settings: Settings, failures: list[Failure]) -> list[list[Record]]:
    """By partition, in the order of arrival. What would be partition 501 fails, as on AWS."""
    prefix = settings.prefix
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        key = (
            *(record.query_keys[name] for name in sorted(prefix.query_keys)),
            *(record.lambda_keys[name] for name in sorted(prefix.lambda_keys)),
        )
        if key not in groups and len(groups) >= partitions.MAX_PARTITIONS:
            message = f"more than {partitions.MAX_PARTITIONS} active partitions"
            failures.append(
                Failure(
                    record, PROCESSING_FAILED, "DynamicPartitioning.ActivePartitionLimitExceeded", message
                )
            )
            continue
        groups[key].append(record)
    return list(groups.values())


def _data(name: str, group: list[Record], settings: Settings, failures: list[Failure]) -> list[Object]:
    first = group[0]
    key = _key(
        name, settings, Moment(_at(first, settings), first.query_keys, first.lambda_keys), settings.extension
    )
    if len(key.encode()) > MAX_KEY_BYTES:
        message = f"the object's key would have {len(key.encode())} bytes, at most {MAX_KEY_BYTES}"
        failures += [Failure(record, PROCESSING_FAILED, "S3.KeyTooLongError", message) for record in group]
        return []
    if settings.converter is not None:
        body, fitting, failed = settings.converter(group)
        failures += failed
        return [Object(key, body, len(fitting))] if fitting else []
    body = b"".join(record.data + settings.delimiter for record in group)
    return [Object(key, compression.COMPRESSIONS[settings.compression].pack(body), len(group))]


def _errors(name: str, failures: list[Failure], settings: Settings, now: Nanoseconds) -> list[Object]:
    """One object for each kind of error: a JSON document a line, not compressed."""
    by_kind: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        by_kind[failure.kind].append(failure)
    objects = []
    for kind, failed in by_kind.items():
        body = "".join(json.dumps(one.document(now=now)) + "\n" for one in failed).encode()
        moment = Moment(_at(failed[0].record, settings), error=kind)
        objects.append(Object(_key(name, settings, moment, ""), body, len(failed), failed=True))
    return objects


def _key(name: str, settings: Settings, moment: Moment, extension: str) -> str:
    """Prefix, stream, its version, the time, a random part, an extension (developer guide, object name format)."""
    prefix = settings.errors if moment.error else settings.prefix
    return f"{prefix.render(moment)}{name}-1-{moment.at:%Y-%m-%d-%H-%M-%S}-{uuid.uuid4()}{extension}"


def _at(record: Record, settings: Settings) -> datetime:
    return datetime.fromtimestamp(record.arrived / SECOND, tz=UTC).astimezone(settings.zone)


def read_object(key: str, body: bytes) -> list[Mapping[str, Any]]:
    """The records of an object back, where they are JSON objects: lines, or the rows of a Parquet file.

    Raises ConfigError for an object that is none of that.
    """
    if key.endswith(parquet.EXTENSION):
        return list(parquet.read_rows(body))
    try:
        rows = [json.loads(line) for line in compression.unpack(key, body).splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"object {key} has a line that is no JSON: {error}", fix="set AppendDelimiterToRecord"
        ) from None
    return [row for row in rows if isinstance(row, dict)]
