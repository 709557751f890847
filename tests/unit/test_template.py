"""The one template: what is read of it, and that constants and rules of the code say the same."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.errors import ConfigError, UnknownName
from pipeline.aws.provision import _LEFT_OUT, LANES, MADE, MAX_RECEIVES, VISIBILITY_SECONDS
from pipeline.aws.template import Template, references
from pipeline.delivering.settings import settings_from
from pipeline.rules.engine import DEFAULT_RULES, load_rules


def attribute(logical_id: str, name: str) -> str:
    return f"<{logical_id}.{name}>"


def resolved(template: Template, logical_id: str) -> Any:
    return template.resolve(template.resources[logical_id].properties, attribute)


@pytest.fixture(scope="module")
def template() -> Template:
    return Template({"Prefix": "my-thing"})


def test_every_kind_is_made_or_left_out_with_a_reason(template: Template) -> None:
    assert {one.kind for one in template.resources.values()} == {*MADE, *_LEFT_OUT}


def test_constants_of_the_code_are_those_of_the_template(template: Template) -> None:
    queues = [one for one in template.of_kind("AWS::SQS::Queue") if "RedrivePolicy" in one.properties]
    assert {resolved(template, one.logical_id)["QueueName"] for one in queues} == {
        f"my-thing-{lane}" for lane in LANES
    }
    assert {resolved(template, one.logical_id)["VisibilityTimeout"] for one in queues} == {VISIBILITY_SECONDS}
    assert {one.properties["RedrivePolicy"]["maxReceiveCount"] for one in queues} == {MAX_RECEIVES}
    timeout = template.resources["Handler"].properties["Timeout"]
    assert timeout * 6 == VISIBILITY_SECONDS, "as AWS advises for Lambda event sources"


def test_the_rules_are_those_that_run_here(template: Template) -> None:
    ours = {rule.name: rule for rule in load_rules(DEFAULT_RULES)}
    theirs = {
        one["RuleName"].removeprefix("my_thing_"): one["TopicRulePayload"]
        for one in (resolved(template, rule.logical_id) for rule in template.of_kind("AWS::IoT::TopicRule"))
    }
    assert set(theirs) == {"telemetry", "presence"}
    for name, payload in theirs.items():
        assert payload["Sql"] == ours[name].sql.strip()
        kinds = [next(iter(action)) for action in payload["Actions"]]
        assert [kind.lower() for kind in kinds] == [next(iter(action)) for action in ours[name].actions]
        assert "ErrorAction" in payload
    separator = next(
        action["firehose"]["separator"] for action in ours["telemetry"].actions if "firehose" in action
    )
    assert theirs["telemetry"]["Actions"][1]["Firehose"]["Separator"] == separator


def test_roles_name_what_they_may_touch(template: Template) -> None:
    """Least privilege: no wildcard in any action, and none for a resource but behind one's own name."""
    for one in template.of_kind("AWS::IAM::Role", "AWS::IAM::ManagedPolicy"):
        told = resolved(template, one.logical_id)
        documents = [each["PolicyDocument"] for each in told.get("Policies", [told])]
        for statement in (each for document in documents for each in document["Statement"]):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not [action for action in actions if "*" in action]
            assert statement["Resource"] != "*"
            assert "*" not in str(statement["Resource"]).replace("Arn>/*", "").replace("Arn>:*", "")


def test_conditions_and_functions_are_worked_out() -> None:
    here = Template({"RunHandler": "false", "ArchiveSeconds": 7})
    assert not here.of_kind("AWS::Lambda::Function", "AWS::Lambda::EventSourceMapping")
    stream = resolved(here, "ArchiveStream")
    assert stream["DeliveryStreamName"] == "thingstorm-archive"
    settings = dict(stream["ExtendedS3DestinationConfiguration"])
    assert settings["BufferingHints"] == {"SizeInMBs": 5, "IntervalInSeconds": 7}
    assert settings_from(settings).prefix.static == "telemetry/"
    assert settings_from(settings).errors.static == "errors/"
    assert resolved(here, "TelemetryRule")["RuleName"] == "thingstorm_telemetry"
    assert set(references(here.resources["TelemetrySubscription"].properties)) == {
        "TelemetryTopic",
        "TelemetryQueue",
    }


def test_a_wrong_parameter_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="Prefx"):
        Template({"Prefx": "x"})


def test_a_condition_over_a_resource_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    document = {
        "Parameters": {},
        "Conditions": {"C": {"Fn::Equals": [{"Ref": "A"}, "x"]}},
        "Resources": {"A": {"Type": "T", "Condition": "C"}},
    }
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match="names the resource A"):
        Template({}, path=path)
