"""`demo` and `run`: play scenarios through the whole path and hold the model to what they expect."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
import typer

from contracts.errors import ConfigError, ExpectationFailed
from thingstorm.cli.display import choose_display
from thingstorm.cli.outputs import check_output, write_output
from thingstorm.cli.progress import choose_progress
from thingstorm.cli.settings import config_of
from thingstorm.config import Config

if TYPE_CHECKING:  # heavy: only a command that plays imports them
    from thingstorm.runtime.batch import Job, Outcome

ARCHIVE_SECONDS = 5
"""A scenario lasts a minute: its objects should come while it is watched."""

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings; default thingstorm.toml.")]
Html = Annotated[
    Path | None, typer.Option("--html", callback=check_output, help="Write the HTML report here.")
]
Json = Annotated[
    Path | None, typer.Option("--json", callback=check_output, help="Write the results here, as JSON.")
]
Junit = Annotated[Path | None, typer.Option("--junit", callback=check_output, help="Write JUnit XML here.")]
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


@dataclass(frozen=True, slots=True)
class Files:
    """Where the results go."""

    json: Path | None = None
    junit: Path | None = None
    html: Path | None = None
    dataset: Path | None = None


def demo(
    config: ConfigFile = None, html: Html = None, json_file: Json = None, attach: Attach = False
) -> None:
    """The story in little more than a minute: a clean baseline, a benign uptick, an attack, and what was done about it.

    Exit code 0 only if what it tells is true.

    Example: thingstorm demo
    """
    from simulator.scenario import load
    from thingstorm.runtime.batch import plan
    from thingstorm.runtime.scenarios import shipped

    # elsewhere than on the stack's own machine, perhaps in a container, nobody would find a page in /tmp
    page = html or (None if attach else Path(tempfile.gettempdir()) / "thingstorm-demo.html")
    file = shipped("demo")
    job = plan(file, load(file), path="aws", clock="wall", speed=None, gaps={})
    finish(_play_here([job], _settings(config, attach=attach), attach=attach), Files(json_file, html=page))


def run(
    files: Annotated[
        list[Path], typer.Argument(help="Scenario files, folders of them, or names of thingstorm's own.")
    ],
    path: Annotated[Literal["aws", "direct"] | None, typer.Option(help="All hops, or none of AWS.")] = None,
    clock: Annotated[
        Literal["wall", "virtual"] | None, typer.Option(help="Real time, or as fast as it goes.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.01, max=1000, help="On the wall clock: so many times as fast.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed than the file's.")] = None,
    variable: Settings = None,
    config: ConfigFile = None,
    json_file: Json = None,
    junit: Junit = None,
    html: Html = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--dataset", callback=check_output, help="Write every message with its label here, as Parquet."
        ),
    ] = None,
    attach: Attach = False,
) -> None:
    """Play scenarios and check what they expect.

    Several scenarios on the direct path are played at a time, one on each core. What `known-gaps.yaml` beside them
    names may fail.

    Exit codes: 0 all passed, 1 an expectation failed, 2 a file or setting is wrong, 3 a backend is not ready.

    Examples:
      thingstorm run scenarios/demo.yaml --json out.json
      thingstorm run scenarios/ --path direct --junit out.xml --html out.html
      thingstorm run scenarios/demo.yaml --path aws --speed 2 --seed 11
      thingstorm run mixed/botnet-inside-rollout
    """
    from simulator.scenario import load_all
    from thingstorm.runtime.scenarios import scenario_files

    variables = dict(_pair(text) for text in variable or [])
    if attach and (path == "direct" or clock == "virtual" or speed):
        raise ConfigError(
            "--attach plays against running stages: over AWS, in real time",
            fix="leave --path, --clock and --speed out",
        )
    found = [
        (file, scenario)
        for file in scenario_files(files)
        for scenario in load_all(file, overrides=variables, seed=seed)
    ]
    # after the files: a mistake in one of them is told before the seconds that these imports take
    from thingstorm.report.gaps import gaps_for
    from thingstorm.runtime.batch import plan

    jobs = [
        plan(
            file,
            scenario,
            path="aws" if attach else path,
            clock=clock,
            speed=speed,
            gaps=gaps_for(file),
            with_messages=dataset is not None,
        )
        for file, scenario in found
    ]
    settings = _settings(config, attach=attach)
    apart = [job for job in jobs if (job.path, job.clock) == ("direct", "virtual")] if len(jobs) > 1 else []
    outcomes = _play_apart(apart, settings)
    outcomes += _play_here([job for job in jobs if job not in apart], settings, attach=attach)
    order = {id(job): place for place, job in enumerate(jobs)}
    titles = {job.title: order[id(job)] for job in jobs}
    outcomes.sort(key=lambda one: titles[one.job.title])
    finish(outcomes, Files(json_file, junit, html, dataset))


def _settings(config: Path | None, *, attach: bool) -> Config:
    if attach:
        return config_of(config)
    return config_of(config, ports="auto", settings=[f"pipeline.archive_seconds={ARCHIVE_SECONDS}"])


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: no '='", fix="write --set name=value")
    return key, value


def _play_apart(jobs: "Sequence[Job]", settings: Config) -> "list[Outcome]":
    from thingstorm.runtime.batch import play_apart

    if not jobs:
        return []
    outcomes = []
    with choose_progress(len(jobs)) as progress:
        for outcome in play_apart(jobs, settings):
            outcomes.append(outcome)
            progress.done(outcome.job.title, outcome.result)
    return outcomes


def _play_here(jobs: "Sequence[Job]", settings: Config, *, attach: bool) -> "list[Outcome]":
    from thingstorm.report.story import tell
    from thingstorm.runtime.batch import play_job

    outcomes = []
    for job in jobs:
        with choose_display() as display:
            work = partial(play_job, job, settings, emit=display.emit, refresh=display.refresh, attach=attach)
            outcomes.append(anyio.run(work))
        tell(outcomes[-1].result, outcomes[-1].record)
    return outcomes


def finish(outcomes: "Sequence[Outcome]", files: Files) -> None:
    """Write what was asked for, sum up, and fail if something failed. Raises ExpectationFailed."""
    from thingstorm.report.batch_table import summarise

    _write(outcomes, files)
    if len(outcomes) > 1:
        summarise([outcome.result for outcome in outcomes])
    if failed := [outcome.job.title for outcome in outcomes if not outcome.result.passed]:
        raise ExpectationFailed(
            f"failed: {', '.join(failed)}", fix="see the expectations above; --html draws the run"
        )


def _write(outcomes: "Sequence[Outcome]", files: Files) -> None:
    results = [outcome.result for outcome in outcomes]
    if files.json is not None:
        told = [result.as_json() for result in results]
        write_output(files.json, json.dumps(told, indent=1) + "\n")
    if files.junit is not None:
        from thingstorm.report.junit import render_junit

        write_output(files.junit, render_junit(results))
    if files.dataset is not None:
        from thingstorm.report.dataset import write_dataset

        count = write_dataset(files.dataset, [(one.result, one.record) for one in outcomes])
        typer.echo(f"data set: {count:,} messages in {files.dataset}")
    if files.html is not None:
        from thingstorm.report.html import render_html

        write_output(files.html, render_html([(one.result, one.record) for one in outcomes]))
        typer.echo(f"report: {files.html.resolve().as_uri()}")
