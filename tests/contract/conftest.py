"""Suites that every implementation of a port must pass, on the real services behind them."""

from emulator import endpoint

__all__ = ["endpoint"]
