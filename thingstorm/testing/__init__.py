"""For tests of other people's rules, handlers and devices: the stack as a plain, blocking context manager."""

from thingstorm.testing.stack import Stack

__all__ = ["Stack"]
