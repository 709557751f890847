"""The actions a rule may name, by AWS's key, and their fields: names only, what they do is in `pipeline.actions`.

Source: AWS IoT API reference, data type "Action" and those it refers to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from contracts.errors import ConfigError, UnknownName
from contracts.registry import Backend, Registry

Allowed: TypeAlias = "tuple[Any, ...]"


@dataclass(frozen=True, slots=True)
class Fields:
    """The settings of an action: those that it must have, those that it may have, and which values are allowed.

    `inner` are the required names inside a setting that is an object. `role`: AWS asks for a roleArn, which is
    accepted and not used here: locally every action may do its work.
    """

    required: frozenset[str]
    optional: frozenset[str] = frozenset()
    allowed: Mapping[str, Allowed] = field(default_factory=dict)
    inner: Mapping[str, frozenset[str]] = field(default_factory=dict)
    role: bool = True

    @property
    def known(self) -> frozenset[str]:
        return self.required | self.optional | ({"roleArn"} if self.role else frozenset())


ACTIONS: Final = Registry(
    "rule action",
    {
        "cloudwatchAlarm": Backend("pipeline.actions.cloudwatch_alarm:CloudwatchAlarmAction"),
        "cloudwatchLogs": Backend("pipeline.actions.cloudwatch_logs:CloudwatchLogsAction"),
        "cloudwatchMetric": Backend("pipeline.actions.cloudwatch_metric:CloudwatchMetricAction"),
        "dynamoDB": Backend("pipeline.actions.dynamodb:DynamodbAction"),
        "dynamoDBv2": Backend("pipeline.actions.dynamodb_v2:DynamodbV2Action"),
        "firehose": Backend("pipeline.actions.firehose:FirehoseAction"),
        "http": Backend("pipeline.actions.http:HttpAction"),
        "kinesis": Backend("pipeline.actions.kinesis:KinesisAction"),
        "lambda": Backend("pipeline.actions.aws_lambda:LambdaAction"),
        "republish": Backend("pipeline.actions.republish:RepublishAction"),
        "s3": Backend("pipeline.actions.s3:S3Action"),
        "sns": Backend("pipeline.actions.sns:SnsAction"),
        "sqs": Backend("pipeline.actions.sqs:SqsAction"),
        "stepFunctions": Backend("pipeline.actions.step_functions:StepFunctionsAction"),
    },
)
"""The action classes by kind."""

UNAVAILABLE: Final = frozenset(
    {
        "elasticsearch",
        "iotAnalytics",
        "iotEvents",
        "iotSiteWise",
        "kafka",
        "location",
        "openSearch",
        "salesforce",
        "timestream",
    }
)
"""Actions of AWS that thingstorm has not: refused by name when the rule is created."""

SEPARATORS: Final = (",", "\t", "\n", "\r\n")
FORMATS: Final = ("RAW", "JSON")
_FLAG: Final = (True, False)
_KEY_TYPES: Final = ("STRING", "NUMBER")


def _names(*names: str) -> frozenset[str]:
    return frozenset(names)


FIELDS: Final[Mapping[str, Fields]] = {
    "cloudwatchAlarm": Fields(_names("alarmName", "stateReason", "stateValue")),
    "cloudwatchLogs": Fields(_names("logGroupName"), _names("batchMode"), {"batchMode": _FLAG}),
    "cloudwatchMetric": Fields(
        _names("metricName", "metricNamespace", "metricUnit", "metricValue"), _names("metricTimestamp")
    ),
    "dynamoDB": Fields(
        _names("tableName", "hashKeyField", "hashKeyValue"),
        _names("hashKeyType", "rangeKeyField", "rangeKeyValue", "rangeKeyType", "payloadField", "operation"),
        {"hashKeyType": _KEY_TYPES, "rangeKeyType": _KEY_TYPES, "operation": ("INSERT", "UPDATE", "DELETE")},
    ),
    "dynamoDBv2": Fields(_names("putItem"), inner={"putItem": _names("tableName")}),
    "firehose": Fields(
        _names("deliveryStreamName"),
        _names("separator", "batchMode"),
        {"separator": SEPARATORS, "batchMode": _FLAG},
    ),
    "http": Fields(_names("url"), _names("confirmationUrl", "headers"), role=False),
    "kinesis": Fields(_names("streamName"), _names("partitionKey")),
    "lambda": Fields(_names("functionArn"), role=False),
    "republish": Fields(_names("topic"), _names("qos", "headers"), {"qos": (0, 1)}),
    "s3": Fields(_names("bucketName", "key"), _names("cannedAcl")),
    "sns": Fields(_names("targetArn"), _names("messageFormat"), {"messageFormat": FORMATS}),
    "sqs": Fields(_names("queueUrl"), _names("useBase64"), {"useBase64": _FLAG}),
    "stepFunctions": Fields(_names("stateMachineName"), _names("executionNamePrefix")),
}


def check_spec(rule: str, spec: object) -> None:
    """Refuse an action whose kind is not available or whose fields are wrong. Raises ConfigError, UnknownName."""
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise ConfigError(f"rule '{rule}': an action is one kind", fix="write - sns: {targetArn: NAME}")
    kind, settings = next(iter(spec.items()))
    if kind in UNAVAILABLE:
        raise ConfigError(
            f"rule '{rule}': AWS has the action {kind}, thingstorm has not",
            fix=f"use one of: {', '.join(sorted(ACTIONS.backends))}",
        )
    try:
        ACTIONS.get(str(kind))
    except UnknownName as error:
        raise UnknownName(f"rule action of '{rule}'", error.name, ACTIONS.backends) from None
    if not isinstance(settings, Mapping):
        raise ConfigError(f"rule '{rule}': action {kind} has no settings", fix=_known(kind))
    missing = FIELDS[kind].required - settings.keys()
    unknown = settings.keys() - FIELDS[kind].known
    if missing or unknown:
        flaw = f"lacks {min(missing)}" if missing else f"has an unknown key {min(unknown)}"
        raise ConfigError(f"rule '{rule}': action {kind} {flaw}", fix=_known(kind))
    _check_values(rule, kind, settings)
    if (check := _CHECKS.get(kind)) is not None:
        check(rule, settings)


def _check_values(rule: str, kind: str, settings: Mapping[str, Any]) -> None:
    fields = FIELDS[kind]
    for key in fields.required - fields.inner.keys():
        if not isinstance(settings[key], str) or not settings[key]:
            raise ConfigError(f"rule '{rule}': {kind}.{key} is no name", fix=f"write {key}: NAME")
    for key, names in fields.inner.items():
        inner = settings[key]
        if not isinstance(inner, Mapping) or inner.keys() != names or not all(inner.values()):
            shown = ", ".join(f"{name}: NAME" for name in sorted(names))
            raise ConfigError(f"rule '{rule}': {kind}.{key} is wrong", fix=f"write {key}: {{{shown}}}")
    for key, allowed in fields.allowed.items():
        value = settings.get(key)
        template = isinstance(value, str) and "${" in value
        if (
            value is not None
            and not template
            and not any(value is one or _same(value, one) for one in allowed)
        ):
            shown = ", ".join(repr(one) for one in allowed)
            raise ConfigError(f"rule '{rule}': {kind}.{key} is {value!r}", fix=f"one of {shown}")


def _same(value: object, allowed: object) -> bool:
    """Equal and of one type: 1 is not True."""
    return type(value) is type(allowed) and value == allowed


def _check_no_fifo(key: str) -> "Callable[[str, Mapping[str, Any]], None]":
    def check(rule: str, settings: Mapping[str, Any]) -> None:
        if str(settings[key]).endswith(".fifo"):
            raise ConfigError(
                f"rule '{rule}': FIFO sns_topics and queues are no targets", fix="use a standard one"
            )

    return check


def _check_dynamodb(rule: str, settings: Mapping[str, Any]) -> None:
    if ("rangeKeyField" in settings) != ("rangeKeyValue" in settings):
        raise ConfigError(
            f"rule '{rule}': dynamoDB has half a sort key", fix="give rangeKeyField and rangeKeyValue"
        )


def _check_http(rule: str, settings: Mapping[str, Any]) -> None:
    url, confirmation = str(settings["url"]), settings.get("confirmationUrl")
    if not url.startswith(("https://", "http://", "${")):
        raise ConfigError(f"rule '{rule}': http.url '{url}' is no URL", fix="write url: https://HOST/PATH")
    if confirmation is None and "${" in url:
        raise ConfigError(
            f"rule '{rule}': http.url has a template and there is no confirmationUrl",
            fix="give the fixed part of the URL as confirmationUrl",
        )
    if confirmation is not None and not url.startswith(str(confirmation)):
        raise ConfigError(
            f"rule '{rule}': http.url does not begin with confirmationUrl", fix="make it a prefix of url"
        )
    _check_pairs(rule, "http.headers", settings.get("headers", []))


def _check_republish(rule: str, settings: Mapping[str, Any]) -> None:
    topic = str(settings["topic"])
    if topic.startswith("$") and not topic.startswith(("$$", "${")):
        raise ConfigError(
            f"rule '{rule}': republish.topic '{topic}' begins with one $",
            fix=f"write a reserved topic with two: ${topic}",
        )
    headers = settings.get("headers", {})
    if not isinstance(headers, Mapping) or headers.keys() - HEADERS:
        raise ConfigError(
            f"rule '{rule}': republish.headers has unknown keys", fix=f"known: {', '.join(sorted(HEADERS))}"
        )
    _check_pairs(rule, "republish.headers.userProperties", headers.get("userProperties", []))


HEADERS: Final = _names(
    "payloadFormatIndicator",
    "contentType",
    "responseTopic",
    "correlationData",
    "messageExpiry",
    "userProperties",
)
"""What republish may say about its message (API reference, MqttHeaders)."""


def _check_pairs(rule: str, where: str, pairs: object) -> None:
    right = isinstance(pairs, list) and all(
        isinstance(pair, Mapping) and pair.keys() == {"key", "value"} for pair in pairs
    )
    if not right:
        raise ConfigError(f"rule '{rule}': {where} is wrong", fix="write a list of {key: ..., value: ...}")


_CHECKS: Final[Mapping[str, Callable[[str, Mapping[str, Any]], None]]] = {
    "dynamoDB": _check_dynamodb,
    "http": _check_http,
    "republish": _check_republish,
    "sns": _check_no_fifo("targetArn"),
    "sqs": _check_no_fifo("queueUrl"),
}


def _known(kind: str) -> str:
    fields = FIELDS[kind]
    optional = f"; may have {', '.join(sorted(fields.known - fields.required))}"
    return f"{kind} needs {', '.join(sorted(fields.required))}{optional}"
