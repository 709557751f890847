-- name: connects_per_device
-- version: 1
-- description: Connection attempts, connects and disconnects per device in the last seconds.
-- parameter: seconds INTEGER 300
SELECT device_id,
       sum(num_connection_attempts) AS attempts,
       sum(num_connects) AS connects,
       sum(num_disconnects) AS disconnects
FROM device_metrics
WHERE device_id <> '$fleet' AND period_start > now()::TIMESTAMP - to_seconds($seconds)
GROUP BY device_id
HAVING attempts > 0 OR disconnects > 0
ORDER BY attempts DESC, device_id
