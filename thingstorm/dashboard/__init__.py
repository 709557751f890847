"""The page: where a security team sees, asks and acts. Static files, one websocket, and the HTTP API beside it.

It shows what view and model say and sends what people decide through the API; it judges nothing itself, and keeps
nothing but its login.
"""
