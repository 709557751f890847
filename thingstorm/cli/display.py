"""Shows a run while it happens: a live panel on a terminal, plain lines elsewhere.

Both are fed by the same two things: `emit(event, facts)`, called by the stages when something happens, and
`hops()`, asked twice a second.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from thingstorm.report.sentences import describe

LINES = 12
"""How many of the last story lines the live panel shows: with the table of hops it fits 24 rows."""

PLAIN_SECONDS = 5.0
"""Without a terminal, a line about the hops this often: some fifteen in a demo."""

_STYLES = {"attack": "bold red", "benign_uptick": "bold blue", "undecided": "yellow", "error": "bold red"}

Hop = tuple[str, int, str]
"""A hop of the path: its name, messages so far, and a remark (depth, rate)."""


class Display(Protocol):
    """Where the story goes."""

    def emit(self, event: str, facts: Mapping[str, Any]) -> None: ...

    def refresh(self, hops: Sequence[Hop]) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def choose_display() -> Display:
    """Live on a terminal, plain lines where there is none."""
    return LiveDisplay() if sys.stdout.isatty() else PlainDisplay()


class PlainDisplay:
    """One line an event, one line about the hops now and then; flushed, for logs and CI."""

    def __init__(self, *, write: Callable[[str], Any] | None = None) -> None:
        self._write = write or (lambda line: print(line, flush=True))  # noqa: T201 - this is the output
        self._begun = time.monotonic()
        self._next = 0.0

    def emit(self, event: str, facts: Mapping[str, Any]) -> None:
        if line := describe(event, facts):
            self._write(f"{self._seconds():6.1f}s  {line}")

    def refresh(self, hops: Sequence[Hop]) -> None:
        if self._seconds() >= self._next:
            self._next = self._seconds() + PLAIN_SECONDS
            self._write(
                f"{self._seconds():6.1f}s  " + "  ".join(f"{name} {count}" for name, count, _ in hops)
            )

    def _seconds(self) -> float:
        return time.monotonic() - self._begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveDisplay:
    """A Rich panel: every hop with its count, and the last lines of the story."""

    def __init__(self, *, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._lines: deque[Text] = deque(maxlen=LINES)
        self._begun = time.monotonic()
        self._before: dict[str, int] = {}
        self._at = self._begun
        self._rates: dict[str, float] = {}

    def emit(self, event: str, facts: Mapping[str, Any]) -> None:
        if line := describe(event, facts):
            style = _STYLES.get(str(facts.get("kind", "")), "")
            text = Text(f"{time.monotonic() - self._begun:6.1f}s  {line}", style=style, overflow="fold")
            self._lines.append(text)

    def refresh(self, hops: Sequence[Hop]) -> None:
        self._measure(hops)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column, justify in (
            ("hop", "left"),
            ("messages", "right"),
            ("per second", "right"),
            ("", "left"),
        ):
            table.add_column(column, justify="right" if justify == "right" else "left")
        for name, count, remark in hops:
            table.add_row(name, f"{count:,}", f"{self._rates.get(name, 0.0):,.0f}", remark)
        self._live.update(Group(table, Text(), *self._lines))

    def _measure(self, hops: Sequence[Hop]) -> None:
        """Rates over at least a second, so that they can be read."""
        now = time.monotonic()
        if (span := now - self._at) < 1.0:
            return
        self._rates = {name: max(0, count - self._before.get(name, 0)) / span for name, count, _ in hops}
        self._before, self._at = {name: count for name, count, _ in hops}, now

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        for line in self._lines:
            self._console.print(line)
