"""The JSON Schema of scenario files, for editors: `python -m simulator.schema > scenarios/schema.json`.

Made from the models, so that it knows every key, kind and parameter. It describes one file before variables are
filled in: wherever a number, a word or a duration is wanted, `$name` may stand.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from .behaviours import BEHAVIOURS
from .model import Scenario
from .values import SCHEMAS

Schema: TypeAlias = dict[str, Any]

_VARIABLE: Schema = {"$ref": "#/$defs/variable"}
_SCALARS = ("integer", "number", "string", "boolean")
_ANY_VARIABLE: Schema = {
    "type": "string",
    "pattern": r"\$[A-Za-z_$]",
    "description": "Text with a variable of vars in it: $name.",
}
_PREFIX = "with."
"""So that a behaviour may have the name of another model."""

_NULL: Schema = {"type": "null"}
_VALUE: Schema = {"type": ["number", "string", "boolean"]}
_CELL: Schema = {"type": "object", "minProperties": 1, "additionalProperties": _VALUE}

_WORDS_OF_FILES: Mapping[str, Schema] = {
    "extends": {
        "type": "string",
        "description": "Another file that this one is laid over: mappings are merged, lists replaced.",
    },
    "matrix": {
        "anyOf": [
            {**_CELL, "additionalProperties": {"type": "array", "items": _VALUE, "minItems": 1}},
            {"type": "array", "items": _CELL, "minItems": 1},
        ],
        "description": "Values of variables: every combination, or each entry of a list, is a scenario.",
    },
    "seeds": {
        "type": "array",
        "items": {"anyOf": [{"type": "integer"}, _VARIABLE]},
        "minItems": 1,
        "uniqueItems": True,
        "description": "In place of seed: every one is a scenario.",
    },
}


class _Generate(GenerateJsonSchema):
    """A type that says nothing about JSON allows anything: a new behaviour must not break the schema."""

    def handle_invalid_for_json_schema(
        self, schema: core_schema.CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        _ = schema, error_info
        return {}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Defaults are values of the program (nanoseconds), not words of a file: they are left out."""
        return self.generate_inner(schema["schema"])


def schema() -> Schema:
    """The schema as plain JSON values; the same for the same models."""
    _, made = models_json_schema([(Scenario, "validation")], schema_generator=_Generate)
    parameters, behaviours = _behaviours()
    nullable = {"Expect", *map(_name, parameters.values())}
    raw = {**made["$defs"], **behaviours}
    definitions = {name: _opened(_without_null(part, nullable)) for name, part in raw.items()}
    _let_be_null(definitions, nullable)
    definitions |= {name: _parts_opened(dict(part)) for name, part in SCHEMAS.items()}
    definitions["variable"] = _ANY_VARIABLE
    _short_forms(definitions)
    _kinds(definitions["Phase"], parameters)
    whole = _whole_file(definitions.pop("Scenario"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scenario file, scenario: v1",
        **whole,
        "$defs": {name: definitions[name] for name in sorted(_reached(whole, definitions))},
    }


def _behaviours() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """A reference to the parameters of each kind, and their definitions, under names of their own."""
    kinds = sorted(BEHAVIOURS)
    names, made = models_json_schema(
        [(BEHAVIOURS[kind], "validation") for kind in kinds],
        schema_generator=_Generate,
        ref_template=f"#/$defs/{_PREFIX}{{model}}",
    )
    references = {kind: dict(names[BEHAVIOURS[kind], "validation"]) for kind in kinds}
    return references, {f"{_PREFIX}{name}": part for name, part in made["$defs"].items()}


def _name(reference: Schema) -> str:
    """The name of the definition that is referred to."""
    name: str = reference.get("$ref", "").rpartition("/")[2]
    return name


def _reached(whole: Schema, definitions: Mapping[str, Schema]) -> set[str]:
    """The definitions that are referred to, from the whole on."""
    reached: set[str] = set()
    waiting = [whole]
    while waiting:
        text = json.dumps(waiting.pop())
        found = {name for name in definitions if f'"#/$defs/{name}"' in text} - reached
        reached |= found
        waiting += [definitions[name] for name in found]
    return reached


def _without_null(part: Any, nullable: set[str]) -> Any:
    """The part without "this model, or null", and the names of such models: they are to allow null themselves.

    An editor points into what is wrong with a model, and completes it, only if it is the one choice.
    """
    if isinstance(part, list):
        return [_without_null(one, nullable) for one in part]
    if not isinstance(part, dict):
        return part
    among = part.get("anyOf", ())
    if len(among) == 2 and "$ref" in among[0] and among[1] == _NULL:
        nullable.add(_name(among[0]))
        return {**{key: value for key, value in part.items() if key != "anyOf"}, **among[0]}
    return {key: _without_null(value, nullable) for key, value in part.items()}


def _let_be_null(definitions: Mapping[str, Schema], names: set[str]) -> None:
    generators = {
        part.get("$ref", "").rpartition("/")[2] for part in definitions["Field"]["properties"].values()
    }
    for name in names - generators:  # `walk:` with nothing behind it is no generator
        definitions[name]["type"] = [definitions[name]["type"], "null"]


def _opened(part: Any) -> Any:
    """A part of the schema where `$name` may stand for each scalar, and each small value is named once."""
    if not isinstance(part, dict):
        return part
    kept = {key: value for key, value in part.items() if key != "title"}
    if (name := _SMALL.get(_essence(kept))) is not None:
        return {"$ref": f"#/$defs/{name}"}
    return _parts_opened(kept)


def _parts_opened(part: Schema) -> Schema:
    for key in ("items", "additionalProperties"):
        if key in part:
            part[key] = _opened(part[key])
    for key in ("anyOf", "prefixItems"):
        if key in part:
            part[key] = [_opened(one) for one in part[key]]
    if "properties" in part:
        part["properties"] = {name: _opened(value) for name, value in part["properties"].items()}
    return _or_variable(part)


def _essence(part: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in part.items() if key != "description"}, sort_keys=True)


_SMALL: Mapping[str, str] = {_essence(part): name for name, part in SCHEMAS.items()}


def _or_variable(part: Schema) -> Schema:
    if part.get("type") not in _SCALARS and not part.keys() & {"enum", "const"}:
        return part
    if part.get("type") == "string" and not part.keys() & {"enum", "const", "pattern"}:
        return part
    description = {"description": part.pop("description")} if "description" in part else {}
    return {"anyOf": [part, _VARIABLE], **description}


def _short_forms(definitions: dict[str, Schema]) -> None:
    """What the models take beside their own form."""
    values = definitions["Series"]["properties"]["values"]
    for name, short in {
        "Every": {"$ref": "#/$defs/duration"},
        "Series": values,
        "Expression": {"type": ["string", "number"]},
    }.items():
        whole = definitions[name]
        definitions[name] = {"description": whole.pop("description"), "anyOf": [short, whole]}
    definitions["Field"] |= {"minProperties": 1, "maxProperties": 1}


def _kinds(phase: Schema, parameters: Mapping[str, Schema]) -> None:
    """`kind` is one of the behaviours, and `with` has the parameters of that kind."""
    phase["properties"]["kind"] = {
        "anyOf": [{"enum": list(parameters)}, _VARIABLE],
        "description": "What happens.",
    }
    phase["properties"]["with"] = {"description": "The parameters of this kind."}
    phase["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {"properties": {"with": reference}},
        }
        for kind, reference in parameters.items()
    ]


def _whole_file(scenario: Schema) -> Schema:
    """A file may say less than a scenario when it extends another, and leave parts empty."""
    properties = scenario["properties"]
    properties["scenario"] = {"const": "v1", "description": "The version of the format."}
    for name in ("vars", "timeline"):
        properties[name]["type"] = [properties[name]["type"], "null"]
    required = scenario.pop("required")
    return {
        **scenario,
        "properties": {**properties, **_WORDS_OF_FILES},
        "if": {"required": ["extends"]},
        "else": {"required": required},
        "not": {"required": ["seed", "seeds"]},
    }


def main() -> None:
    """Write the schema to standard output."""
    json.dump(schema(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
