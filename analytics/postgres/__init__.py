"""The view for clients of PostgreSQL: its wire protocol, version 3.0, on the statements that the view allows."""
