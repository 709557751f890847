-- name: traffic_per_window
-- version: 1
-- description: Messages, bytes and publishing devices per window, counted by the gateway.
-- parameter: seconds INTEGER 300
-- parameter: window INTEGER 5
SELECT time_bucket(to_seconds($window), period_start) AS window_start,
       sum(num_messages_received) AS messages,
       sum(message_bytes_received) AS bytes,
       count(DISTINCT device_id) AS devices
FROM device_metrics
WHERE device_id <> '$fleet' AND period_start > now()::TIMESTAMP - to_seconds($seconds)
GROUP BY window_start
ORDER BY window_start
