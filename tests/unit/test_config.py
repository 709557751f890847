from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ConfigError
from thingstorm.config import load_config
from thingstorm.runtime.parts import check_backends


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_defaults_serve_a_newcomer() -> None:
    config = load_config()
    assert (config.broker.host, config.broker.port, config.aws.backend) == ("127.0.0.1", 1883, "embedded")


def test_flags_win_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "thingstorm.toml", "[broker]\nport = 1\n[api]\nport = 1\n[aws]\nport = 1\n")
    monkeypatch.setenv("THINGSTORM__API__PORT", "2")
    monkeypatch.setenv("THINGSTORM__AWS__PORT", "2")
    config = load_config(flags={"aws": {"port": 3}})
    assert (config.broker.port, config.api.port, config.aws.port) == (1, 2, 3)
    assert load_config(file).model_dump() == load_config().model_dump()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[broker]\nport = 70000\n", "setting 'broker.port'"),
        ("[brokr]\nport = 1\n", "unknown setting 'brokr'"),
        ("[broker\nport = 1\n", "is not valid TOML"),
        ("drain_seconds = -1\n", "setting 'drain_seconds'"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        load_config(write(tmp_path / "x.toml", text))
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load_config(tmp_path / "none.toml")


def test_a_wrong_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGSTORM__BROKER__PORT", "many")
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert "THINGSTORM__BROKER__PORT" in caught.value.fix


ALERTS = """\
[alerts]
findings_file = "findings.ndjson"
[[alerts.webhooks]]
url = "https://chat.example.com/x"
template = "slack"
[alerts.email]
host = "mail.example.com"
password = "hush"
sender = "a@example.com"
to = ["b@example.com"]
"""


def test_alert_channels_from_a_file_and_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINGSTORM__ALERTS__EMAIL__PASSWORD", "other")
    alerts = load_config(write(tmp_path / "x.toml", ALERTS)).alerts
    assert alerts.email is not None
    assert alerts.email.password.get_secret_value() == "other"
    assert (alerts.webhooks[0].name, alerts.webhooks[0].template) == ("webhook", "slack")
    assert "other" not in repr(alerts)
    monkeypatch.delenv("THINGSTORM__ALERTS__EMAIL__PASSWORD")
    monkeypatch.setenv("THINGSTORM__ALERTS__WEBHOOKS", '[{"url": "http://127.0.0.1/x", "name": "soar"}]')
    assert [one.name for one in load_config().alerts.webhooks] == ["soar"]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"webhooks": [{"url": "ftp://x"}]}, "begins with http"),
        ({"webhooks": [{"url": "http://x", "template": "pagerduty"}]}, "routing_key"),
        ({"webhooks": [{"url": "http://x"}, {"url": "http://y"}]}, "another alert channel named 'webhook'"),
        ({"webhooks": [{"url": "http://x", "name": "sns"}]}, "another alert channel named 'sns'"),
        ({"webhooks": [{"url": "http://x", "name": "../x"}]}, "setting 'alerts.webhooks.0.name'"),
        ({"email": {"host": "m", "sender": "a@b", "to": []}}, "setting 'alerts.email.to'"),
        ({"email": {"host": "m", "sender": "a@b", "to": ["x\r\nBcc: y@z"]}}, "no mail address"),
    ],
)
def test_a_wrong_alert_channel_is_one_clear_error(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        load_config(flags={"alerts": given})


def test_iot_core_and_the_services_of_its_account_would_store_each_message_twice() -> None:
    both = load_config(flags={"broker": {"backend": "aws"}, "aws": {"backend": "aws"}})
    with pytest.raises(ConfigError, match="each store every message") as refused:
        check_backends(both)
    assert "leave out one of them" in refused.value.fix
    for one in ("broker", "aws"):
        check_backends(load_config(flags={one: {"backend": "aws"}}))
