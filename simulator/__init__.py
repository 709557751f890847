"""The fleet: scenario files, one real MQTT client a device, behaviours benign and hostile, ground truth.

It knows what a device does and nothing of what the broker, the rules or the model think of it.
"""
