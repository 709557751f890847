"""The environment variables by which AWS clients find the stack, put back when the last stack is closed."""

import os
from collections.abc import Mapping

_DEFAULTS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
"""The emulator takes any credentials, and clients refuse to work without some."""


class Exported:
    """What open stacks export: the endpoint of the one opened last, and defaults where nothing is set.

    `AWS_REGION` and `AWS_DEFAULT_REGION` (which boto3 reads) and the credentials are left alone where they are set.
    """

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}
        self._open: dict[object, Mapping[str, str]] = {}

    def add(self, owner: object, *, endpoint: str, region: str) -> None:
        """Export the address of this stack."""
        defaults = {**_DEFAULTS, "AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        names = ["AWS_ENDPOINT_URL", *defaults]
        if not self._open:
            self._before = {name: os.environ.get(name) for name in names}
        unset = {name: value for name, value in defaults.items() if self._before[name] is None}
        self._open[owner] = {**unset, "AWS_ENDPOINT_URL": endpoint}
        self._show()

    def remove(self, owner: object) -> None:
        """Forget this stack: the one opened before it shows again, or what was set before all of them."""
        self._open.pop(owner, None)
        self._show()

    def _show(self) -> None:
        shown = next(reversed(self._open.values()), {})
        for name, before in self._before.items():
            value = shown.get(name, before)
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


EXPORTED = Exported()
"""The environment is the process's: all stacks of a process share it."""
