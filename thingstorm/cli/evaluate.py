"""`evaluate`: how good the model is over labelled scenarios, beside dumb baselines and the recorded result."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.errors import ConfigError, ExpectationFailed
from thingstorm.cli.outputs import check_output, write_output
from thingstorm.cli.settings import config_of
from thingstorm.cli.tables import print_rows

if TYPE_CHECKING:  # heavy: only a command that plays imports them
    from thingstorm.config import Config
    from thingstorm.evaluation.evaluated import Evaluated
    from thingstorm.evaluation.events import Run
    from thingstorm.evaluation.playing import Job, Played


def register(app: typer.Typer) -> None:
    app.command()(evaluate)


def evaluate(
    scenarios: Annotated[
        list[Path] | None, typer.Argument(help="Scenario files or folders; default the library.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another detector than the configured one.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="1,2,3 or 201-205; default five that nothing was tuned on.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", callback=check_output, help="Write the figures here, as JSON.")
    ] = None,
    save: Annotated[bool, typer.Option("--save", help="Record this result as the baseline.")] = False,
    baseline: Annotated[
        Path | None, typer.Option(help="The recorded result; default benchmarks/detection-baseline.json.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            callback=check_output, help="Learn the table of confidence from these runs, write it here."
        ),
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, max=64, help="How many play at a time.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings; default thingstorm.toml.")
    ] = None,
) -> None:
    """Count what the model gets right: labelled scenarios, with several seeds, on the direct path.

    Two dumb baselines on the same seconds stand beside every figure. Without --save the result is held against the
    recorded one, as far as the runs are the same; what is worse than its interval fails.

    Exit codes: 0 done, 1 a figure is worse than recorded, 2 a file, seed or setting is wrong.

    Examples:
      thingstorm evaluate scenarios/hostile/publish-flood.yaml --seeds 1,2
      thingstorm evaluate --model robust --json figures.json
      thingstorm evaluate --save
    """
    from thingstorm.evaluation.evaluated import evaluated
    from thingstorm.evaluation.playing import own_seeds, plan
    from thingstorm.evaluation.seeds import DEFAULT, check_report, check_tuning, parse_seeds
    from thingstorm.runtime.scenarios import library, scenario_files

    settings = _settings(config, model)
    files = scenario_files(scenarios or [library()])
    own = own_seeds(files)
    chosen = parse_seeds(seeds) if seeds else DEFAULT
    if save:
        check_report(chosen, own)
        check_output(baseline)
    if calibrate is not None:
        check_tuning(chosen)
    recorded = _recorded(baseline, settings.model.detector, save=save)
    played = _play(plan(files, chosen), settings, processes)
    result = evaluated(played, detector=settings.model.detector, seeds=chosen, own=own)
    _show(result)
    if json_file is not None:
        write_output(json_file, json.dumps(result.as_json(), indent=1) + "\n")
    if calibrate is not None:
        _calibrate(played, chosen, calibrate)
    if save:
        _save(result, baseline)
    elif recorded is not None:
        _compare(result, recorded, asked=baseline)
    else:
        typer.echo("gate: nothing is recorded here, nothing was compared")


def _settings(config: Path | None, model: str | None) -> "Config":
    from analytics.detectors import check_detector

    settings = config_of(config, settings=[f"model.detector={model}"] if model else [])
    check_detector(settings.model.detector)
    return settings


def _play(jobs: "Sequence[Job]", settings: "Config", processes: int | None) -> "list[Played]":
    from thingstorm.cli.progress import choose_progress
    from thingstorm.evaluation.playing import play_all

    played = []
    with choose_progress(len(jobs)) as progress:
        for one in play_all(jobs, settings, processes=processes):
            played.append(one)
            progress.done(one.job.title, one)
    return played


def _show(result: "Evaluated") -> None:
    from thingstorm.evaluation.table import COLUMNS, notes, reliability_rows, rows

    print_rows(COLUMNS, rows(result), "table")
    typer.echo("")
    print_rows(("verdict", "confidence", "stretches", "mean", "right"), reliability_rows(result), "table")
    for note in notes(result):
        typer.echo(f"note: {note}")


def _calibrate(played: "Sequence[Played]", seeds: Sequence[int], file: Path) -> None:
    from analytics.calibration import learn_calibration

    samples: dict[str, list[tuple[float, float, float]]] = {}
    for one in played:
        for kind, confidence, right, weight in one.raw:
            samples.setdefault(kind, []).append((confidence, right, weight))
    table = learn_calibration(samples, seeds=seeds)
    write_output(file, json.dumps(table.as_json(), indent=1) + "\n")
    typer.echo(f"confidence: {file}")


def _recorded(baseline: Path | None, detector: str, *, save: bool) -> "Sequence[Run] | None":
    """The recorded runs, None without any. Raises ConfigError: before minutes are spent on playing."""
    from thingstorm.evaluation import gate

    if save or (baseline is None and not gate.DEFAULT.is_file()):
        return None
    return gate.load(baseline or gate.DEFAULT, detector)


def _save(result: "Evaluated", baseline: Path | None) -> None:
    from thingstorm.evaluation import gate

    file = baseline or gate.DEFAULT
    gate.save(file, result)
    typer.echo(f"recorded: {file}")


def _compare(result: "Evaluated", recorded: "Sequence[Run]", *, asked: Path | None) -> None:
    """Raises ExpectationFailed on a regression, ConfigError if a comparison was asked for and there is none."""
    from thingstorm.evaluation import gate
    from thingstorm.evaluation.evaluated import MODEL

    found = gate.compare(result.runs[MODEL], recorded)
    typer.echo(
        f"gate: {found.compared} runs compared with the recorded ones, {found.left} have none beside them"
    )
    if asked is not None and not found.compared:
        raise ConfigError(
            f"{asked} has no run of these scenarios, seeds and detector",
            fix="record them with --save, or leave --baseline out",
        )
    for one in found.regressions:
        typer.echo(f"worse: {one}")
    if found.regressions:
        raise ExpectationFailed(
            f"{len(found.regressions)} figures are worse than recorded",
            fix="mend the model, or record the new result with --save and say why",
        )
