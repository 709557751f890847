"""Runs files of documented examples: `rules test`.

A file is a JSON object with two lists. `statements` hold `sql`, `topic`, `payload` and either `expected` or
`no_action: true`; `functions` hold `expr` and either `expected` or `undefined: true`. Each has an `id`. A
statement may also say `version`, `client_id`, and `payload_base64` in the place of `payload` for one that is no JSON.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.errors import ConfigError
from contracts.messages import Message

from .engine import Engine, Rule
from .evaluator import LATEST
from .payload import to_json
from .values import Value, is_number

RULE: Final = "conformance"
"""The rule's name, by which Basic Ingest examples call it."""

_AT: Final = 1_700_000_000_000_000_000
_NOTHING: Final = "no action"
_LAST_BIT: Final = 4e-16
"""Two doubles may differ by the last of their 53 bits: C libraries round sin() and exp() differently."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One example: `seen` and `expected` are shown as JSON, or say that no action was taken."""

    case: str
    passed: bool
    what: str
    expected: str
    seen: str


def run_file(path: Path) -> Iterator[Outcome]:
    """The outcome of each example of a file. Raises ConfigError for a file of another form."""
    content = _read(path)
    for case in content.get("statements", []):
        yield _statement(path, case)
    for case in content.get("functions", []):
        yield _function(path, case)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", fix="give a JSON file of examples") from None
    lists = [content.get(key, []) for key in ("statements", "functions")] if isinstance(content, dict) else []
    if not any(lists) or not all(isinstance(one, list) for one in lists):
        raise ConfigError(f"{path}: no examples", fix='write {"statements": [...], "functions": [...]}')
    return dict(content)


def _statement(path: Path, case: Any) -> Outcome:
    sql, topic = _field(path, case, "sql"), _field(path, case, "topic")
    expected = [] if case.get("no_action") else [_expected(path, case)]
    seen = _evaluate(sql, topic, _payload(path, case), case)
    return _outcome(case, sql, expected, seen)


def _function(path: Path, case: Any) -> Outcome:
    expr = _field(path, case, "expr")
    expected = {} if case.get("undefined") else {"value": _expected(path, case)}
    sql = f"SELECT {expr} AS value FROM 'a'"  # noqa: S608 - IoT SQL, which knows no injection: it is the test
    seen = _evaluate(sql, "a", b"{}", case)
    return _outcome(case, expr, [expected], seen)


def _evaluate(sql: str, topic: str, payload: bytes, case: Mapping[str, Any]) -> list[Value] | ConfigError:
    client = str(case.get("client_id", "conformance"))
    message = Message(
        "00000000-0000-4000-8000-000000000000", client, "", topic, payload, 0, retain=False, received_at=_AT
    )
    try:
        rule = Rule(name=RULE, sql=sql, version=str(case.get("version", LATEST)))
    except ConfigError as error:
        return error
    return [match.result for match in Engine([rule]).match(message)]


def _outcome(
    case: Mapping[str, Any], what: str, expected: list[Value], seen: list[Value] | ConfigError
) -> Outcome:
    name = str(case.get("id", what))
    if isinstance(seen, ConfigError):
        return Outcome(name, passed=False, what=what, expected=_shown(expected), seen=f"refused: {seen.what}")
    return Outcome(name, _same(expected, seen), what, _shown(expected), _shown(seen))


def _same(left: Value, right: Value) -> bool:
    """Equal as JSON values, with doubles to their last bit."""
    if is_number(left) and is_number(right):
        return left == right or math.isclose(left, right, rel_tol=_LAST_BIT)
    if type(left) is not type(right):
        return False
    if type(left) is list:
        return len(left) == len(right) and all(map(_same, left, right))
    if type(left) is dict:
        return left.keys() == right.keys() and all(_same(value, right[key]) for key, value in left.items())
    return bool(left == right)


def _shown(results: list[Value]) -> str:
    if not results:
        return _NOTHING
    return repr(results[0]) if type(results[0]) is bytes else to_json(results[0])


def _field(path: Path, case: Any, key: str) -> str:
    if not isinstance(case, dict) or not isinstance(case.get(key), str):
        shown = json.dumps(case)[:80]
        raise ConfigError(f"{path}: an example without {key}: {shown}", fix=f'write "{key}": "..."')
    return str(case[key])


def _expected(path: Path, case: Mapping[str, Any]) -> Value:
    if "expected" not in case:
        raise ConfigError(
            f"{path}: example {case.get('id', '?')} expects nothing",
            fix='write "expected", "no_action": true or "undefined": true',
        )
    return case["expected"]


def _payload(path: Path, case: Mapping[str, Any]) -> bytes:
    if "payload_base64" not in case:
        return json.dumps(case.get("payload"), ensure_ascii=False).encode()
    try:
        return base64.b64decode(str(case["payload_base64"]), validate=True)
    except binascii.Error:
        raise ConfigError(f"{path}: payload_base64 is no base64", fix="encode the bytes as base64") from None
