"""IoT rules: the SQL language (parse, compile, evaluate), the rules themselves and where they come from.

Pure apart from `sources.py`, which polls the control plane; what a rule does with its result is in `actions`.
"""
