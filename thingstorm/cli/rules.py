"""`rules`: try a statement, run documented examples, ask why a rule fired, and what AWS would say of it."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import ConfigError, ExpectationFailed
from contracts.messages import Message
from thingstorm.cli.ask import Form
from thingstorm.cli.tables import print_rows

if TYPE_CHECKING:  # the parser takes a while to import: only a command that reads a statement does
    from pipeline.rules.explaining import Explanation
    from pipeline.rules.rule import Rule

rules_app = typer.Typer(help="Try, test, explain and check rules of IoT SQL; offline.", no_args_is_help=True)

File = Annotated[Path | None, typer.Option("--rules", help="A file of rules; default those that ship.")]
Payload = Annotated[str, typer.Option("--payload", help="The message: text, @FILE, or - for standard input.")]
Client = Annotated[str, typer.Option("--client-id", help="Who publishes; empty: not over MQTT.")]


def register(app: typer.Typer) -> None:
    app.add_typer(rules_app, name="rules")


@rules_app.command("eval")
def eval_(
    sql: Annotated[str, typer.Argument(help="The statement.")],
    topic: Annotated[str | None, typer.Option(help="Default: one that FROM matches.")] = None,
    payload: Payload = "{}",
    client_id: Client = "device-1",
    version: Annotated[
        str, typer.Option("--sql-version", help="2016-03-23, 2015-10-08 or beta.")
    ] = "2016-03-23",
) -> None:
    """The result of one statement on one message, as actions get it.

    Exit codes: 0 it fires, 1 it does not, 2 the statement is wrong.

    Example: thingstorm rules eval "SELECT topic(2) AS device FROM 'dt/+' WHERE t > 50" --payload '{"t": 51}'
    """
    from pipeline.rules.engine import Engine, Rule
    from pipeline.rules.payload import encode

    rule = Rule(name="eval", sql=sql, version=version)
    wanted = rule.statement.topic_filter or "$aws/rules/eval/topic"
    chosen = topic if topic is not None else wanted.replace("+", "any").replace("#", "any")
    engine = Engine([rule])
    matches = engine.match(_message(chosen, payload, client_id))
    if not matches:
        raise ExpectationFailed(
            f"it does not fire on a message to '{chosen}'", fix="thingstorm rules explain says why"
        )
    sys.stdout.write(encode(matches[0].result).decode(errors="replace") + "\n")


@rules_app.command("test")
def run_examples(
    files: Annotated[list[Path], typer.Argument(help="Files of examples: statements and functions.")],
    form: Form = "table",
) -> None:
    """Run documented examples; show those that fail, and the score.

    Exit codes: 0 all pass, 1 one fails, 2 a file is wrong.

    Example: thingstorm rules test tests/conformance/iot_sql_guide.json
    """
    from pipeline.rules.conformance import run_file

    outcomes = [one for file in files for one in run_file(file)]
    failed = [one for one in outcomes if not one.passed]
    if form != "table" or failed:
        shown = failed if form == "table" else outcomes
        rows = [(one.case, one.passed, one.what, one.expected, one.seen) for one in shown]
        print_rows(("example", "passed", "what", "expected", "seen"), rows, form)
    if form == "table":
        typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} examples pass")
    if failed:
        raise ExpectationFailed(f"{len(failed)} examples fail", fix="see the rows above")


@rules_app.command("explain")
def explain(
    topic: Annotated[str, typer.Argument(help="The topic of the message.")],
    rules: File = None,
    sql: Annotated[str | None, typer.Option("--sql", help="This statement instead of a file.")] = None,
    only: Annotated[str | None, typer.Option("--rule", help="This rule only.")] = None,
    payload: Payload = "{}",
    client_id: Client = "device-1",
    form: Form = "table",
) -> None:
    """Why each rule fires on a message or does not: the clause that decided, and every sub-expression's value.

    Functions that ask a service are Undefined here.

    Exit codes: 0 done, 2 a rule is wrong.

    Example: thingstorm rules explain dt/meter/m-1/telemetry --payload '{"power_w": 400}'
    """
    from pipeline.rules.engine import Engine, Rule
    from pipeline.rules.explaining import explain as explained
    from pipeline.rules.explaining import lines

    chosen = (Rule(name="explain", sql=sql),) if sql is not None else _rules(rules, only)
    engine, message = Engine(chosen), _message(topic, payload, client_id)
    told = [explained(rule, engine.context(message)) for rule in chosen]
    if form == "table":
        typer.echo("\n".join(line for one in told for line in lines(one)))
        return
    print_rows(("rule", "fires", "clause", "why", "steps"), [_told(one) for one in told], form)


@rules_app.command("lint")
def lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of rules; default those that ship, as `deploy` makes them."),
    ] = None,
    form: Form = "table",
) -> None:
    """What AWS would refuse, do otherwise or bill in these rules.

    Exit codes: 0 nothing would be refused, 1 something would, 2 a file is wrong.

    Example: thingstorm rules lint rules.yaml
    """
    from pipeline.rules.linting import lint as linted
    from pipeline.rules.loading import read_payloads

    rules = [rule for file in files for rule in read_payloads(file)] if files else _deployed()
    found = [(at, one) for name, payload, at in rules for one in linted(name, _mapping(payload))]
    rows = [(at, one.rule, one.level, one.what, one.fix) for at, one in found]
    print_rows(("where", "rule", "level", "what", "fix"), rows, form)
    if refused := sum(one.level == "refused" for _, one in found):
        raise ExpectationFailed(f"AWS would refuse {refused} things", fix="see the fix column")


def _deployed() -> list[tuple[str, Any, str]]:
    """Name, payload and place of the template's rules: what AWS gets of those that ship."""
    from pipeline.aws.template import TEMPLATE, Template, topic_rules

    rules = topic_rules(Template({}))
    return [(name, payload, TEMPLATE.name) for name, payload in rules.items()]


@rules_app.command("reference")
def reference(
    examples: Annotated[list[Path] | None, typer.Argument(help="Files of examples, for the score.")] = None,
) -> None:
    """The supported reference of IoT SQL as Markdown, from the code: what docs/iot-sql.md holds.

    Example: thingstorm rules reference tests/conformance/iot_sql_guide.json
    """
    from thingstorm.rules_reference import page

    typer.echo(page(examples or []), nl=False)


def _mapping(payload: Any) -> Mapping[str, Any]:
    return payload if isinstance(payload, Mapping) else {}


def _rules(file: Path | None, only: str | None) -> "tuple[Rule, ...]":
    from pipeline.rules.engine import DEFAULT_RULES, load_rules

    rules = load_rules(file or DEFAULT_RULES)
    chosen = tuple(rule for rule in rules if only in (None, rule.name))
    if not chosen:
        known = ", ".join(rule.name for rule in rules)
        raise ConfigError(f"there is no rule '{only}'", fix=f"one of: {known}")
    return chosen


def _told(one: "Explanation") -> tuple[Any, ...]:
    where = [asdict(one.where)] if one.where is not None else []
    steps = [asdict(step) for step in one.variables] + where + [asdict(step) for step in one.items]
    return one.rule, one.fires, one.clause, one.why, steps


def _message(topic: str, payload: str, client_id: str) -> Message:
    from contracts.clock import SystemClock

    return Message(
        "00000000-0000-4000-8000-000000000000" if client_id else "",
        client_id, "", topic, _bytes(payload), 0, retain=False, received_at=SystemClock().now(),
    )  # fmt: skip


def _bytes(payload: str) -> bytes:
    if payload == "-":
        return sys.stdin.buffer.read()
    if not payload.startswith("@"):
        return payload.encode("utf-8", "surrogateescape")
    try:
        return Path(payload[1:]).read_bytes()
    except OSError as error:
        raise ConfigError(f"{payload[1:]}: cannot be read: {error}", fix="write @FILE or the text") from None
