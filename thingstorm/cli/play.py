"""`demo` and `run`: play scenarios through the whole path and hold the model to what they expect."""

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import typer

from contracts.errors import ConfigError, ExpectationFailed
from thingstorm.cli.display import Display, choose_display
from thingstorm.cli.settings import config_of
from thingstorm.report.record import Record, Result

ARCHIVE_SECONDS = 5
"""A scenario lasts a minute: its objects should come while it is watched."""

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings; default thingstorm.toml.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write the HTML report here.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the results here, as JSON.")]
Attach = Annotated[
    bool,
    typer.Option("--attach", help="Play against the stages that run already, instead of starting a stack."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="name=value: a variable of the scenario, may be repeated.")
]


def register(app: typer.Typer) -> None:
    app.command()(demo)
    app.command()(run)


def demo(
    config: ConfigFile = None, html: Html = None, json_file: Json = None, attach: Attach = False
) -> None:
    """The story in 90 seconds: a clean baseline, a benign uptick, an attack, and what was done about it.

    Exit code 0 only if what it tells is true.

    Example: thingstorm demo
    """
    from thingstorm.runtime.scenarios import shipped

    # elsewhere than on the stack's own machine, perhaps in a container, nobody would find a page in /tmp
    page = html or (None if attach else Path(tempfile.gettempdir()) / "thingstorm-demo.html")
    _play_all(
        [shipped("demo")],
        variables={},
        config=config,
        seed=None,
        json_file=json_file,
        junit=None,
        html=page,
        attach=attach,
    )


def run(
    files: Annotated[list[Path], typer.Argument(help="Scenario files, or folders of them.")],
    path: Annotated[Literal["aws", "direct"] | None, typer.Option(help="All hops, or none of AWS.")] = None,
    clock: Annotated[
        Literal["wall", "virtual"] | None, typer.Option(help="Real time, or as fast as it goes.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the file's.")] = None,
    variable: Settings = None,
    config: ConfigFile = None,
    json_file: Json = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML here.")] = None,
    html: Html = None,
    attach: Attach = False,
) -> None:
    """Play scenarios and check what they expect.

    Exit codes: 0 all passed, 1 an expectation failed, 2 a file or setting is wrong, 3 a backend is not ready.

    Examples:
    thingstorm run scenarios/demo.yaml --json out.json

    thingstorm run scenarios/ --seed 11 --junit out.xml
    """
    _refuse_unbuilt(path, clock)
    variables = dict(_pair(text) for text in variable or [])
    _play_all(
        _files(files),
        variables=variables,
        config=config,
        seed=seed,
        json_file=json_file,
        junit=junit,
        html=html,
        attach=attach,
    )


def _refuse_unbuilt(path: str | None, clock: str | None, *, speed: float = 1.0) -> None:
    if path == "direct" or clock == "virtual" or speed != 1.0:
        raise ConfigError(
            "the direct path, the virtual clock and speeds other than 1 are not built yet",
            fix="write path: aws and clock: {mode: wall}: scenarios run over all hops in real time",
        )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: no '='", fix="write --set name=value")
    return key, value


def _files(given: Sequence[Path]) -> list[Path]:
    found = [
        file
        for path in given
        for file in (sorted(path.rglob("*.yaml")) if path.is_dir() else [path])
        if file.name != "known-gaps.yaml"
    ]
    if not found:
        raise ConfigError(
            f"no scenario in {', '.join(map(str, given))}", fix="name a .yaml file or a folder with some"
        )
    return found


def _play_all(
    files: Sequence[Path],
    *,
    variables: dict[str, str],
    config: Path | None,
    seed: int | None,
    json_file: Path | None,
    junit: Path | None,
    html: Path | None,
    attach: bool,
) -> None:
    from simulator.scenario import load

    if attach:
        settings = config_of(config)
    else:
        settings = config_of(config, ports="auto", settings=[f"pipeline.archive_seconds={ARCHIVE_SECONDS}"])
    scenarios = [load(file, overrides=variables, seed=seed) for file in files]
    for scenario in scenarios:
        _refuse_unbuilt(scenario.path, scenario.clock.mode, speed=scenario.clock.speed)
    results: list[Result] = []
    for scenario in scenarios:
        with choose_display() as display:
            result, record = anyio.run(partial(_play, scenario, settings, display, attach=attach))
        results.append(result)
        _tell(result, record)
        _write_html(html, result, record, several=len(files) > 1)
    _write_results(results, json_file=json_file, junit=junit)
    if failed := [result.scenario for result in results if not result.passed]:
        raise ExpectationFailed(
            f"failed: {', '.join(failed)}", fix="see the expectations above; --html draws the run"
        )


async def _play(scenario: Any, settings: Any, display: Display, *, attach: bool) -> tuple[Result, Record]:
    from thingstorm.report.expectations import conclude
    from thingstorm.runtime.play import here, play, there
    from thingstorm.runtime.signals import stop_on_signal

    target = there(settings) if attach else here(settings)
    async with stop_on_signal() as stop:
        record = await play(
            scenario,
            target,
            emit=display.emit,
            refresh=display.refresh,
            stop=stop,
            drain_seconds=settings.drain_seconds,
        )
    return conclude(scenario, record, path="aws", clock="wall"), record


def _tell(result: Result, record: Record) -> None:
    from thingstorm.report.story import tell

    tell(result, record)


def _write_html(target: Path | None, result: Result, record: Record, *, several: bool) -> None:
    if target is None:
        return
    from thingstorm.report.html import render_html

    file = target.with_stem(f"{target.stem}-{result.scenario}") if several else target
    file.write_text(render_html(result, record), encoding="utf-8")
    typer.echo(f"report: {file.resolve().as_uri()}")


def _write_results(results: Sequence[Result], *, json_file: Path | None, junit: Path | None) -> None:
    if json_file is not None:
        json_file.write_text(
            json.dumps([result.as_json() for result in results], indent=1) + "\n", encoding="utf-8"
        )
    if junit is not None:
        from thingstorm.report.junit import render_junit

        junit.write_text(render_junit(results), encoding="utf-8")
