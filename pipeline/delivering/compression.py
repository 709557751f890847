"""Compression of objects, and back: by pyarrow's codecs, which the default install has, and the standard library."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from contracts.errors import BackendMissing, ConfigError

HADOOP_BLOCK: Final = 256 * 1024
"""Bytes of one block before compression: the buffer of Hadoop's SnappyCodec by default."""

_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Compression:
    """One format: the extension that Firehose gives it, how to make it and how to read it."""

    extension: str
    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]


def _hadoop_snappy(body: bytes) -> bytes:
    """Hadoop's BlockCompressorStream: for each block its length, then length and bytes of its one compressed chunk."""
    out = bytearray()
    for first in range(0, len(body), HADOOP_BLOCK):
        block = body[first : first + HADOOP_BLOCK]
        packed = pa.compress(block, codec="snappy", asbytes=True)
        out += _LENGTH.pack(len(block)) + _LENGTH.pack(len(packed)) + packed
    return bytes(out)


def _hadoop_unsnappy(body: bytes) -> bytes:
    out, place = bytearray(), 0
    while place < len(body):
        (length,) = _LENGTH.unpack_from(body, place)
        place += _LENGTH.size
        want = len(out) + length
        while len(out) < want:
            (packed,) = _LENGTH.unpack_from(body, place)
            place += _LENGTH.size
            chunk = body[place : place + packed]
            raw = _raw_length(chunk)
            if raw > want - len(out):  # so much memory would be taken before the codec looks at the chunk
                raise ValueError("a chunk is larger than its block")
            out += pa.decompress(chunk, decompressed_size=raw, codec="snappy", asbytes=True)
            place += packed
    return bytes(out)


def _raw_length(chunk: bytes) -> int:
    """A snappy chunk begins with its length before compression: a little-endian base-128 number of at most 32 bits."""
    length = 0
    for index, byte in enumerate(chunk[:5]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            break
    return length


def _cramjam() -> Any:
    try:
        import cramjam  # noqa: PLC0415 - an extra: only this format needs it
    except ImportError:
        raise BackendMissing("Snappy", package="cramjam", extra="snappy") from None
    return cramjam


def _zip(body: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("records", body)
    return out.getvalue()


def _unzip(body: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def _zstd(body: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(body)
    return bytes(out.getvalue())


def _unzstd(body: bytes) -> bytes:
    with pa.CompressedInputStream(io.BytesIO(body), "zstd") as stream:
        return bytes(stream.read())


COMPRESSIONS: Final[Mapping[str, Compression]] = {
    "UNCOMPRESSED": Compression("", bytes, bytes),
    "GZIP": Compression(".gz", lambda body: gzip.compress(body, compresslevel=6, mtime=0), gzip.decompress),
    "ZIP": Compression(".zip", _zip, _unzip),
    "Snappy": Compression(
        ".snappy",
        lambda body: bytes(_cramjam().snappy.compress(body)),
        lambda body: bytes(_cramjam().snappy.decompress(body)),
    ),
    "HADOOP_SNAPPY": Compression(".hsnappy", _hadoop_snappy, _hadoop_unsnappy),
    "ZSTD": Compression(".zst", _zstd, _unzstd),
}
"""The formats of `CompressionFormat`. ZSTD is ours: Amazon Data Firehose does not have it."""


def unpack(key: str, body: bytes) -> bytes:
    """The records of an object as they were before compression, by the last extension of its key.

    Raises ConfigError for bytes that are not what the extension says.
    """
    for name, one in COMPRESSIONS.items():
        if one.extension and key.endswith(one.extension):
            try:
                return one.unpack(body)
            except BackendMissing:
                raise
            except Exception as error:  # noqa: BLE001 - each codec raises errors of its own about foreign bytes
                raise ConfigError(
                    f"object {key} is no {name}: {error}", fix="remove it, or give it the right extension"
                ) from None
    return body
