"""How devices reach a broker: one real MQTT client each, or callbacks in memory. Only here is paho known."""
