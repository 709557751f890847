-- A statement that writes is refused, and says how to mend it.
DELETE FROM telemetry
