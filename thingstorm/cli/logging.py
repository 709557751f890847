"""`--log-format`: sentences for a person, or lines of JSON for who collects logs."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Literal, Self, TypeAlias

import typer

from thingstorm.cli.display import Hop
from thingstorm.config import Config
from thingstorm.runtime.logs import JsonLog

LogFormat: TypeAlias = Annotated[
    Literal["text", "json"] | None,
    typer.Option("--log-format", help="json: a line of JSON each, on standard error."),
]


def telling(config: Config, *, stage: str) -> AbstractContextManager[JsonLog | None]:
    """The log of this process while the body runs; None where it speaks in sentences."""
    return JsonLog(config.logs, stage=stage) if config.logs.format == "json" else nullcontext()


class LogDisplay:
    """A display that writes what happens into the log; how the hops do is for `/metrics`."""

    def __init__(self, log: JsonLog) -> None:
        self._log = log

    def emit(self, event: str, facts: Mapping[str, Any]) -> None:
        self._log.emit(event, facts)

    def refresh(self, hops: Sequence[Hop]) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
