"""Load generators as child processes of a bench, on a core of their own."""

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from contracts.errors import BackendError

from .subjects import LOAD_CORE, pin

MAX_FILES = 20_000
"""More than the most connections of any case."""


def load(
    module: str, settings: Mapping[str, Any], *, what: str, limit_seconds: float, pinned: bool = True
) -> dict[str, float]:
    """Run a module with its settings as JSON; the figures that it prints. Raises BackendError."""
    with subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, "-m", module, json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as generator:
        if pinned:
            pin(generator.pid, LOAD_CORE)
        try:
            out, err = generator.communicate(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            generator.kill()
            out, err = generator.communicate()
    if generator.returncode:
        raise BackendError(
            f"{what}: {_last_words(err)}",
            fix="run it again; if it stays, leave the peers out or name other cases with --case",
        )
    return dict(json.loads(out))


def _last_words(errors: str) -> str:
    """The last line that says something: a group of exceptions ends with a frame of signs."""
    lines = (line.strip(" |+-") for line in reversed(errors.splitlines()))
    return next((line for line in lines if line), "the load generator ended")


def allow_many_files() -> None:
    """Raise this process's limit on open files as far as it may; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MAX_FILES)), hard))
