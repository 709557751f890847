"""The application: it composes the stages, runs them and shows what they do.

Only this package knows the other five. It holds configuration, the stack (which concrete class stands behind
each port), the supervisor, the command line and the reports. It does no stage's work: no MQTT, no SQL rules, no
AWS calls, no features.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thingstorm.testing import Stack

__all__ = ["Stack", "__version__"]

__version__ = version("thingstorm")


def __getattr__(name: str) -> Any:
    """`thingstorm.Stack` is imported when it is asked for: it brings every stage with it."""
    if name == "Stack":
        from thingstorm.testing import Stack  # noqa: PLC0415 - see above

        return Stack
    raise AttributeError(f"module 'thingstorm' has no attribute '{name}'")
