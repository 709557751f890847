"""Statements that somebody unfriendly would send: files, network, settings, writes, and bombs of memory and time."""

from itertools import product

_FILES = (
    "/etc/passwd",
    "/proc/self/environ",
    "s3://bucket/key.parquet",
    "http://127.0.0.1:9/x.csv",
    "*.parquet",
)
_READERS = (
    "read_text", "read_blob", "read_csv", "read_csv_auto", "read_parquet", "parquet_scan", "parquet_metadata",
    "parquet_schema", "read_json", "read_json_auto", "read_ndjson", "read_json_objects", "glob", "sniff_csv",
)  # fmt: skip
_WRITES = (
    "INSERT INTO telemetry (_id) VALUES ('evil')",
    "UPDATE telemetry SET topic = 'evil'",
    "DELETE FROM telemetry",
    "TRUNCATE telemetry",
    "DROP TABLE telemetry",
    "ALTER TABLE telemetry ADD COLUMN evil INTEGER",
    "CREATE TABLE evil AS SELECT 1",
    "CREATE TEMP TABLE evil (x INTEGER)",
    "CREATE VIEW evil AS SELECT 1",
    "CREATE MACRO evil() AS 1",
    "CREATE SCHEMA evil",
    "CREATE SEQUENCE evil",
    "CREATE INDEX evil ON telemetry (topic)",
    "CREATE TYPE evil AS ENUM ('a')",
    "COPY telemetry TO '/tmp/evil.csv'",
    "COPY telemetry FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/evil'",
    "IMPORT DATABASE '/tmp/evil'",
    "ATTACH '/tmp/evil.db'",
    "ATTACH ':memory:' AS evil",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET memory_limit",
    "PRAGMA memory_limit = '100GB'",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "PREPARE evil AS DELETE FROM telemetry",
    "EXECUTE evil",
    "DEALLOCATE evil",
    "CREATE SECRET evil (TYPE s3)",
    "COMMENT ON TABLE telemetry IS 'evil'",
    "MERGE INTO telemetry USING devices ON false WHEN NOT MATCHED THEN INSERT DEFAULT VALUES",
    "CREATE OR REPLACE TABLE telemetry AS SELECT 1",
)
_SIZES = ("500000000", "1000000000", "2000000000", "500000000 + length(topic)")
_VALUES = (
    "len(range({n}))",
    "len(generate_series(1, {n}))",
    "length(repeat('x', {n}))",
    "length(lpad('x', ({n})::INTEGER, 'y'))",
    "length(rpad('x', ({n})::INTEGER, 'y'))",
    "len(list_resize([1], {n}))",
    "len(repeat([1, 2], {n}))",
    "length(bitstring('1', ({n})::INTEGER))",
    "length(bar(1, 0, 1, {n}))",
    "len([x for x in range({n})])",
    "len(list_transform(range({n}), lambda x: x + 1))",
    "length(array_to_string(range({n}), ','))",
    "list_sum(range({n}))",
    "length(to_json(range({n}))::VARCHAR)",
    "upper(repeat('x', {n}))",
    "len(list_sort(range({n})))",
    "len(flatten([range({n}), range({n})]))",
    "len(array_agg(topic) || range({n}))",
    "len(string_split(repeat('a,', {n}), ','))",
    "length(printf('%{n}d', 1))",
    "length(format('{{:{n}d}}', 1))",
    "length(replace(repeat('x', 100000), 'x', repeat('y', 100000)))",
)
_TIME = (
    "SELECT count(*) FROM range(100000000) a, range(100000000) b",
    "SELECT sum(a.range * b.range) FROM range(1000000) a CROSS JOIN range(1000000) b",
    "SELECT count(*) FROM telemetry a, telemetry b, telemetry c, telemetry d, telemetry e",
    "SELECT count(*) FROM telemetry a JOIN telemetry b ON a._id < b._id JOIN telemetry c ON true, telemetry d, telemetry e",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) SELECT * FROM t",
    "WITH RECURSIVE t(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM t) SELECT max(length(s)) FROM t",
    "WITH RECURSIVE t(l) AS (SELECT [1] UNION ALL SELECT l || l FROM t) SELECT max(len(l)) FROM t",
    "SELECT list(i) FROM range(500000000) t(i)",
    "SELECT string_agg(i::VARCHAR, ',') FROM range(500000000) t(i)",
    "SELECT histogram(i) FROM range(500000000) t(i)",
    "SELECT count(DISTINCT i) FROM range(2000000000) t(i)",
    "SELECT i, count(*) FROM range(1000000000) t(i) GROUP BY i ORDER BY 2 LIMIT 1",
    "SELECT i FROM range(1000000000) t(i) ORDER BY hash(i) LIMIT 1 OFFSET 900000000",
    "SELECT unnest(range(1000000000))",
    "SELECT count(*) FROM (SELECT unnest(range(100000)) FROM range(1000000))",
    "SELECT sum(x) OVER (ORDER BY x ROWS BETWEEN 500000 PRECEDING AND 500000 FOLLOWING) FROM range(50000000) t(x)",
    "SELECT * FROM range(100000000)",
    "SELECT regexp_replace(repeat('a', 1000000), 'a', repeat('b', 1000000), 'g')",
    "SELECT max(length(a.payload || b.payload)) FROM telemetry a, telemetry b, range(10000000)",
    "EXPLAIN SELECT len(range(500000000))",
    "EXPLAIN ANALYZE SELECT count(*) FROM range(100000000) a, range(100000000) b",
    "SELECT count(*) FROM telemetry GROUP BY CUBE (_id, topic, device_id, payload, received_at, message_id, 1, 2)",
    "SUMMARIZE SELECT * FROM range(1000000000)",
    "SELECT query FROM query('SELECT len(range(500000000))')",
    "SELECT * FROM query_table('/etc/passwd')",
)
_SETTINGS = (
    "getenv('HOME')", "current_setting('no_such_setting')", "nextval('evil')", "write_log('evil')",
    "load_aws_credentials()", "pg_read_file('/etc/passwd')", "sleep(100)", "pg_sleep(100)", "system('id')",
)  # fmt: skip


def _doubled(levels: int) -> str:
    text = "SELECT 'xxxxxxxx' AS s"
    for _ in range(levels):
        text = f"SELECT s || s AS s FROM ({text})"
    return f"SELECT length(s) FROM ({text})"


REFUSED = (
    *(f"SELECT * FROM {reader}('{file}')" for reader, file in product(_READERS, _FILES)),
    *(f"SELECT * FROM '{file}'" for file in (*_FILES, "/tmp/evil.json", "evil.csv.gz")),
    *_WRITES,
    *(f"SELECT 1; {write}" for write in _WRITES),
    *(f"{write}; SELECT 1" for write in _WRITES[:20]),
    *(f"WITH evil AS ({write} RETURNING *) SELECT * FROM evil" for write in _WRITES[:3]),
    *(f"EXPLAIN ANALYZE {write}" for write in _WRITES[:3]),
    *(f"SELECT {value}" for value in _SETTINGS),
    "SELECT 1" + " " * 1_000_000,
    "SELECT '" + "x" * 1_000_000 + "'",
    "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "SELECT " + "1+" * 30_000 + "1",
    "",
    ";",
    "--",
    "SELECT",
    "\x00",
)
"""Each gets a clear error, at once."""

BOMBS = (
    *(f"SELECT {value.format(n=size)} FROM telemetry" for value, size in product(_VALUES, _SIZES)),
    *(f"SELECT {value.format(n='500000000')}" for value in _VALUES),
    *_TIME,
    *(_doubled(levels) for levels in (20, 30, 60)),
)
"""Each is for the process of its own: run beside the writer it could take everything."""

ENDURED = frozenset(
    {
        "EXPLAIN SELECT len(range(500000000))",
        _doubled(20),
        "SELECT length(bitstring('1', (1000000000)::INTEGER)) FROM telemetry",
        "SELECT length(bitstring('1', (500000000)::INTEGER)) FROM telemetry",
        "SELECT length(bitstring('1', (500000000)::INTEGER))",
        *(
            f"SELECT length({padded}){source}"
            for padded in ("printf('%500000000d', 1)", "format('{:500000000d}', 1)")
            for source in ("", " FROM telemetry")
        ),
    }
)
"""Bombs that a fast machine answers within the limits of the process: a plan of which nothing runs, 8 MB of text, 125 MB of bits, 500 MB."""
