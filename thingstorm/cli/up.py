"""`up`: the stack until Ctrl-C."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from thingstorm.cli.display import Display, PlainDisplay, choose_display
from thingstorm.cli.logging import LogDisplay, LogFormat, telling
from thingstorm.cli.settings import Ports, config_of
from thingstorm.config import Config

if TYPE_CHECKING:  # --help imports no stage
    from simulator.scenario import Scenario


def register(app: typer.Typer) -> None:
    app.command()(up)


def up(
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings; default thingstorm.toml.")
    ] = None,
    simulator: Annotated[bool, typer.Option(help="Simulate the fleet of the scenario.")] = True,
    scenario: Annotated[
        Path | None, typer.Option(help="Whose fleet and timeline; default the demo's.")
    ] = None,
    ports: Annotated[Ports, typer.Option(help="auto: the system chooses them all.")] = "fixed",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, may be repeated.")
    ] = None,
    log_format: LogFormat = None,
    json_line: Annotated[
        bool, typer.Option("--json", help="One line of JSON with the addresses when ready.")
    ] = False,
) -> None:
    """The whole stack until Ctrl-C, with its addresses.

    Examples:
      thingstorm up
      thingstorm up --no-simulator --ports auto --json
    """
    settings = config_of(config, ports=ports, settings=setting or [], log_format=log_format)
    played = _scenario(scenario) if simulator else None
    quiet = PlainDisplay(write=lambda _: None)
    with (
        telling(settings, stage="stack") as log,
        LogDisplay(log) if log else quiet if json_line else choose_display() as display,
    ):
        anyio.run(_up, settings, played, display, json_line)


def _scenario(path: Path | None) -> "Scenario":
    from simulator.scenario import load
    from thingstorm.runtime.scenarios import scenario_file, shipped

    return load(scenario_file(path) if path else shipped("demo"))


async def _up(settings: Config, scenario: "Scenario | None", display: Display, json_line: bool) -> None:
    from thingstorm.dashboard.page import make_page
    from thingstorm.runtime.serve import serve

    def ready(addresses: dict[str, str]) -> None:
        if json_line:
            typer.echo(json.dumps(addresses))
        display.emit("addresses", {"addresses": "  ".join(f"{k} {v}" for k, v in addresses.items())})

    await serve(settings, scenario, emit=display.emit, refresh=display.refresh, ready=ready, page=make_page)
