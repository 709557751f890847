"""The indexed, mutable SQL view: collections that follow the tables. Only here is DuckDB known.

It holds storage, applying changes exactly once, and guarded queries; no features, no verdicts, no HTTP.
"""
