"""One name for hot and cold: rows that left the collection `telemetry` by age are read from the archive's objects.

The schema `whole` holds a view of the collection's name over both. A moment divides them: the collection has what is
newer, the objects what is older. It moves in the transaction that deletes, so that no reader sees a row twice or not
at all; and it stands in the view as a literal, so that the plan of a statement about newer rows has no objects in it.
"""

import re
from datetime import datetime

import duckdb

from contracts.errors import ConfigError
from contracts.messages import Json

from .archive import Mirror
from .reading import gate

TIERED = "telemetry"
"""The collection whose messages the delivery stream archives, too."""

WHOLE = "SET search_path = 'whole,main'"
"""On a cursor: the names of collections mean both tiers."""

_NAMED = re.compile(rf"\b{TIERED}\b", re.IGNORECASE)
_EXPLAIN = re.compile(r"\s*explain\b", re.IGNORECASE)


class Tiers:
    """The division of the collection between the file and the mirror of the archive."""

    def __init__(self, mirror: Mirror, hot_seconds: float | None) -> None:
        self._mirror = mirror
        self.hot_seconds = hot_seconds
        self.divided = False

    def open(self, connection: duckdb.DuckDBPyConnection, before: datetime) -> None:
        """Divide as the file was, or at this moment if it was not and should be."""
        connection.execute("CREATE SCHEMA IF NOT EXISTS whole")
        row = connection.execute("SELECT before FROM _divided WHERE collection = ?", [TIERED]).fetchone()
        if row is not None or self.hot_seconds is not None:
            self.divide(connection, row[0] if row else before)

    def divide(self, connection: duckdb.DuckDBPyConnection, before: datetime) -> None:
        """What is older than this moment is read from the objects from now on."""
        connection.execute("INSERT OR REPLACE INTO _divided VALUES (?, ?)", [TIERED, before])
        connection.execute(f"CREATE OR REPLACE VIEW whole.{TIERED} AS {_both(self._mirror.files, before)}")
        self.divided = True

    def asked(self, sql: str) -> bool:
        """Whether a statement may be about rows of both tiers."""
        return self.divided and _NAMED.search(sql) is not None


def reads_objects(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Json]) -> bool:
    """Whether the plan of a statement, on a cursor with both tiers, has objects in it. Closes the cursor."""
    try:
        gate(cursor, sql)
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        asked = sql if _EXPLAIN.match(sql) else f"EXPLAIN {sql}"
        plan = "".join(str(row) for row in cursor.execute(asked, parameters or None).fetchall())
    except (duckdb.Error, ConfigError):
        return False  # whoever runs it says what is wrong
    finally:
        cursor.close()
    return "PARQUET" in plan.upper()


def _both(files: str, before: datetime) -> str:
    """The view: an object's record as the handler makes an item of it, once however often it was delivered.

    A row that came late is still in the collection until the next round of retention, and then in an object, too.
    """
    event = "printf('%013d', epoch_ms(received_at)) || '-' || message_id"
    cold = (
        f"SELECT {_part('device_id')} || '/' || {_part(event)} AS _id, device_id, {event} AS event_id, message_id, "  # noqa: S608 - the text is ours
        "device_type, topic, received_at, "
        "CASE WHEN json_type(payload, '$.ts') IN ('BIGINT', 'UBIGINT') AND abs(CAST(payload->>'$.ts' AS HUGEINT)) < 100000000000000 "
        "THEN epoch_ms(CAST(payload->>'$.ts' AS BIGINT)) END AS device_time, "
        "payload, strlen(payload::VARCHAR) AS payload_bytes, extra, NULL::HUGEINT AS _seq, NULL::TIMESTAMP AS _ingest_time "
        f"FROM (SELECT * REPLACE (payload::JSON AS payload, extra::JSON AS extra) FROM read_parquet('{files}')) "
        f"WHERE received_at < TIMESTAMP '{before}' AND device_id IS NOT NULL AND message_id IS NOT NULL "
        "QUALIFY row_number() OVER (PARTITION BY device_id, message_id, received_at) = 1"
    )
    late = f"SELECT _id FROM main.{TIERED} WHERE received_at < TIMESTAMP '{before}'"  # noqa: S608 - likewise
    return f"FROM main.{TIERED} UNION ALL BY NAME FROM ({cold}) c ANTI JOIN ({late}) h USING (_id)"


def _part(text: str) -> str:
    """A key's value within an `_id`, as `Collection.identity` writes it."""
    return f"replace(replace({text}, '~', '~0'), '/', '~1')"
