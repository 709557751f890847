"""Dynamic partitioning: taking records apart, and the keys by which they are laid down.

Amazon Data Firehose reads keys with jq 1.6 (`MetadataExtractionQuery`); so does this, by the package jq (1.7 and later:
the same language), which is an extra. JMESPath, which boto3 brings along, is ours: engine `JMESPath`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError

from contracts.errors import BackendMissing, ConfigError, UnknownName

from .records import PROCESSING_FAILED, Failure, Record

ENGINES: Final = ("JQ-1.6", "JMESPath")
MAX_PIECES: Final = 500
"""Records that one record may hold when it is taken apart (developer guide, dynamic partitioning of aggregated data)."""

MAX_PARTITIONS: Final = 500
"""Active partitions of a delivery stream (quotas); records of further ones go to the error prefix."""

Query = Callable[[Any], Any]
"""A parsed record in, its partition keys by name out."""


def query(text: str, *, engine: str) -> Query:
    """Compile a metadata extraction query. Raises ConfigError, UnknownName, BackendMissing."""
    if engine == "JMESPath":
        try:
            compiled = jmespath.compile(text)
        except JMESPathError as error:
            raise _wrong(text, error) from None
        search: Query = compiled.search
        return search
    if engine != "JQ-1.6":
        raise UnknownName("JsonParsingEngine", engine, ENGINES)
    return _jq(text)


def _jq(text: str) -> Query:
    try:
        import jq  # noqa: PLC0415 - an extra: only dynamic partitioning needs it
    except ImportError:
        raise BackendMissing("JQ-1.6", package="jq", extra="partitioning") from None
    try:
        program = jq.compile(text)
    except ValueError as error:
        raise _wrong(text, error) from None
    return lambda document: program.input_value(document).first()


def _wrong(text: str, error: Exception) -> ConfigError:
    reason = str(error).strip().splitlines()[0]
    return ConfigError(
        f"MetadataExtractionQuery '{text}': {reason}", fix="it makes an object, such as {device: .device_id}"
    )


def split(
    records: Sequence[Record], *, kind: str, delimiter: bytes = b"\n"
) -> tuple[list[Record], list[Failure]]:
    """Multi-record deaggregation: `JSON` (objects in a row) or `DELIMITED`."""
    whole: list[Record] = []
    failures: list[Failure] = []
    for record in records:
        try:
            pieces = _objects(record.data) if kind == "JSON" else _delimited(record.data, delimiter)
        except (ValueError, RecursionError) as error:
            failures.append(_failed(record, "DynamicPartitioning.MultiRecordDeaggregationFailed", str(error)))
            continue
        whole += [record.holding(piece) for piece in pieces]
    return whole, failures


def _objects(data: bytes) -> list[bytes]:
    text, decoder, place, found = data.decode(), json.JSONDecoder(), 0, []
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        _, end = decoder.raw_decode(text, place)
        found.append(text[place:end].encode())
        place = end
    return _few(found)


def _delimited(data: bytes, delimiter: bytes) -> list[bytes]:
    return _few([piece for piece in data.split(delimiter) if piece])


def _few(pieces: list[bytes]) -> list[bytes]:
    if len(pieces) > MAX_PIECES:
        raise ValueError(f"{len(pieces)} records in one, at most {MAX_PIECES}")
    return pieces


def keyed(
    records: Sequence[Record], *, extract: Query | None, query_keys: set[str], lambda_keys: set[str]
) -> tuple[list[Record], list[Failure]]:
    """Every record with the keys that the prefix asks for; what lacks one, fails."""
    done: list[Record] = []
    failures: list[Failure] = []
    for record in records:
        try:
            keys = _keys(extract(json.loads(record.data)), query_keys) if extract else {}
            _texts(record.lambda_keys, lambda_keys)
        except (ValueError, RecursionError, JMESPathError, StopIteration) as error:
            failures.append(_failed(record, "DynamicPartitioning.MetadataExtractionFailed", str(error)))
            continue
        done.append(Record(record.arrived, record.data, record.lambda_keys, keys))
    return done, failures


def _keys(found: Any, wanted: set[str]) -> dict[str, str]:
    if not isinstance(found, Mapping):
        raise ValueError("the query gives no object")  # noqa: TRY004 - the record is wrong, not a type of ours
    return _texts(found, wanted)


def _texts(found: Mapping[str, Any], wanted: set[str]) -> dict[str, str]:
    texts = {name: _text(found.get(name)) for name in wanted}
    if missing := sorted(name for name, text in texts.items() if not text):
        raise ValueError(f"partition keys null or empty: {', '.join(missing)}")
    for text in texts.values():
        text.encode()  # a lone surrogate, which no object's key can have: UnicodeEncodeError is a ValueError
    return texts


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, separators=(",", ":"))


def _failed(record: Record, code: str, message: str) -> Failure:
    return Failure(record, PROCESSING_FAILED, code, message)
