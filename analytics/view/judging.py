"""Which statements of strangers may run beside the writer: those that provably stay small.

DuckDB's limits do not bind a scalar: `len(range(500000000))` takes 7 GB and ignores `interrupt`. So a statement runs
in this process only if nothing in it makes a value longer than what it reads, and the engine's own limits (memory,
rows, `interrupt`) hold for the rest. All others run in a process of their own (`confined`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb

from contracts.messages import Json

CALM_LENGTH = 10_000
"""Characters of statement and parameters: a vector is 2,048 rows, so a literal in each makes 20 MB at most."""

CALM_TABLES = 8
SEARCH = "_search"
"""`COLLECTION_search`, a macro of `searching`; no function of DuckDB is called so."""

CALM_GROUPINGS = 16
"""CUBE over n columns groups 2^n times."""

_CALM_FUNCTIONS = frozenset(
    """
    + - * / // % ^ ** & | ~ << >> ~~ !~~ ~~* !~~* ~~~ -> ->> = <> < > <= >=
    abs ceil ceiling floor round sign sqrt exp ln log log2 log10 pow power greatest least trunc mod even
    avg count count_star max min sum any_value first last arg_max arg_min max_by min_by bool_and bool_or
    median quantile quantile_cont quantile_disc mode stddev stddev_pop stddev_samp var_pop var_samp variance
    approx_count_distinct approx_quantile corr covar_pop covar_samp entropy skewness kurtosis fsum sum_no_overflow
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
    lower upper lcase ucase trim ltrim rtrim length len strlen substring substr left right starts_with ends_with
    prefix suffix contains instr position strpos split_part reverse regexp_matches like_escape not_like_escape
    ilike_escape not_ilike_escape regexp_extract hash md5 sha256
    json_extract json_extract_string json_extract_path json_extract_path_text json_type json_valid json_exists
    json_array_length json_contains
    now current_timestamp current_date today get_current_timestamp date_trunc date_part datepart date_diff datediff
    date_sub date_add datetrunc time_bucket epoch epoch_ms epoch_ns epoch_us extract year month day hour minute
    second dayofweek dayofyear week strftime make_timestamp make_date to_timestamp to_seconds to_milliseconds
    to_minutes to_hours to_days timezone age
    coalesce ifnull nullif isnan isfinite isinf if error typeof struct_extract array_extract list_extract
    """.split()  # noqa: SIM905 - 170 words
)
_WRITING = frozenset(("write_log",))
"""Of a SELECT, to the engine's own log. A statement too long to be looked at finds the log of its own process only."""

_CALM_EXPRESSIONS = frozenset(
    """
    COLUMN_REF CONSTANT FUNCTION OPERATOR COMPARISON CONJUNCTION CAST CASE STAR SUBQUERY PARAMETER WINDOW BETWEEN
    POSITIONAL_REFERENCE COLLATE TYPE
    """.split()  # noqa: SIM905 - as above
)
_CALM_NODES = frozenset(("SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE"))
_CALM_TABLES = frozenset(
    ("BASE_TABLE", "JOIN", "SUBQUERY", "EMPTY", "EMPTY_FROM", "SHOW_REF", "EXPRESSION_LIST")
)
_EXPLAIN = re.compile(r"^\s*explain\s+(analyze\s+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a statement may run beside the writer; `why` not. One with a function that `writes` may run nowhere."""

    calm: bool
    why: str = ""
    writes: str = ""


def judge(sql: str, parameters: Mapping[str, Json]) -> Judgement:
    """Look at the parsed statement; nothing of it is run or folded."""
    size = len(sql) + len(json.dumps(dict(parameters), default=str))
    if size > CALM_LENGTH:
        return Judgement(calm=False, why=f"{size} characters of statement and parameters")
    try:
        parsed = _parse(_EXPLAIN.sub("", sql))
        why = next(_wild(parsed), "")
        named = (str(node.get("function_name", "")).lower() for node in _dicts(parsed))
        writes = next((one for one in named if one in _WRITING), "")
    except (RecursionError, duckdb.Error):
        return Judgement(calm=False, why="nesting")
    return Judgement(calm=not why, why=why, writes=writes)


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """An empty database that only parses."""
    return duckdb.connect(":memory:", config={"threads": 1})


def _parse(sql: str) -> dict[str, Any]:
    with _parser().cursor() as cursor:
        (text,) = cursor.execute("SELECT json_serialize_sql($sql::VARCHAR)", {"sql": sql}).fetchone() or (
            "{}",
        )
    told: dict[str, Any] = json.loads(text)
    return told


def _wild(parsed: dict[str, Any]) -> Iterator[str]:
    if parsed.get("error", True):
        yield "a statement that is no plain SELECT"
        return
    nodes = list(_dicts(parsed["statements"]))
    for node in nodes:
        yield from _wild_node(node)
    if sum(node.get("type") == "BASE_TABLE" for node in nodes) > CALM_TABLES:
        yield f"more than {CALM_TABLES} tables"


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _wild_node(node: dict[str, Any]) -> Iterator[str]:
    kind = str(node.get("type", ""))
    if "function_name" in node and not _is_calm(str(node["function_name"]).lower()):
        yield f"the function {node['function_name']}"
    if "class" in node and "query_location" in node and node["class"] not in _CALM_EXPRESSIONS:
        yield f"a {str(node['class']).lower()} expression"
    if kind == "ARRAY_CONSTRUCTOR":
        yield "a list"
    if "select_list" in node or kind.endswith("_NODE"):
        yield from _wild_query(kind, node)
    looked_up = kind == "TABLE_FUNCTION" and _is_search(node)
    if (
        "sample" in node
        and "alias" in node
        and "class" not in node
        and kind not in _CALM_TABLES
        and not looked_up
    ):
        yield f"a {kind.lower().replace('_', ' ')} in FROM"
    if kind == "JOIN" and not _is_bound(node):
        yield "a join without an equation"


def _is_calm(function: str) -> bool:
    return function in _CALM_FUNCTIONS or function.endswith(SEARCH)


def _is_search(node: dict[str, Any]) -> bool:
    """Our own macro over a search index: it gives rows of the collection, no more than are there."""
    return str((node.get("function") or {}).get("function_name", "")).lower().endswith(SEARCH)


def _wild_query(kind: str, node: dict[str, Any]) -> Iterator[str]:
    if kind not in _CALM_NODES:
        yield f"a {kind.lower().replace('_', ' ')}"
    if len(node.get("group_sets") or ()) > CALM_GROUPINGS:
        yield f"more than {CALM_GROUPINGS} groupings"


def _is_bound(join: dict[str, Any]) -> bool:
    if join.get("using_columns"):
        return True
    return any(
        part.get("type") == "COMPARE_EQUAL"
        and all(part.get(side, {}).get("class") == "COLUMN_REF" for side in ("left", "right"))
        for part in _conjuncts(join.get("condition"))
    )


def _conjuncts(condition: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(condition, dict):
        return
    if condition.get("type") == "CONJUNCTION_AND":
        for child in condition.get("children", ()):
            yield from _conjuncts(child)
    else:
        yield condition
