"""`record`: what passes a broker, as a recording and a scenario."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # heavy
    from thingstorm.runtime.recorder import Recorder

LINE_SECONDS = 5.0
"""Without a terminal, a line about the counts this often; on one, every second in place."""


def register(app: typer.Typer) -> None:
    app.command()(record)


def record(
    out: Annotated[Path, typer.Option("--out", help="The folder to write to.")],
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long; default until Ctrl-C.")] = None,
    anonymise: Annotated[
        bool, typer.Option("--anonymise", help="Random names for device ids and texts; numbers stay.")
    ] = False,
    host: Annotated[str, typer.Option(help="The broker's address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Its port for plain MQTT.")] = 1883,
) -> None:
    """Record what passes a broker: DIR/recording.ndjson for replay, and DIR/scenario.yaml for run.

    A message names its device by the third level of its topic, and the device's type by the second, as in
    dt/meter/meter-0001/telemetry.

    Examples:
      thingstorm record --out monday --seconds 600
      thingstorm record --out for-you --anonymise --host 192.0.2.7
    """
    from simulator.transports.listener import Listener
    from thingstorm.runtime.recorder import RECORDING, SCENARIO, Recorder

    listener = Listener(host=host, port=port)
    with _asked_to_stop() as stop, closing(listener):
        listener.open()
        typer.echo(f"recording {', '.join(listener.filters)} of {host}:{port} {_until(seconds)}")
        with closing(Recorder(out, anonymise=anonymise)) as recorder:
            progress = _Progress(recorder, seconds)
            try:
                listener.listen(recorder.take, stop=lambda: bool(stop) or progress.over())
            finally:
                progress.tell(last=True)
                recorder.finish()
    recorder.check()
    typer.echo(f"wrote {out / RECORDING} and {out / SCENARIO}")


def _until(seconds: float | None) -> str:
    return "until Ctrl-C" if seconds is None else f"for {seconds:g} s"


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that is not empty any more when somebody pressed Ctrl-C: that is how a recording ends, no error."""
    asked: list[int] = []

    def ask(number: int, _frame: Any) -> None:
        asked.append(number)

    before = {one: signal.signal(one, ask) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


class _Progress:
    """How many messages of how many devices came."""

    def __init__(self, recorder: "Recorder", seconds: float | None) -> None:
        self._sketch = recorder.sketch
        self._seconds = seconds
        self._began = time.monotonic()
        self._live = sys.stdout.isatty()
        self._next = 0.0

    def over(self) -> bool:
        """Whether the time is up; tells how it goes meanwhile."""
        passed = time.monotonic() - self._began
        if passed >= self._next:
            self._next = passed + (1.0 if self._live else LINE_SECONDS)
            self.tell()
        return self._seconds is not None and passed >= self._seconds

    def tell(self, *, last: bool = False) -> None:
        """One line, in place on a terminal."""
        passed = time.monotonic() - self._began
        line = f"{passed:6.1f}s  {self._sketch.messages:,} messages of {len(self._sketch.devices):,} devices"
        typer.echo(f"\r{line}" if self._live else line, nl=last or not self._live)
