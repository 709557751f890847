"""The page: where a security team sees, asks and acts. Static files, one websocket, and the HTTP API beside it."""
