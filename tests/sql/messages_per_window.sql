-- Windows of ten seconds of what devices sent: the example of the README, at times that stand still.
SELECT time_bucket(INTERVAL 10 SECOND, received_at) AS window_start, device_id, count(*) AS messages, sum(payload_bytes) AS bytes
FROM telemetry
GROUP BY ALL
ORDER BY ALL
