"""The application: it composes the stages, runs them and shows what they do.

Only this package knows the other five. It holds configuration, the stack (which concrete class stands behind
each port), the supervisor, the command line and the reports. It does no stage's work: no MQTT, no SQL rules, no
AWS calls, no features.
"""

from importlib.metadata import version

__version__ = version("thingstorm")
