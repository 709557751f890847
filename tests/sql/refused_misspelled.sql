-- A column that is not there.
SELECT devise_id FROM telemetry
