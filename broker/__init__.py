"""The device gateway: a stand-in for AWS IoT Core.

`gateway.py` is a sans-I/O core that decides about connects, publishes and subscriptions and counts them;
`embedded.py` puts it behind amqtt's listeners. No rule is evaluated here, no AWS service is called, and nothing
is known of what the devices simulate.
"""
