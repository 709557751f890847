-- The longest pause of each device, by a window function.
SELECT device_id, max(pause) AS longest_ms
FROM (
    SELECT device_id, date_diff('millisecond', lag(received_at) OVER (PARTITION BY device_id ORDER BY received_at), received_at) AS pause
    FROM telemetry
)
GROUP BY device_id
ORDER BY device_id
