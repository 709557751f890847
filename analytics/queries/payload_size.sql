-- name: payload_size
-- version: 1
-- description: Mean and largest payload per device in the last seconds, in bytes.
-- parameter: seconds INTEGER 60
SELECT device_id,
       round(sum(message_bytes_received) / sum(num_messages_received), 1) AS mean_bytes,
       max(message_byte_size_max) AS max_bytes
FROM device_metrics
WHERE device_id <> '$fleet' AND num_messages_received > 0
  AND period_start > now()::TIMESTAMP - to_seconds($seconds)
GROUP BY device_id
ORDER BY max_bytes DESC, device_id
