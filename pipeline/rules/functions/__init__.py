"""The functions of IoT SQL, by lower-case name. One file a subject; `base` registers; none raises."""

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
