"""Reads the messages of a run back from the view, page by page, for a labelled data set."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from contracts.messages import MILLISECOND, Nanoseconds
from thingstorm.report.record import HopLatency

PAGE = 9_000
"""Below the view's bound for an answer, 10,000 rows."""

_HOPS_SQL = """
SELECT quantile_cont(up, 0.5) AS up50, quantile_cont(up, 0.95) AS up95,
       quantile_cont(down, 0.5) AS down50, quantile_cont(down, 0.95) AS down95
FROM (SELECT epoch_ms(received_at) - epoch_ms(device_time) AS up, epoch_ms(_ingest_time) - epoch_ms(received_at) AS down
      FROM telemetry WHERE received_at >= epoch_ms(CAST($since AS BIGINT)) AND device_time IS NOT NULL)
"""

Query = Callable[[str, Mapping[str, Any] | None], Awaitable[list[dict[str, Any]]]]

_SQL = f"""
SELECT message_id, epoch_ms(received_at) AS ts, device_id AS client_id, device_type, topic,
       CAST(payload AS VARCHAR) AS payload, payload_bytes AS size
FROM telemetry
WHERE received_at >= epoch_ms(CAST($since AS BIGINT)) AND (epoch_ms(received_at), message_id) > ($ts, $after)
ORDER BY received_at, message_id LIMIT {PAGE}
"""  # noqa: S608 - the only insertion is our own constant


async def hop_latencies(ask: Query, since: Nanoseconds) -> tuple[HopLatency, ...]:
    """From the device's clock to the gateway, and from there until a query could see it; nothing without messages."""
    (row,) = await ask(_HOPS_SQL, {"since": since // MILLISECOND})
    if row["up50"] is None:
        return ()
    return (
        HopLatency("device to gateway", round(row["up50"], 1), round(row["up95"], 1)),
        HopLatency("gateway to view", round(row["down50"], 1), round(row["down95"], 1)),
    )


async def messages_since(ask: Query, since: Nanoseconds) -> tuple[dict[str, Any], ...]:
    """Every message that the view holds from then on, in order."""
    rows: list[dict[str, Any]] = []
    place = {"since": since // MILLISECOND, "ts": 0, "after": ""}
    while page := await ask(_SQL, place):
        rows += page
        place |= {"ts": int(page[-1]["ts"]), "after": str(page[-1]["message_id"])}
        if len(page) < PAGE:
            break
    return tuple(rows)
