-- name: top_talkers
-- version: 1
-- description: Devices with the most messages in the last seconds, with their share of the fleet's.
-- parameter: seconds INTEGER 60
-- parameter: top INTEGER 10
SELECT device_id,
       sum(num_messages_received) AS messages,
       round(100.0 * sum(num_messages_received) / sum(sum(num_messages_received)) OVER (), 1) AS percent
FROM device_metrics
WHERE device_id <> '$fleet' AND period_start > now()::TIMESTAMP - to_seconds($seconds)
GROUP BY device_id
ORDER BY messages DESC, device_id
LIMIT $top
