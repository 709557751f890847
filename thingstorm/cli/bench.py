"""`bench`: measured figures, peers side by side in the same run."""

import importlib
import json
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import UnknownName
from thingstorm.cli.outputs import check_output, write_output
from thingstorm.cli.tables import print_rows

BENCHES = {
    "detector": "thingstorm.bench.detector",
    "gateway": "thingstorm.bench.gateway",
    "pipeline": "thingstorm.bench.pipeline",
    "rules": "thingstorm.bench.rules",
    "simulator": "thingstorm.bench.simulator",
    "view": "thingstorm.bench.view",
}
"""Modules with `run` and `PACKAGES`, by the name of the bench."""


def register(app: typer.Typer) -> None:
    app.command()(bench)


def bench(
    name: Annotated[
        str, typer.Argument(help="What to measure: detector, gateway, pipeline, rules, simulator, view.")
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", callback=check_output, help="Write the figures here, as JSON.")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Measure the peers that are installed, too.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The same cases, smaller: under a minute.")] = False,
    case: Annotated[list[str] | None, typer.Option("--case", help="Only this case; may be repeated.")] = None,
) -> None:
    """Measure speed, with peers beside it. Absolute figures depend on the machine; the ratios to the peers are of one run.

    Exit codes: 2 an unknown name, 3 a subject did not come up.

    Examples:
      thingstorm bench gateway --quick
      thingstorm bench gateway --peers --json gateway.json
      thingstorm bench simulator --peers --case target-20k
      thingstorm bench detector --peers --case fleet-5000
      thingstorm bench pipeline --json pipeline.json
      thingstorm bench rules --peers
    """
    if name not in BENCHES:
        raise UnknownName("bench", name, list(BENCHES))
    module = importlib.import_module(BENCHES[name])
    result = module.run(
        peers=peers, quick=quick, only=case or [], tell=lambda line: typer.echo(line, err=True)
    )
    columns, rows = result.table()
    print_rows(columns, rows, "table")
    for peer in result.missing:
        typer.echo(f"missing: {peer} is not installed")
    for note in result.notes:
        typer.echo(f"note: {note}")
    if json_file is not None:
        write_output(json_file, json.dumps(result.as_json(module.PACKAGES), indent=1) + "\n")
