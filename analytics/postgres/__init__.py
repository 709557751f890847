"""The view for clients of PostgreSQL: its wire protocol, version 3.0, on the statements that the view allows.

Messages in, messages out, and a catalogue that such clients ask for. No DuckDB here and no rule about what a
statement may do: the view decides that, for every door alike.
"""
