"""`replay`: recorded traffic through the same path."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
import typer

from contracts.errors import ConfigError
from contracts.messages import SECOND
from thingstorm.cli.display import Hop, choose_display
from thingstorm.cli.play import ARCHIVE_SECONDS, ConfigFile, Files, Html, Json, Junit, finish
from thingstorm.cli.settings import config_of

if TYPE_CHECKING:  # heavy: only a command that plays imports them
    from simulator.replaying import ReplayPlayer
    from thingstorm.config import Config
    from thingstorm.runtime.batch import Job, Outcome


def register(app: typer.Typer) -> None:
    app.command()(replay)


def replay(
    file: Annotated[Path, typer.Argument(help="A .csv, .ndjson, .jsonl or .parquet file.")],
    columns: Annotated[
        str,
        typer.Option(
            "--map", help="ts=COLUMN,client_id=COLUMN,...: where the file's names differ from ours."
        ),
    ] = "",
    path: Annotated[Literal["aws", "direct"], typer.Option(help="All hops, or none of AWS.")] = "direct",
    speed: Annotated[
        float | None, typer.Option(min=0.01, max=1000, help="On the wall clock: so many times as fast.")
    ] = None,
    train_until: Annotated[
        str | None,
        typer.Option(
            help="The model learns until this time of the recording; default: the first third of what "
            "comes before the first label."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="A .csv of id,start,end,label,devices: what was an attack, what benign."),
    ] = None,
    payload: Annotated[
        Literal["auto", "text", "base64"], typer.Option(help="How the payload column is written.")
    ] = "auto",
    config: ConfigFile = None,
    json_file: Json = None,
    junit: Junit = None,
    html: Html = None,
) -> None:
    """Play recorded traffic through the same path: is it a benign uptick, or an attack, and of which devices?

    Columns: ts (seconds, or ISO 8601), client_id, topic, payload (text or base64) or size (bytes to invent), qos, event
    (connect, publish, subscribe, disconnect), ip, rc (code of a refused connect). With --labels the answer is held
    against them.

    Exit codes: 0 it is as the labels say (or there are none), 1 it is not, 2 a file is wrong, 3 a backend is not ready.

    Examples:
      thingstorm replay traffic.csv --map ts=time,client_id=device,payload=body
      thingstorm replay traffic.parquet --labels attacks.csv --json out.json --html out.html
      thingstorm replay traffic.ndjson --path aws --speed 10 --train-until 2026-01-05T08:10:00Z
    """
    job, player = _plan(file, columns, payload, labels, train_until, path, speed)
    settings = _every_topic(
        config_of(config, ports="auto", settings=[f"pipeline.archive_seconds={ARCHIVE_SECONDS}"])
    )
    finish([_play(job, player, settings)], Files(json_file, junit, html))


def _plan(
    file: Path,
    columns: str,
    payload: Literal["auto", "text", "base64"],
    labels_file: Path | None,
    train_until: str | None,
    path: Literal["aws", "direct"],
    speed: float | None,
) -> "tuple[Job, ReplayPlayer]":
    from simulator.model import MAX_DEVICES
    from simulator.recorded_labels import read_labels
    from simulator.recording import column_map, read_recording
    from thingstorm.runtime.batch import Job
    from thingstorm.runtime.replay import story_of_recording

    mapped = column_map(columns)
    typer.echo(f"reading {file}")
    recording = read_recording(file, columns=mapped, form=payload)
    labels = read_labels(labels_file, recording) if labels_file else ()
    story, player = story_of_recording(recording, labels, train_until=train_until)
    if path == "aws" and len(player.devices) > MAX_DEVICES:
        what = f"{len(player.devices):,} client ids, and one process connects {MAX_DEVICES:,} over sockets"
        raise ConfigError(what, fix="leave --path aws out: the direct path takes them all")
    typer.echo(
        f"{player.rows:,} rows of {len(player.devices):,} clients in {recording.duration / SECOND:,.0f} s; "
        f"the model learns from the first {story.train_until / SECOND:,.0f} s"
    )
    clock: Literal["wall", "virtual"] = "virtual" if path == "direct" and speed is None else "wall"
    return Job(file, story, path, clock, speed or 1.0, gaps={}), player


def _every_topic(config: "Config") -> "Config":
    """Recorded devices follow no convention of ours: every topic is allowed, and routed."""
    from thingstorm.runtime.replay import EVERY_TOPIC

    broker = config.broker.model_copy(update={"limits": "open", "overrides": {}, "policy": None})
    pipeline = config.pipeline.model_copy(update={"rules": EVERY_TOPIC})
    return config.model_copy(update={"broker": broker, "pipeline": pipeline})


def _play(job: "Job", player: "ReplayPlayer", settings: "Config") -> "Outcome":
    from thingstorm.report.story import tell
    from thingstorm.runtime.batch import play_job

    with choose_display() as display:

        def refresh(hops: Sequence[Hop]) -> None:
            share = player.played / player.rows
            display.refresh([("played", player.played, f"{share:.0%} of {player.rows:,} rows"), *hops])

        outcome = anyio.run(partial(play_job, job, settings, emit=display.emit, refresh=refresh))
    tell(outcome.result, outcome.record)
    return outcome
