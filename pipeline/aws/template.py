"""Reads `template.yaml`, the one list of resources: parameters, conditions and intrinsic functions, as far as it uses them.

CloudFormation itself reads the same file on AWS. An emulator's CloudFormation doubles the time of a cold start (ministack
1.5.33) or does not finish (LocalStack without DynamoDB), so on an emulator `provision` makes of it what is read here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from contracts.errors import ConfigError, UnknownName

TEMPLATE: Final = Path(__file__).with_name("template.yaml")

Attribute = Callable[[str, str], Any]
"""What a resource that was made says of itself: logical id and attribute (`Ref` for its own id) to the value."""

_LONG: Final = ("Ref", "Condition")
_PSEUDO: Final[Mapping[str, str]] = {
    "AWS::AccountId": "000000000000",
    "AWS::Region": "us-east-1",
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:000000000000:stack/local/0",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """One entry of the template, its properties not yet resolved."""

    logical_id: str
    kind: str
    properties: Mapping[str, Any]


class Template:
    """The template with its parameters filled in. Raises ConfigError for one that cannot be read, UnknownName."""

    def __init__(self, parameters: Mapping[str, Any], *, path: Path = TEMPLATE) -> None:
        self.text = path.read_text(encoding="utf-8")
        document = yaml.load(self.text, Loader=_Loader)  # noqa: S506 - a safe loader with a constructor for our tags
        known = document["Parameters"]
        for name in parameters:
            if name not in known:
                raise UnknownName("parameter of the template", name, known)
        defaults = {name: told.get("Default") for name, told in known.items()}
        self.parameters: Mapping[str, Any] = {**defaults, **parameters}
        self._conditions: Mapping[str, Any] = document.get("Conditions", {})
        self.resources: Mapping[str, Resource] = {
            name: Resource(name, told["Type"], told.get("Properties", {}))
            for name, told in document["Resources"].items()
            if "Condition" not in told or self._holds(told["Condition"])
        }

    def of_kind(self, *kinds: str) -> list[Resource]:
        return [one for one in self.resources.values() if one.kind in kinds]

    def resolve(self, value: Any, attribute: Attribute) -> Any:
        """The value with every reference and function in it worked out."""
        if isinstance(value, list):
            return [self.resolve(one, attribute) for one in value]
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1:
            name, told = next(iter(value.items()))
            if name in _FUNCTIONS or name == "Ref":
                return self._call(name, told, attribute)
        return {name: self.resolve(one, attribute) for name, one in value.items()}

    def _call(self, name: str, told: Any, attribute: Attribute) -> Any:
        if name == "Ref":
            return self._ref(told, attribute)
        if name == "Fn::GetAtt":
            return attribute(*_pair(told))
        if name == "Fn::Sub":
            return self._sub(told, attribute)
        if name == "Fn::If":
            return self.resolve(told[1] if self._holds(told[0]) else told[2], attribute)
        return _FUNCTIONS[name](self.resolve(told, attribute))

    def _ref(self, name: str, attribute: Attribute) -> Any:
        if name in self.parameters:
            return self.parameters[name]
        return _PSEUDO[name] if name in _PSEUDO else attribute(name, "Ref")

    def _sub(self, text: str, attribute: Attribute) -> str:
        for name in _names_in(text):
            value = attribute(*_pair(name)) if "." in name else self._ref(name, attribute)
            text = text.replace(f"${{{name}}}", str(value))
        return text

    def _holds(self, name: str) -> bool:
        return bool(self.resolve(self._conditions[name], _no_resource))


def topic_rules(template: Template) -> dict[str, dict[str, Any]]:
    """The topic rules by their names, as CreateTopicRule takes them: CloudFormation writes its names with a capital."""

    def arn(logical_id: str, _attribute: str) -> str:
        return f"arn:aws:any:{_PSEUDO['AWS::Region']}:{_PSEUDO['AWS::AccountId']}:{logical_id}"

    told = [template.resolve(one.properties, arn) for one in template.of_kind("AWS::IoT::TopicRule")]
    return {one["RuleName"]: _small(one["TopicRulePayload"]) for one in told}


def _small(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name[:1].lower() + name[1:]: _small(one) for name, one in value.items()}
    return [_small(one) for one in value] if isinstance(value, list) else value


def references(value: Any) -> Iterator[str]:
    """The logical ids and parameters that a value names."""
    if isinstance(value, list):
        for one in value:
            yield from references(one)
    elif isinstance(value, Mapping):
        for name, told in value.items():
            if name == "Ref":
                yield told
            elif name == "Fn::GetAtt":
                yield _pair(told)[0]
            elif name == "Fn::Sub":
                yield from (one.partition(".")[0] for one in _names_in(told))
            else:
                yield from references(told)


def _names_in(text: str) -> list[str]:
    return [part.partition("}")[0] for part in text.split("${")[1:] if not part.startswith("!")]


def _pair(told: Any) -> tuple[str, str]:
    resource, _, attribute = told.partition(".") if isinstance(told, str) else (told[0], "", told[1])
    return resource, attribute


def _no_resource(name: str, _attribute: str) -> Any:
    raise ConfigError(f"a condition names the resource {name}", fix="conditions may only name parameters")


_FUNCTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Fn::GetAtt": lambda told: told,
    "Fn::Sub": lambda told: told,
    "Fn::If": lambda told: told,
    "Fn::Join": lambda told: told[0].join(told[1]),
    "Fn::Split": lambda told: told[1].split(told[0]),
    "Fn::Equals": lambda told: str(told[0]) == str(told[1]),
    "Fn::Not": lambda told: not told[0],
}
"""The first three are worked out before their arguments are."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C one is 10 times faster
    """YAML with CloudFormation's short tags: `!Ref x` is `{"Ref": "x"}`."""


def _tagged(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
    name = suffix if suffix in _LONG else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tagged)
