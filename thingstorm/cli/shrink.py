"""`shrink`: the smallest scenario that still fails."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
import typer

from thingstorm.cli.outputs import check_output, write_output
from thingstorm.cli.play import ConfigFile
from thingstorm.cli.settings import config_of

if TYPE_CHECKING:  # heavy: only a command that plays imports them
    from simulator.scenario import Scenario
    from thingstorm.config import Config
    from thingstorm.runtime.shrinking import Try


def register(app: typer.Typer) -> None:
    app.command()(shrink)


def shrink(
    file: Annotated[Path, typer.Argument(help="A scenario of which an expectation fails.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", callback=check_output, help="Where the small one goes; default NAME-small.yaml, here."
        ),
    ] = None,
    path: Annotated[Literal["direct"], typer.Option(help="The path that it is played on.")] = "direct",
    tries: Annotated[int, typer.Option(min=2, max=10_000, help="Plays at most.")] = 60,
    config: ConfigFile = None,
) -> None:
    """Make a failing scenario small: the fewest devices, phases and seconds of which the same expectation fails.

    Ctrl-C ends it with the smallest so far.

    Examples:
      thingstorm shrink scenarios/flood-inside-rollout.yaml
      thingstorm shrink failing.yaml --out small.yaml --tries 200
    """
    from thingstorm.runtime.scenarios import scenario_file
    from thingstorm.runtime.shrinking import resolved, size_of
    from thingstorm.runtime.shrinking import shrink as make_small

    _ = path
    settings = config_of(config)
    file = scenario_file(file)
    values = resolved(file)
    typer.echo(f"{file}: {size_of(values)}")
    found = make_small(values, lambda scenario: _play(file, scenario, settings), tries=tries, tell=_tell)
    small = out or Path(f"{file.stem}-small.yaml")
    write_output(small, found.text())
    typer.echo(f"{found.failure} still fails with {size_of(found.values)} ({found.tries} plays)")
    typer.echo(f"wrote {small}")


def _play(file: Path, scenario: "Scenario", settings: "Config") -> tuple[str, ...]:
    from thingstorm.report.gaps import gaps_for
    from thingstorm.runtime.batch import Job, play_job

    async def play() -> tuple[str, ...]:
        job = Job(file, scenario, "direct", "virtual", 1.0, gaps_for(file))
        outcome = await play_job(job, settings, emit=lambda _event, _facts: None, refresh=lambda _hops: None)
        return tuple(one.name for one in outcome.result.expectations if not (one.passed or one.gap))

    return anyio.run(play)


def _tell(tried: "Try") -> None:
    typer.echo(f"{tried.number:4d}  {'smaller' if tried.kept else 'needed '}  {tried.change}: {tried.size}")
