"""Measured figures, with peers beside them in the same run. Each bench has a file of its own."""
