"""docs/iot-sql.md, made from the code: what of AWS IoT SQL and of rule actions is supported, and how well."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from pipeline.actions.capabilities import ACTIONS_LACKING, SERVICES_LACKING
from pipeline.rules.conformance import Outcome, run_file
from pipeline.rules.evaluator import VERSIONS
from pipeline.rules.functions import FUNCTIONS, Function
from pipeline.rules.functions import UNAVAILABLE as NO_FUNCTIONS
from pipeline.rules.functions.base import MANY
from pipeline.rules.lexing import MAX_TOKENS
from pipeline.rules.parser import MAX_STATEMENT
from pipeline.rules.payload import MAX_DEPTH
from pipeline.rules.rule import MAX_ACTIONS
from pipeline.rules.specs import ACTIONS, FIELDS
from pipeline.rules.specs import UNAVAILABLE as NO_ACTIONS

_HEAD: Final = """# IoT SQL: what is supported

Made from the code by `thingstorm rules reference tests/conformance/iot_sql_guide.json`; a test holds it to the code.

```
thingstorm rules eval "SELECT topic(2) AS device FROM 'dt/+' WHERE t > 50" --payload '{"t": 51}'
thingstorm rules explain dt/meter/m-1/telemetry --payload '{"power_w": 400}'
thingstorm rules lint
```

`thingstorm rules test FILE` runs a file of examples, `thingstorm rules lint FILE` says what AWS would refuse, do
otherwise or bill (without FILE: of the rules that `thingstorm deploy` makes). `thingstorm doctor` prints what the configured backend can do.
"""

_GRAMMAR: Final = """## Language

`SET @name = ...`, `SELECT`, `SELECT VALUE`, `*`, `AS` with dotted names, nested `(SELECT ... FROM path WHERE ...)`, `CASE`,
`CAST`, `IN`, arrays, objects, `AND OR NOT`, `= <> < <= > >=`, `+ - * / %`, `.`; keywords and functions in any case. A
statement is compiled once; rules are found by a tree of topic levels, not by trying each.

Numbers are exact decimals of 34 digits; what is not finite, of a wrong type, or called with a wrong number of
arguments is Undefined, and an Undefined key is left out. A payload that is no JSON can be passed on by `SELECT *` and
read by `encode(*, 'base64')` and the hashes.
"""

_READINGS: Final = (
    ('`get("abc", 1)`', "prints `a`, and calls the index 0-based", "`b`"),
    ("`bitnot(13)`", "prints `2`, which no width gives", "`-14`, two's complement"),
    ("`concat(1)`", 'prints `"1"`, and says that one argument is returned unmodified', '`"1"`'),
    ("`round(-1.5)`", "prints `-2`, and says that halves go up", "`-2`: halves away from zero"),
    (
        "Decimal to Int",
        '"nearest" in one table, "rounded down" in `cast` and the functions',
        "rounded down: `-1.5` is `-2`",
    ),
    ("`bitxor(13, 5)`", "its example is headed `bitor`", "`8`"),
    ("`cast(... as String)` of a String", 'lists only "true" and "false"', "the String unchanged"),
    (
        "`nanvl`",
        '"a valid Decimal" in the text, any value in the table',
        "the table: the second only for Null and Undefined",
    ),
    ('`Ltrim(" h i ")`', "both trims speak of tabs and spaces", "all white space"),
    ("`CASE` of Undefined", "the result of `ELSE` in one sentence, Undefined in the note", "Undefined"),
)
"""What the guide says twice, and the reading taken."""


def page(examples: Sequence[Path]) -> str:
    """The whole page. Raises ConfigError for a file of examples that cannot be read."""
    outcomes = [one for file in examples for one in run_file(file)]
    parts = [_HEAD, _score(outcomes), _GRAMMAR, _versions(), _limits(), _functions(), _actions(), _readings()]
    return "\n".join(part for part in parts if part)


def _score(outcomes: Sequence[Outcome]) -> str:
    passed = sum(one.passed for one in outcomes)
    return (
        f"Conformance: **{passed} of {len(outcomes)}** of the guide's printed examples.\n" if outcomes else ""
    )


def _versions() -> str:
    known = ", ".join(f"`{one}`" for one in VERSIONS)
    return (
        f"Versions: {known}. 2015-10-08 has no literal arrays and objects, no nested SELECT and not the functions marked 2016, "
        "and keeps `10.0` a Decimal; beta is 2016-03-23.\n"
    )


def _limits() -> str:
    rows = [
        ("characters of a statement", f"{MAX_STATEMENT:,}", "AWS's"),
        ("words and signs of a statement", f"{MAX_TOKENS:,}", "ours: reading it stays under 100 ms"),
        (
            "containers inside each other in a payload",
            f"{MAX_DEPTH}",
            "ours: deeper is no JSON to a statement",
        ),
        ("actions of a rule", f"{MAX_ACTIONS}", "AWS's"),
    ]
    return "\n".join(["## Limits", "", *_table(("what", "at most", "whose"), rows), ""])


def _functions() -> str:
    rows = [
        (f"`{name}`", _count(one), "2016" if one.new else "2015", one.service, _meaning(one))
        for name, one in sorted([*FUNCTIONS.items(), ("sql_version", _SQL_VERSION)])
    ]
    refused = [f"`{name}()`: {why}." for name, why in sorted(NO_FUNCTIONS.items())]
    told = f"Refused by name when a rule is made: {' '.join(refused)} `encode` and `decode` with protobuf.\n"
    head = ("function", "arguments", "since", "asks", "meaning")
    return "\n".join([f"## Functions: {len(rows)}", "", *_table(head, rows), "", told])


_SQL_VERSION: Final = Function("sql_version", lambda: None, 0, 0)


def _count(one: Function) -> str:
    if one.most == MANY:
        return f"{one.least} or more"
    return str(one.least) if one.least == one.most else f"{one.least} to {one.most}"


def _meaning(one: Function) -> str:
    told = _MEANINGS.get(one.name) or (one.call.__doc__ or "").strip().partition("\n")[0]
    return told.rstrip(".").replace("|", "\\|")


def _actions() -> str:
    rows = [
        (f"`{kind}`", _names(FIELDS[kind].required), _names(FIELDS[kind].optional))
        for kind in sorted(ACTIONS.backends)
    ]
    refused = ", ".join(f"`{kind}`" for kind in sorted(NO_ACTIONS))
    lacking = [
        f"Backend `{backend}` has not: {_names(kinds)}." for backend, kinds in sorted(ACTIONS_LACKING.items())
    ] + [
        f"Functions on backend `{backend}` cannot ask: {_names(kinds)}."
        for backend, kinds in sorted(SERVICES_LACKING.items())
    ]
    told = [
        "Every field takes `${...}`. Each action fails for itself; `errorAction` gets one message for each rule and message.",
        f"Refused by name: {refused}.",
        *lacking,
    ]
    return "\n".join(["## Actions", "", *_table(("action", "required", "optional"), rows), "", *told, ""])


def _readings() -> str:
    head = ("where", "the guide", "here")
    return "\n".join(["## Where the guide contradicts itself", "", *_table(head, _READINGS)]) + "\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


_MEANINGS: Final = {
    "abs": "absolute value",
    "accountid": "the account that owns the rule",
    "acos": "inverse cosine, radians",
    "asin": "inverse sine, radians",
    "atan": "inverse tangent, radians",
    "atan2": "angle of the point, radians",
    "bitand": "bitwise AND of Ints",
    "bitnot": "bitwise NOT, two's complement",
    "bitor": "bitwise OR of Ints",
    "bitxor": "bitwise XOR of Ints",
    "ceil": "up to the next Int",
    "cos": "cosine of radians",
    "cosh": "hyperbolic cosine",
    "endswith": "whether the first text ends with the second",
    "exp": "e to that power",
    "floor": "down to the next Int",
    "indexof": "0-based place of the second text in the first, -1 if it is not in it",
    "isnull": "whether it is Null",
    "isundefined": "whether it is Undefined",
    "length": "characters of the text",
    "ln": "natural logarithm",
    "log": "logarithm of base 10",
    "lower": "in lower case",
    "ltrim": "without white space in front",
    "md2": "hash, hexadecimal; `*` is the raw payload",
    "mod": "remainder, with the sign of the first argument",
    "nanvl": "the second argument if the first is Null or Undefined",
    "newuuid": "a random UUID",
    "numbytes": "bytes of the text in UTF-8",
    "power": "the first to the power of the second, in double precision",
    "principal": "certificate id, or who else authenticated",
    "rand": "a random Decimal from 0 to 1",
    "regexp_matches": "whether the text contains a match",
    "regexp_replace": "all matches replaced; `$1` is a group",
    "regexp_substr": "the first match",
    "remainder": "as mod",
    "replace": "all occurrences replaced",
    "round": "to the nearest Int, halves away from zero",
    "rpad": "that many spaces behind",
    "rtrim": "without white space behind",
    "sha1": "as md2",
    "sign": "-1, 0 or 1",
    "sin": "sine of radians",
    "sinh": "hyperbolic sine",
    "sourceip": "the address of the publisher",
    "sql_version": "the version of the rule",
    "sqrt": "square root",
    "startswith": "whether the first text starts with the second",
    "tan": "tangent of radians",
    "tanh": "hyperbolic tangent",
    "traceid": "the id of the message; Undefined when not MQTT",
    "trim": "without white space around",
    "upper": "in upper case",
    **dict.fromkeys(("md5", "sha224", "sha256", "sha384", "sha512"), "as md2"),
}
"""Of functions that are made in groups, and have no docstring of their own."""
