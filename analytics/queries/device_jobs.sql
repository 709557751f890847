-- name: device_jobs
-- version: 1
-- description: Retained jobs that the platform sent to devices or took back since a moment: announced changes.
-- parameter: since_ms INTEGER 0
SELECT device_id, coalesce(CAST(job AS VARCHAR), '') AS job, epoch_ms(job_at) AS job_at_ms
FROM devices
WHERE job_at >= epoch_ms(CAST($since_ms AS BIGINT))
ORDER BY job_at, device_id
LIMIT 9000
