-- name: fleet_overview
-- version: 1
-- description: Devices by type: how many, connected, in quarantine, last seen.
SELECT coalesce(device_type, '') AS device_type,
       count(*) AS devices,
       count(*) FILTER (connected) AS connected,
       count(*) FILTER (quarantined) AS quarantined,
       max(last_seen) AS last_seen
FROM devices
GROUP BY 1
ORDER BY devices DESC, device_type
