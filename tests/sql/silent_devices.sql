-- Devices of the registry that never sent: an anti join.
SELECT d.device_id, d.connected FROM devices d ANTI JOIN telemetry t USING (device_id) ORDER BY 1
