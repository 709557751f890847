"""Measured figures, with peers beside them in the same run. Each bench has a file of its own.

Every speed that the documents claim and `thingstorm bench` can give comes from here. No limit and no test: what is
slow is told, and fails nothing.
"""
