-- name: data_latency
-- version: 1
-- description: Device publish to ingest in the view, percentiles in milliseconds, for the last seconds.
-- parameter: seconds INTEGER 60
SELECT count(*) AS messages,
       round(quantile_cont(date_diff('millisecond', device_time, _ingest_time), 0.5)) AS p50_ms,
       round(quantile_cont(date_diff('millisecond', device_time, _ingest_time), 0.95)) AS p95_ms,
       max(date_diff('millisecond', device_time, _ingest_time)) AS max_ms
FROM telemetry
WHERE received_at > now()::TIMESTAMP - to_seconds($seconds)
