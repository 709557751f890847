"""How devices reach a broker: one real MQTT client each, bare sockets for floods, or callbacks in memory.

Only here does the fleet know paho. What a device says and when is decided elsewhere; here it is carried.
"""
