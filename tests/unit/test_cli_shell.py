"""The shell of `thingstorm sql`, with somebody who types and without a terminal."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from analytics.view.duckdb import DuckDBView
from contracts.errors import ConfigError, UnknownName
from thingstorm.cli.shell import Shell, StoredAnswers, Words, completer, converse, read_from


class Answers:
    """Answers a statement with itself."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def query(self, sql: str) -> Mapping[str, Any]:
        self.asked.append(sql)
        if "wrong" in sql:
            raise ConfigError("wrong", fix="right")
        return {"columns": ["sql"], "rows": [[sql]], "milliseconds": 1.0}

    def explain(self, sql: str) -> list[Mapping[str, Any]]:
        return [{"table": sql, "used": "key index", "rows_scanned": 1, "row_groups": "1 of 1", "filters": []}]

    def collections(self) -> list[str]:
        return ["devices", "telemetry"]

    def describe(self, name: str) -> Mapping[str, Any]:
        columns = {"_id": "VARCHAR", "topic": "VARCHAR", name: "BIGINT"}
        return {"columns": columns, "indexes": ["_id"], "rows": 3, "event_time": {"column": "at"}}

    def queries(self) -> list[Mapping[str, Any]]:
        return [{"name": "top_talkers", "description": "Who talks."}]

    def run(self, name: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        return self.query(f"{name} {dict(parameters)}")


@pytest.fixture
def answers() -> Answers:
    return Answers()


def test_what_comes_through_a_pipe_runs_statement_by_statement(
    answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "SELECT 1;\n\nSELECT 'a;b',\n  2 -- no; end\n;  SELECT 3; .tables\n;\n.format csv\n.tables\n.run top_talkers seconds=5\nSELECT 4"
    read_from(io.StringIO(text), Shell(answers))
    assert answers.asked == [
        "SELECT 1",
        "SELECT 'a;b',\n  2 -- no; end",
        "SELECT 3",
        ".tables",
        "top_talkers {'seconds': '5'}",
        "SELECT 4",
    ]
    assert "collection\r\ndevices\r\ntelemetry" in capsys.readouterr().out


def test_a_pipe_ends_at_the_first_error_and_at_quit(answers: Answers) -> None:
    with pytest.raises(ConfigError):
        read_from(io.StringIO("SELECT wrong;\nSELECT 1;"), Shell(answers))
    with pytest.raises(UnknownName, match="describ"):
        read_from(io.StringIO(".describ telemetry\n"), Shell(answers))
    read_from(io.StringIO(".quit\nSELECT 1;"), Shell(answers))
    assert answers.asked == ["SELECT wrong"]


def test_the_commands_show_what_is_there(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    read_from(io.StringIO(".describe telemetry\n.queries\n.explain SELECT 7\n.help\n"), Shell(answers))
    told = capsys.readouterr().out
    for piece in ("_id", "yes", "3 rows; event time at", "Who talks.", "key index", ".describe", "semicolon"):
        assert piece in told
    for wrong in (".describe", ".format xml"):
        with pytest.raises(ConfigError):
            Shell(answers).take(wrong)


@pytest.fixture
def typing(answers: Answers) -> Iterator[tuple[Any, Shell]]:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys, Shell(answers)


def test_a_person_types_over_lines_errs_and_leaves(
    typing: tuple[Any, Shell], answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, shell = typing
    keys.send_text("SELECT\r1;\rSELECT wrong;\rSELECT begun\r\x03SELECT 2;\r.quit\r")
    session: PromptSession[str] = PromptSession(history=InMemoryHistory())
    converse(shell, session)
    assert answers.asked == ["SELECT\n1", "SELECT wrong", "SELECT 2"]
    assert "error: wrong\nfix: right" in capsys.readouterr().err
    assert "SELECT 2;" in list(session.history.get_strings())


def test_control_d_leaves_and_history_is_kept(
    typing: tuple[Any, Shell], answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    keys, shell = typing
    keys.send_text("SELECT 5;\r\x04")
    converse(shell)
    kept = FileHistory(str(tmp_path / "thingstorm" / "sql_history"))
    assert list(kept.load_history_strings()) == ["SELECT 5;"]
    assert answers.asked == ["SELECT 5"]


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("SELECT * FROM te", ["telemetry"]),
        ("SELECT * FROM ", ["devices", "telemetry"]),
        ("SELECT top", ["topic"]),
        ("sel", ["SELECT"]),
        (".de", [".describe"]),
        (".describe d", ["devices"]),
        ("SELECT ", []),
    ],
)
def test_collections_columns_keywords_and_commands_are_completed(
    answers: Answers, before: str, words: list[str]
) -> None:
    found = completer(Shell(answers)).get_completions(Document(before), CompleteEvent())
    assert [one.text for one in found] == words


def test_a_stack_that_is_away_completes_nothing(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> list[str]:
        raise ConfigError("away", fix="start it")

    monkeypatch.setattr(answers, "collections", away)
    shell = Shell(answers)
    assert list(completer(shell).get_completions(Document("SELECT * FROM "), CompleteEvent())) == []
    assert Words(shell)


def test_a_stored_view_is_asked_without_a_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = DuckDBView(tmp_path / "view.duckdb")
    view.open()
    view.close()
    shell = Shell(StoredAnswers(tmp_path / "view.duckdb"), form="csv")
    read_from(io.StringIO("SELECT 1 + 1;\n.tables\n.describe telemetry\n.queries\n"), shell)
    told = capsys.readouterr().out
    for piece in ("2\r\n", "telemetry\r\n", "received_at,TIMESTAMP", "top_talkers"):
        assert piece in told
    for asked in (".describe nope", ".run top_talkers", ".explain SELECT 1"):
        with pytest.raises(ConfigError):
            shell.take(asked)
