"""An incident, told in SQL: what was said of it, which devices, how they differ from their peers, what was done.

pip install "psycopg[binary]"
python explore.py                      # the newest incident of the stack on this machine
python explore.py --incident ID --dsn "host=127.0.0.1 port=5433 password=TOKEN"
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import psycopg

FIND = """
SELECT incident_id, kind, opened_at, closed_at, summary FROM incidents
WHERE %s = '' OR incident_id = %s ORDER BY opened_at DESC LIMIT 1
"""

QUESTIONS = {
    "What was said, second by second": """
        SELECT v.window_end, v.kind, round(v.confidence, 2) AS confidence, round(v.uptick, 2) AS uptick, len(v.devices) AS devices
        FROM verdicts v, incidents i
        WHERE i.incident_id = %(id)s AND v.window_end BETWEEN i.opened_at - to_seconds(5) AND i.updated_at
        ORDER BY v.window_end LIMIT 30
    """,
    "Its devices, beside all others of their type": """
        SELECT m.device_id, d.device_type, sum(m.num_messages_received) AS messages, sum(m.message_bytes_received) AS bytes,
               round(sum(m.num_messages_received) / nullif(avg(p.usual), 0), 1) AS times_the_others
        FROM device_metrics m
        JOIN incidents i ON i.incident_id = %(id)s
        JOIN devices d ON d.device_id = m.device_id
        JOIN (
            SELECT o.device_type, sum(n.num_messages_received) / count(DISTINCT n.device_id) AS usual
            FROM device_metrics n JOIN devices o ON o.device_id = n.device_id JOIN incidents j ON j.incident_id = %(id)s
            WHERE NOT list_contains(j.devices, n.device_id) AND n.period_start BETWEEN j.opened_at - to_seconds(10) AND j.updated_at
            GROUP BY o.device_type
        ) p ON p.device_type = d.device_type
        WHERE list_contains(i.devices, m.device_id) AND m.period_start BETWEEN i.opened_at - to_seconds(10) AND i.updated_at
        GROUP BY m.device_id, d.device_type ORDER BY messages DESC LIMIT 20
    """,
    "Where they wrote to": """
        SELECT t.topic, count(*) AS messages, count(DISTINCT t.device_id) AS devices, max(t.payload_bytes) AS largest
        FROM telemetry t JOIN incidents i ON i.incident_id = %(id)s
        WHERE list_contains(i.devices, t.device_id) AND t.received_at BETWEEN i.opened_at - to_seconds(10) AND i.updated_at
        GROUP BY t.topic ORDER BY messages DESC LIMIT 10
    """,
    "What was done": """
        SELECT acted_at, who, action, target, outcome, ends_at FROM actions
        WHERE incident_id = %(id)s ORDER BY acted_at LIMIT 50
    """,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="An incident, told in SQL.")
    parser.add_argument("--incident", default="", help="its id; without one the newest")
    parser.add_argument("--dsn", default="host=127.0.0.1 port=5433 user=me dbname=thingstorm")
    given = parser.parse_args(arguments)
    with psycopg.connect(given.dsn, autocommit=True) as connection:
        found = connection.execute(FIND, (given.incident, given.incident)).fetchone()
        if found is None:
            print("no such incident: play one with `thingstorm demo` or scenarios/hostile", file=sys.stderr)
            return 1
        identifier, kind, opened, closed, summary = found
        print(
            f"{kind} {identifier}\nopened {opened}, {'goes on' if closed is None else f'closed {closed}'}\n{summary}"
        )
        for title, sql in QUESTIONS.items():
            answer = connection.execute(sql, {"id": identifier})
            show(title, [column.name for column in answer.description or ()], answer.fetchall())
    return 0


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table that fits its columns."""
    lines = [list(columns), *([str(value) for value in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    print(f"\n{title}")
    for line in lines:
        print("  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    if not rows:
        print("  nothing")


if __name__ == "__main__":
    sys.exit(main())
