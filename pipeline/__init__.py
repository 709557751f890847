"""From the gateway's messages to stored rows: IoT rules and actions, the AWS services, the Lambda handler.

Everything that talks to AWS (or to the emulator that stands in for it) lives here, through boto3. No MQTT, and
nothing of the view or the model: rows leave as changes.
"""
