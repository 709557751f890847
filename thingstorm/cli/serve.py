"""`serve`: one stage as a process of its own, as the containers run it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
import typer

from thingstorm.cli.logging import LogFormat, telling
from thingstorm.cli.settings import config_of
from thingstorm.config import Config

if TYPE_CHECKING:  # --help imports no stage
    from simulator.scenario import Scenario

Stage = Literal["broker", "pipeline", "analytics", "simulator"]


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    stage: Annotated[Stage, typer.Argument(help="Which one.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings; default thingstorm.toml.")
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="What the simulator plays; default the demo's.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, may be repeated.")
    ] = None,
    log_format: LogFormat = None,
) -> None:
    """One stage until SIGTERM; the stages find each other by the addresses under `stages`.

    Exit codes: 0 drained, 1 something was cut, 2 a setting is missing or wrong, 3 its port is taken.

    Examples:
      THINGSTORM__STAGES__TOKEN=secret thingstorm serve broker
      THINGSTORM__STAGES__TOKEN=secret thingstorm serve pipeline --set aws.endpoint=http://127.0.0.1:4566
    """
    settings = config_of(config, settings=setting or [], log_format=log_format)
    with telling(settings, stage=stage) as log:
        tell = log.tell if log else _tell
        anyio.run(_serve, stage, settings, _scenario(scenario) if stage == "simulator" else None, tell)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _scenario(path: Path | None) -> "Scenario":
    from simulator.scenario import load
    from thingstorm.runtime.scenarios import scenario_file, shipped

    return load(scenario_file(path) if path else shipped("demo"))


async def _serve(
    stage: str, settings: Config, scenario: "Scenario | None", tell: Callable[[str], None]
) -> None:
    from thingstorm.runtime.stages import serve_stage

    page = None
    if stage == "analytics":
        from thingstorm.dashboard.page import make_page

        page = make_page
    await serve_stage(stage, settings, scenario, tell=tell, page=page)
