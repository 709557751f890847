"""From stored rows to the verdict: the view, named queries, the HTTP API, windows, features, detectors, response.

It reads what the tables' streams bring and decides what it means. No boto3 and no MQTT here: devices are
quarantined and people told through ports.
"""
