"""How far a folder of scenarios is: a bar on a terminal, a line for each elsewhere."""

import sys
import time
from typing import Protocol, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Outcome(Protocol):
    """What is told of a scenario that is over."""

    @property
    def passed(self) -> bool: ...


class BatchProgress(Protocol):
    """Told of every scenario that is over."""

    def done(self, title: str, result: Outcome) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def choose_progress(count: int) -> BatchProgress:
    """A bar on a terminal, plain lines where there is none."""
    return _Bar(count) if sys.stdout.isatty() else _Lines(count)


class _Lines:
    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._begun = time.monotonic()

    def done(self, title: str, result: Outcome) -> None:
        self._done += 1
        state = "passed" if result.passed else "FAILED"
        print(  # noqa: T201 - this is the output
            f"{time.monotonic() - self._begun:6.1f}s  {self._done}/{self._count}  {state}  {title}",
            flush=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Bar:
    def __init__(self, count: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._progress.add_task("scenarios", total=count)

    def done(self, title: str, result: Outcome) -> None:
        state = "[green]passed[/]" if result.passed else "[bold red]FAILED[/]"
        self._progress.console.print(f"{state} {title}")
        self._progress.advance(self._task)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
