"""For tests of other people's rules, handlers and devices: the stack as a plain, blocking context manager.

What is here is a promise to strangers: it changes with a line in the changelog. The tests of thingstorm itself have
helpers of their own, in `tests/`.
"""

from thingstorm.testing.stack import Stack

__all__ = ["Stack"]
