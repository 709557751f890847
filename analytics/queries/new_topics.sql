-- name: new_topics
-- version: 1
-- description: Topic patterns of the last seconds that no device of the type used before them.
-- parameter: seconds INTEGER 60
WITH used AS (
    SELECT device_id, split_part(topic, '/', 2) AS device_type, replace(topic, device_id, '{device}') AS pattern,
           period_start > now()::TIMESTAMP - to_seconds($seconds) AS recent
    FROM (SELECT device_id, period_start, unnest(topics) AS topic FROM device_metrics WHERE device_id <> '$fleet')
)
SELECT device_type, pattern, count(DISTINCT device_id) AS devices
FROM used
GROUP BY device_type, pattern
HAVING bool_and(recent)
ORDER BY devices DESC, pattern
