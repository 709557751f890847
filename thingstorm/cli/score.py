"""`score`: how strange each value of a bare series is."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import ConfigError
from thingstorm.cli.outputs import check_output

if TYPE_CHECKING:  # heavy: only this command imports it
    from thingstorm.runtime.scoring import Scored

SHOWN = 10


def register(app: typer.Typer) -> None:
    app.command()(score)


def score(
    file: Annotated[Path, typer.Argument(help="A CSV file with a header.")],
    time: Annotated[
        str, typer.Option("--time", help="Its column of times: ISO 8601, or a number.")
    ] = "timestamp",
    value: Annotated[str, typer.Option("--value", help="Its column of values.")] = "value",
    out: Annotated[
        Path | None,
        typer.Option("--out", callback=check_output, help="Write the scores here; default standard output."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Add a column `alarm`: 1 from this score on; 0.5 is a start."),
    ] = None,
    learning: Annotated[
        int | None, typer.Option(min=0, help="Rows that give no alarm; default the first 15 %, 750 at most.")
    ] = None,
    json_out: Annotated[
        bool, typer.Option("--json", help="Print the alarms as JSON; scores go to --out only.")
    ] = False,
) -> None:
    """Score each value of a series from 0 to 1: by the values before it, and by nothing else.

    Writes timestamp,value,anomaly_score, one row a row. An event raises its score once, not at each of its rows.

    Examples:
      thingstorm score requests.csv --out scores.csv
      thingstorm score metrics.csv --time at --value p95 --threshold 0.5 --json
    """
    from thingstorm.runtime.scoring import score_file

    scored = score_file(file, time=time, value=value, learning=learning)
    limit = 0.5 if threshold is None else threshold
    if out is not None:
        _write(out, scored, threshold)
    if json_out:
        typer.echo(json.dumps(_facts(scored, limit)))
        return
    if out is None:
        _print(scored, threshold)
    typer.echo(_told(scored, limit), err=True)


def _write(out: Path, scored: "Scored", threshold: float | None) -> None:
    from thingstorm.runtime.scoring import write_scores

    try:
        with out.open("w", newline="", encoding="utf-8") as to:
            write_scores(to, scored, threshold=threshold)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error}", fix="name a file that may be written") from None


def _print(scored: "Scored", threshold: float | None) -> None:
    from thingstorm.runtime.scoring import write_scores

    write_scores(sys.stdout, scored, threshold=threshold)


def _facts(scored: "Scored", threshold: float) -> dict[str, Any]:
    return {
        "rows": len(scored.scores),
        "missing": scored.missing,
        "learning_rows": scored.learning,
        "threshold": threshold,
        "alarms": [
            {"row": row, "timestamp": scored.times[row], "value": scored.values[row]}
            | {"anomaly_score": scored.scores[row]}
            for row in scored.alarms(threshold)
        ],
    }


def _told(scored: "Scored", threshold: float) -> str:
    alarms = scored.alarms(threshold)
    named = ", ".join(scored.times[row] for row in alarms[:SHOWN]) + (" ..." if alarms[SHOWN:] else "")
    gaps = f" ({scored.missing} without a value)" if scored.missing else ""
    found = f": {named}" if alarms else ""
    return f"{len(scored.scores)} rows{gaps}, {len(alarms)} alarms at {threshold}{found}"
