"""`deploy`: the CloudFormation template, to an emulator or to AWS."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contracts.errors import ConfigError, Terminal
from thingstorm.cli.settings import config_of
from thingstorm.cli.tables import print_rows
from thingstorm.config import Config

if TYPE_CHECKING:  # --help imports no boto3
    from pipeline.aws.costs import Estimate
    from pipeline.aws.deploying import Change, Deployment
    from pipeline.aws.provision import Resources

BackendName = Literal["embedded", "localstack", "aws"]


def register(app: typer.Typer) -> None:
    app.command()(deploy)


def deploy(
    backend: Annotated[BackendName, typer.Option("--backend", help="Where to.")] = "embedded",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change and what it costs; change nothing.")
    ] = False,
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Messages a second in all, for the estimate.")
    ] = 100,
    devices: Annotated[int, typer.Option("--devices", min=0, help="Devices, for the estimate.")] = 50,
    payload: Annotated[
        int, typer.Option("--payload", min=1, help="Bytes of a message, for the estimate.")
    ] = 200,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", help="Name=value of the template, may be repeated.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Deploy to AWS without asking.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings; default thingstorm.toml.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, may be repeated.")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Create what the CloudFormation template has: on an emulator (through its APIs) or on AWS (by a change set).

    Exit codes: 0 done, 2 a setting is wrong, 3 the services do not answer or refuse.

    Examples:
      thingstorm deploy --backend aws --dry-run --rate 200 --devices 1000
      thingstorm deploy --backend embedded --set aws.endpoint=http://127.0.0.1:4566
    """
    settings = config_of(config, settings=[f"aws.backend={backend}", *(setting or [])])
    given = _parameters(parameter or [])
    if backend == "aws":
        _aws(settings, given, dry_run=dry_run, yes=yes, told=_Told(json_out, rate, devices, payload))
    else:
        _emulator(settings, dry_run=dry_run, json_out=json_out)


class _Told:
    """How and with which load the outcome is told."""

    def __init__(self, json_out: bool, rate: float, devices: int, payload: int) -> None:
        self.json_out = json_out
        self._load: dict[str, Any] = {"rate": rate, "devices": devices, "payload": payload}

    def step(self, line: str) -> None:
        typer.echo(line, err=self.json_out)

    def estimate(self, given: dict[str, str]) -> "Estimate":
        from pipeline.aws.costs import Load, estimate

        more: dict[str, Any] = {
            field: kind(given[name])
            for name, field, kind in (
                ("BatchSize", "batch_size", int),
                ("BatchWindowSeconds", "window_seconds", float),
                ("ArchiveSeconds", "archive_seconds", float),
            )
            if name in given
        }
        return estimate(Load(**self._load, **more))

    def outcome(self, changes: Sequence["Change"], cost: "Estimate", note: str) -> None:
        if self.json_out:
            told = {
                "changes": [asdict(one) for one in changes],
                "note": note,
                "cost": _cost_json(cost, self._load),
            }
            typer.echo(json.dumps(told))
            return
        if note:
            typer.echo(f"note: {note}")
        _print_changes(changes)
        _print_cost(cost, self._load)


def _aws(settings: Config, given: dict[str, str], *, dry_run: bool, yes: bool, told: _Told) -> None:
    cost = told.estimate(given)
    if dry_run:
        changes, note = _preview(settings, given)
        told.outcome(changes, cost, note)
        return
    deployment = _deployment(settings, given)
    if not yes and not _confirmed(settings, cost):
        raise ConfigError("not deployed: nobody agreed", fix="answer y, or give --yes")
    told.outcome(deployment.execute(told.step), cost, "")


def _deployment(settings: Config, given: dict[str, str]) -> "Deployment":
    from pipeline.aws.deploying import Deployment
    from pipeline.aws.session import ClientFactory

    aws = settings.aws
    factory = ClientFactory(backend="aws", endpoint=aws.endpoint, region=aws.region)
    return Deployment(factory, prefix=aws.prefix, parameters=given)


def _preview(settings: Config, given: dict[str, str]) -> tuple[Sequence["Change"], str]:
    """The account's own change set; without credentials, what an empty account would get."""
    from pipeline.aws.deploying import whole_template

    try:
        return _deployment(settings, given).preview(), ""
    except Terminal as error:
        if "Unable to locate credentials" not in error.what:
            raise
        return whole_template(
            settings.aws.prefix
        ), "no credentials: this is what an account without the stack gets"


def _confirmed(settings: Config, cost: "Estimate") -> bool:
    if not sys.stdin.isatty():
        return False
    aws = settings.aws
    return typer.confirm(f"stack '{aws.prefix}' in {aws.region}, about ${cost.total:.2f} a month?")


def _emulator(settings: Config, *, dry_run: bool, json_out: bool) -> None:
    if dry_run:
        changes = _made_on_an_emulator(settings)
        if json_out:
            typer.echo(json.dumps({"changes": [asdict(one) for one in changes]}))
        else:
            _print_changes(changes)
            typer.echo("an emulator costs nothing; on AWS: thingstorm deploy --backend aws --dry-run")
        return
    resources = _provision(settings)
    if json_out:
        typer.echo(json.dumps(asdict(resources)))
        return
    rows = [
        *(("sns_topic", name, arn) for name, arn in resources.sns_topics.items()),
        *(("queue", name, url) for name, url in resources.queues.items()),
        *(("table", name, table) for name, table in resources.tables.items()),
        ("bucket", "archive", resources.bucket),
    ]
    print_rows(("kind", "name", "there as"), rows, "table")


def _provision(settings: Config) -> "Resources":
    from pipeline.aws.provision import provision
    from pipeline.aws.session import ClientFactory

    aws = settings.aws
    endpoint = aws.endpoint or f"http://127.0.0.1:{aws.port}"
    return provision(
        ClientFactory(backend=aws.backend, endpoint=endpoint, region=aws.region),
        prefix=aws.prefix,
        visibility_seconds=settings.pipeline.visibility_seconds,
    )


def _made_on_an_emulator(settings: Config) -> list["Change"]:
    from pipeline.aws.deploying import whole_template
    from pipeline.aws.provision import MADE

    return [one for one in whole_template(settings.aws.prefix) if one.kind in MADE]


def _parameters(texts: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--parameter {text}: no '='", fix="write --parameter Name=value")
        given[name] = value
    return given


def _print_changes(changes: Sequence["Change"]) -> None:
    rows = [(one.action, one.logical_id, one.kind, "replaced" if one.replaced else "") for one in changes]
    print_rows(("change", "resource", "kind", ""), rows, "table")
    typer.echo(f"{len(rows)} changes")


def _print_cost(cost: "Estimate", load: dict[str, Any]) -> None:
    rows = [(one.service, f"{one.quantity:,.0f}", one.unit, f"{one.usd:,.2f}") for one in cost.lines]
    print_rows(("service", "a month", "of", "USD"), [*rows, ("total", "", "", f"{cost.total:,.2f}")], "table")
    typer.echo(
        f"at {load['rate']:g} messages/s of {load['payload']} bytes from {load['devices']} devices; list prices of"
        f" {cost.region}, {cost.read}, no free tier (pipeline/aws/prices.yaml; assumptions: costs.py)"
    )


def _cost_json(cost: "Estimate", load: dict[str, Any]) -> dict[str, Any]:
    lines = [asdict(one) for one in cost.lines]
    return {
        "usd_a_month": round(cost.total, 2),
        "load": load,
        "read": cost.read,
        "region": cost.region,
        "lines": lines,
    }
