"""What AWS would say of a rule that is right here: what it refuses, does otherwise, bills, or what surprises people.

Sources: AWS IoT API reference (CreateTopicRule, Action), developer guide ("Reserved topics", "Basic Ingest", "SQL
versions", "Functions"), AWS IoT Core quotas, AWS IoT Core pricing ("Rules Engine").
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from contracts.errors import ConfigError

from .context import BASIC_INGEST
from .functions import FUNCTIONS
from .rule import Rule, rule_from_payload
from .specs import FIELDS
from .topics import TopicTable
from .walking import calls

Level: TypeAlias = Literal["refused", "differs", "costs", "advice"]
"""`refused`: AWS would not create the rule, or does not run it. `differs`: it does something else there. `costs`: it
is billed beyond the rule itself. `advice`: it works, and is seldom meant."""

MAX_SLASHES: Final = 7
"""AWS IoT Core quotas, "Maximum number of slashes in topic and topic filter"."""

MAX_TOPIC_BYTES: Final = 256
"""AWS IoT Core quotas, "Topic size"."""

_ARNS: Final = {"sns": "targetArn", "lambda": "functionArn"}
"""Settings that are ARNs on AWS; here a plain name will do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark on one rule."""

    rule: str
    level: Level
    what: str
    fix: str


def lint(name: str, payload: Mapping[str, Any]) -> list[Finding]:
    """All remarks on a rule of the shape of AWS's TopicRulePayload. A rule that cannot be made has just one."""
    try:
        rule = rule_from_payload(name, payload)
    except ConfigError as error:
        return [Finding(name, "refused", error.what, error.fix)]
    return [Finding(name, *found) for check in _CHECKS for found in check(rule, payload)]


_Found: TypeAlias = Iterator[tuple[Level, str, str]]


def _version(rule: Rule, payload: Mapping[str, Any]) -> _Found:
    if not payload.get("awsIotSqlVersion"):
        yield (
            "differs",
            f"no awsIotSqlVersion: {rule.version} here, 2015-10-08 by AWS's API",
            f'write awsIotSqlVersion: "{rule.version}"',
        )
    elif rule.version == "beta":
        yield "differs", "version beta may change at any time", 'write awsIotSqlVersion: "2016-03-23"'


def _topic(rule: Rule, _payload: Mapping[str, Any]) -> _Found:
    wanted = rule.statement.topic_filter
    if wanted is None:
        return
    if wanted.count("/") > MAX_SLASHES:
        yield "refused", f"the topic filter has more than {MAX_SLASHES} slashes", "take fewer levels"
    if len(wanted.encode()) > MAX_TOPIC_BYTES:
        yield "refused", f"the topic filter has more than {MAX_TOPIC_BYTES} bytes", "shorten it"
    if wanted.startswith(BASIC_INGEST):
        yield (
            "advice",
            "Basic Ingest topics call the rule by its name, they match no topic filter",
            "write the topic filter without $aws/rules/NAME/",
        )
    elif wanted.startswith("$") and not wanted.startswith("$aws/"):
        yield "advice", f"nobody can publish to '{wanted}': topics with $ are reserved", "leave the $ out"
    if wanted in ("#", "+/#"):
        yield "costs", f"'{wanted}' fires on every message of the account", "name the first level"


def _functions(rule: Rule, _payload: Mapping[str, Any]) -> _Found:
    asked = sorted({call.name.lower() for call in calls(rule.statement)} & FUNCTIONS.keys())
    for name in asked:
        if FUNCTIONS[name].service and name != "get_secret":  # which is not metered
            yield (
                "costs",
                f"{name}() is billed like an action, for each message",
                "ask where WHERE is true only",
            )


def _actions(rule: Rule, _payload: Mapping[str, Any]) -> _Found:
    if not rule.actions:
        yield "advice", "no actions: the rule does nothing", "add one under actions:"
    if len(rule.actions) > 1:
        yield (
            "costs",
            f"each of the {len(rule.actions)} actions is billed, for each message",
            "fan out by SNS",
        )
    if rule.actions and rule.error_action is None:
        yield "advice", "no errorAction: what an action fails to deliver is lost", "add errorAction:"
    for spec in (*rule.actions, *([rule.error_action] if rule.error_action else [])):
        yield from _action(*next(iter(spec.items())))


def _action(kind: str, settings: Mapping[str, Any]) -> _Found:
    if FIELDS[kind].role and not settings.get("roleArn"):
        yield "refused", f"{kind} has no roleArn; here no role is needed", "add roleArn:"
    key = _ARNS.get(kind, "")
    if key and not str(settings[key]).startswith(("arn:", "${")):
        yield (
            "refused",
            f"{kind}.{key} is no ARN; here a plain name will do",
            f"write {key}: arn:aws:{kind}:...",
        )
    if kind == "http" and str(settings["url"]).startswith("http://"):
        yield "refused", "http.url is not https", "serve it with TLS"
    if kind == "republish":
        yield (
            "costs",
            "a republished message is billed as a message",
            "let devices subscribe to the topic itself",
        )


def _loop(rule: Rule, _payload: Mapping[str, Any]) -> _Found:
    wanted = rule.statement.topic_filter
    for spec in rule.actions:
        topic = str(spec.get("republish", {}).get("topic", ""))
        literal = topic and "${" not in topic and wanted is not None
        if literal and TopicTable([(str(wanted), rule)]).find(topic.removeprefix("$")):
            yield (
                "costs",
                f"it republishes to '{topic}', which fires it again",
                "take a topic that FROM does not match",
            )


_CHECKS: Final[tuple[Callable[[Rule, Mapping[str, Any]], _Found], ...]] = (
    _version,
    _topic,
    _functions,
    _actions,
    _loop,
)
