-- name: auth_failures_per_device
-- version: 1
-- description: Refused logins and denied requests per device in the last seconds.
-- parameter: seconds INTEGER 300
SELECT device_id,
       sum(num_authentication_failures) AS authentication_failures,
       sum(num_authorization_failures) AS authorization_failures
FROM device_metrics
WHERE device_id <> '$fleet' AND period_start > now()::TIMESTAMP - to_seconds($seconds)
GROUP BY device_id
HAVING authentication_failures > 0 OR authorization_failures > 0
ORDER BY authentication_failures + authorization_failures DESC, device_id
