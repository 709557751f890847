"""Turns flags into settings: `--config`, `--set section.key=value`, `--ports auto`."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from contracts.errors import ConfigError
from thingstorm.config import Config, load_config

Ports = Literal["auto", "fixed"]

_PORTS = {
    "broker": {"port": 0, "tls_port": 0, "websocket_port": 0},
    "aws": {"port": 0},
    "api": {"port": 0, "postgres_port": 0},
}


def config_of(
    path: Path | None,
    *,
    ports: Ports = "fixed",
    settings: Sequence[str] = (),
    log_format: str | None = None,
) -> Config:
    """The configuration with the flags on top. `auto` lets the system choose every port that nobody set by flag."""
    flags: dict[str, Any] = copy.deepcopy(_PORTS) if ports == "auto" else {}
    if log_format is not None:
        flags["logs"] = {"format": log_format}
    for text in settings:
        _merge(flags, text)
    return load_config(path, flags=flags)


def _merge(flags: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: no '='", fix="write --set section.key=value")
    *sections, last = key.split(".")
    place = flags
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise ConfigError(
                f"--set {text}: '{section}' was given a value of its own", fix="leave one of them out"
            )
    place[last] = _value(text, value)


def _value(text: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set {text}: what stands after the '=' is no YAML",
            fix="put it in quotes: --set 'name=\"...\"'",
        ) from None
