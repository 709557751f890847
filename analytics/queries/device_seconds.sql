-- name: device_seconds
-- version: 2
-- description: What each device did in each second since a moment: the query whose answers the model judges.
-- parameter: since_ms INTEGER 0
-- parameter: rows INTEGER 9000
SELECT device_id,
       epoch_ms(period_start) AS start_ms,
       num_devices,
       num_half_open,
       topics,
       shapes,
       readings,
       num_messages_received,
       message_bytes_received,
       message_byte_size_max,
       num_authorization_failures,
       num_authentication_failures,
       num_connects,
       num_disconnects,
       num_throttled,
       num_takeovers,
       num_foreign_takeovers,
       num_rejected,
       num_replayed
FROM device_metrics
WHERE period_start >= epoch_ms(CAST($since_ms AS BIGINT))
ORDER BY period_start, device_id
LIMIT $rows
