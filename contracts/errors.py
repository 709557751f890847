"""The one tree of errors.

    ThingstormError
    |-- ConfigError            the file, flag or rule is wrong                  exit 2
    |   |-- UnknownName        no backend, behaviour, ... of that name: lists the known ones
    |   |-- BadScenario        scenario file, with file and line
    |   `-- BadRule            IoT SQL, with line and column
    |-- BackendError           a service behind a port failed                   exit 3
    |   |-- BackendMissing     a package is not installed: says the command
    |   |-- Transient          try again (after `retry_after` seconds)
    |   `-- Terminal           never works: to the dead-letter queue
    |       `-- Misconfigured  not as things are: credentials, permissions, a resource that is missing; the item is right
    |-- NotReady               asked before it was ready, or after it stopped   exit 3
    `-- ExpectationFailed      a scenario did not turn out as expected          exit 1

Every error says what happened (`str(error)`) and how to mend it (`error.fix`). Foreign exceptions are turned
into these at the edge, once.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class ThingstormError(Exception):
    """Base of all errors that a user may see; the command line prints `what` and `fix`."""

    exit_code = 3

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, also out of a process that played for us: its own way to make one asks for arguments by name."""
        return _revived, (type(self), self.args, self.__dict__)

    @property
    def told(self) -> str:
        """What happened and how to mend it, as a service's health tells it."""
        return f"{self.what}; fix: {self.fix}"


def _revived(kind: type[ThingstormError], args: tuple[Any, ...], held: dict[str, Any]) -> ThingstormError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(held)
    return error


class ConfigError(ThingstormError):
    """The configuration, a scenario or a rule is wrong; nothing was started."""

    exit_code = 2


class UnknownName(ConfigError):
    """There is no `kind` named `name`; the fix names the nearest known one and lists them."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        fix = f"{hint}known: {', '.join(names)}" if names else "there is none"
        super().__init__(f"unknown {kind} '{name}'", fix=fix)
        self.name = name


class BadScenario(ConfigError):
    """A scenario file is wrong at `file:line`."""

    def __init__(self, what: str, *, file: str, line: int, fix: str) -> None:
        super().__init__(f"{file}:{line}: {what}", fix=fix)
        self.file = file
        self.line = line


class BadRule(ConfigError):
    """An IoT SQL statement is wrong at `line` and `column` (both from 1)."""

    def __init__(self, what: str, *, line: int, column: int, fix: str) -> None:
        super().__init__(f"{what} at line {line}, column {column}", fix=fix)
        self.line = line
        self.column = column


class BackendError(ThingstormError):
    """A service behind a port failed."""


class BackendMissing(BackendError):
    """The package a backend needs is not installed."""

    def __init__(self, backend: str, *, package: str, extra: str = "") -> None:
        super().__init__(
            f"backend '{backend}' needs the package {package}",
            fix=f"install it with: pip install '{f'thingstorm[{extra}]' if extra else package}'",
        )


class Transient(BackendError):
    """It may work when tried again, after `retry_after` seconds at the earliest."""

    def __init__(self, what: str, *, fix: str, retry_after: float = 0.0) -> None:
        super().__init__(what, fix=fix)
        self.retry_after = retry_after


class Terminal(BackendError):
    """Trying again cannot help: the item belongs in the dead-letter queue."""


class Misconfigured(Terminal):
    """The service knows not who asks, or not the resource: a person must mend that. What was to be sent is right."""


class NotReady(ThingstormError):
    """A part was asked before it was ready or after it had stopped."""


class ExpectationFailed(ThingstormError):
    """A scenario ran, and something it expected did not happen."""

    exit_code = 1
