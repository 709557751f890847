"""The language of the house: what flows between the stages, the ports they offer, errors, clock, registry.

Everything here is a type, a port or a tiny mechanism that several stages share. Nothing here does a stage's
work, opens a socket or a file, or imports anything else of ours.
"""
