"""Running the house: the stack (what stands behind each port), the supervisor (start, drain, stop), the ledger.

No stage's work is done here, and nothing is printed.
"""
