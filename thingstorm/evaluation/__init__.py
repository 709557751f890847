"""How good the model is: labelled scenarios played with many seeds, dumb baselines beside it, a gate for regressions.

Nothing here decides a verdict, and the runtime knows nothing of it.
"""
