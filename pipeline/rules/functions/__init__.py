"""The functions of IoT SQL, by lower-case name. One file a subject; `base` registers; none raises.

What a function may not do is undefined, not an error. Those that ask a service do so by the evaluation's services,
never by a client of their own.
"""

from . import encoding, external, message, numeric, objects, text, times
from .base import FUNCTIONS, UNAVAILABLE, Function, find

__all__ = [
    "FUNCTIONS",
    "UNAVAILABLE",
    "Function",
    "encoding",
    "external",
    "find",
    "message",
    "numeric",
    "objects",
    "text",
    "times",
]
