"""Who acts in this request, where the one who asked has logged in by name."""

from contextvars import ContextVar

ACTING: ContextVar[str] = ContextVar("acting", default="")
"""Set where a request comes in; what it says of itself in its body (`by`) counts only while this is empty."""
