"""The actions a rule may name, by AWS's key, and their fields: names only, what they do is in `pipeline.actions`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.errors import ConfigError
from contracts.registry import Backend, Registry


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of an action's settings: those that it must have, and those that it may have."""

    required: frozenset[str]
    optional: frozenset[str]


ACTIONS: Final = Registry(
    "rule action",
    {
        "firehose": Backend("pipeline.actions.firehose:FirehoseAction"),
        "sns": Backend("pipeline.actions.sns:SnsAction"),
    },
)
"""The action classes by kind."""

FIELDS: Final[Mapping[str, Fields]] = {
    "firehose": Fields(frozenset({"deliveryStreamName"}), frozenset({"separator", "batchMode", "roleArn"})),
    "sns": Fields(frozenset({"targetArn"}), frozenset({"messageFormat", "roleArn"})),
}
"""roleArn is accepted and not used: locally every action may do its work."""

SEPARATORS: Final = (",", "\t", "\n", "\r\n")
FORMATS: Final = ("RAW", "JSON")


def check_spec(rule: str, spec: object) -> None:
    """Refuse an action whose kind is not available or whose fields are wrong. Raises ConfigError, UnknownName."""
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise ConfigError(f"rule '{rule}': an action is one kind", fix="write - sns: {targetArn: NAME}")
    kind, settings = next(iter(spec.items()))
    ACTIONS.get(str(kind))
    if not isinstance(settings, Mapping):
        raise ConfigError(f"rule '{rule}': action {kind} has no settings", fix=_known(kind))
    missing = FIELDS[kind].required - settings.keys()
    unknown = settings.keys() - FIELDS[kind].required - FIELDS[kind].optional
    if missing or unknown:
        flaw = f"lacks {min(missing)}" if missing else f"has an unknown key {min(unknown)}"
        raise ConfigError(f"rule '{rule}': action {kind} {flaw}", fix=_known(kind))
    _check_values(rule, kind, settings)


def _check_values(rule: str, kind: str, settings: Mapping[str, Any]) -> None:
    for key in FIELDS[kind].required:
        if not isinstance(settings[key], str) or not settings[key]:
            raise ConfigError(f"rule '{rule}': {kind}.{key} is no name", fix=f"write {key}: NAME")
    for key, allowed in (("separator", SEPARATORS), ("messageFormat", FORMATS), ("batchMode", (True, False))):
        if settings.get(key) is not None and settings[key] not in allowed:
            shown = ", ".join(repr(value) for value in allowed)
            raise ConfigError(f"rule '{rule}': {kind}.{key} is {settings[key]!r}", fix=f"one of {shown}")
    if str(settings.get("targetArn", "")).endswith(".fifo"):
        raise ConfigError(f"rule '{rule}': FIFO sns_topics are no targets", fix="use a standard sns_topic")


def _known(kind: str) -> str:
    fields = FIELDS[kind]
    return f"{kind} needs {', '.join(sorted(fields.required))}; may have {', '.join(sorted(fields.optional))}"
