-- What stands in the JSON of a payload, and what does not.
SELECT device_id, payload->>'$.t' AS t, (payload->>'$.t')::DOUBLE > 20.5 AS warm, payload->>'$.none' AS none
FROM telemetry
ORDER BY received_at, _id
LIMIT 4
