"""IoT rules: the SQL language (parse, compile, evaluate), the rules themselves, and where they come from.

Pure apart from `sources.py`, which polls the control plane. What is done with a result does not belong here but in
`pipeline.actions`, which builds on this package; `specs.py` knows the names of the actions and no more.
"""
