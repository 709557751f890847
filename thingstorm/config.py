"""One tree of settings. What wins: flags > environment `THINGSTORM__...` > `thingstorm.toml` > defaults.

Pure and frozen: reading it opens no port and imports no backend. A wrong setting is a ConfigError that says
where it was looked for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from contracts.errors import ConfigError
from thingstorm.config_alerts import AlertsConfig, LogsConfig

DEFAULT_FILE = Path("thingstorm.toml")

Port = Annotated[int, Field(ge=0, le=65535)]
"""0 lets the system choose."""
Count = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BrokerConfig(_Section):
    """The device gateway.

    The plain listeners (MQTT, and MQTT over websockets at /mqtt) take everybody for the local `principal`, so `host`
    is loopback unless told otherwise. The TLS listener asks for a certificate of the registry. `overrides` replaces
    limits of the profile by name; `policy` is a file with the local principal's policy document; `pki` is the folder
    of the gateway's own CA, which without one lives as long as the process. `plugins` is amqtt's.

    With `backend = "external"` the broker is somebody else's, at `url` (mqtt:// or mqtts://), with `cafile`, `certfile` and
    `keyfile` for TLS; `filters` is what the rules see of it, `client_id_pattern` where a topic names the device.
    """

    backend: str = "amqtt"
    host: str = "127.0.0.1"
    port: Port = 1883
    tls_port: Port | None = 8883
    websocket_port: Port | None = 9001
    limits: Literal["aws", "open"] = "aws"
    overrides: dict[str, float] = {}
    principal: str = "local"
    policy: Path | None = None
    pki: Path | None = None
    tls_names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    plugins: dict[str, Any] = {}
    url: str = ""
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    filters: tuple[str, ...] = ("#",)
    client_id_pattern: str = "+/+/{client_id}/#"
    buffer: Count = 20_000  # messages waiting for the rules before reading pauses


class AwsConfig(_Section):
    """The AWS services behind the rules."""

    backend: str = "embedded"
    port: Port = 4566
    endpoint: str = ""
    region: str = "us-east-1"
    prefix: str = "thingstorm"


class PipelineConfig(_Section):
    """Rules, workers and the delivery stream. `parts` are those that `thingstorm serve pipeline` runs."""

    parts: frozenset[Literal["router", "worker", "delivery"]] = frozenset({"router", "worker", "delivery"})
    rules: Path | None = None
    pollers: Count = 3  # MaximumConcurrency of the telemetry lane
    batch_size: Count = 50  # BatchSize
    batch_window: Annotated[float, Field(ge=0)] = 0.0  # MaximumBatchingWindowInSeconds
    visibility_seconds: Count = 30  # VisibilityTimeout: a message that the handler left comes again
    keep_days: Annotated[float, Field(ge=0)] = 0.0  # of messages, metrics and verdicts; 0: for ever
    archive_bytes: Count = 5 * 1024 * 1024
    archive_seconds: Seconds = 60.0
    archive_topics: tuple[str, ...] = ()  # SNS topics that the delivery stream is subscribed to


class ViewConfig(_Section):
    """The SQL view. Without a path it lives in memory and ends with the stack.

    With `hot_seconds` older telemetry leaves the view's file and is read from the archive's objects, under the same
    name; at least 20 minutes, because a delivery stream holds records back for as much as 15.
    """

    backend: str = "duckdb"
    path: Path | None = None
    memory_limit: str = "2GB"
    hot_seconds: Annotated[float, Field(ge=1_200)] | None = None


class ModelConfig(_Section):
    """The detector and the response to its verdicts.

    `baseline` is a Parquet file for what was learnt: with it a restart does not learn again. Without `quarantine`
    devices are only held for a person; a `dry_run` decides and records everything and does nothing. At most
    `max_quarantine_share` of the fleet is shut out in all, `window_quarantine_share` within 5 s; what goes beyond is
    held. A device comes out `release_after_seconds` after its incident is over, and at the latest after
    `quarantine_limit_seconds`, never while evidence goes on.
    """

    detector: str = "knn"
    train_seconds: Seconds = 120.0
    baseline: Path | None = None
    quarantine: bool = True
    dry_run: bool = False
    max_quarantine_share: Share = 0.3
    window_quarantine_share: Share = 0.2
    release_after_seconds: Seconds = 600.0
    quarantine_limit_seconds: Seconds = 3600.0


class ApiConfig(_Section):
    """The HTTP API and the page on one port, and the port for clients of PostgreSQL (`postgres_port`; none: it is closed).

    On loopback nobody logs in. Beyond it, or with a `token`, each request needs that, as `Authorization: Bearer` or as a
    password, or on HTTP a name of the `users` file (`thingstorm users add`).
    `published` is the address at which others reach the port where that is not `host`, as with a container: the rules
    go by it. `scenarios` is a folder of your own scenario files, which the page plays beside the library. `origins` are
    pages of yours that may use the API from a browser (`https://desk.example`).
    Answers of scheduled queries go to webhooks of `webhook_hosts` only, signed with `webhook_secret`.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    token: str = ""
    users: Path | None = None
    published: str = ""
    scenarios: Path | None = None
    origins: tuple[str, ...] = ()
    postgres_port: Port | None = 5433
    webhook_secret: str = ""
    webhook_hosts: tuple[str, ...] = ("localhost", "127.0.0.1")


class StagesConfig(_Section):
    """Stages as processes of their own (`thingstorm serve`). They find each other by these addresses alone.

    `token` is shared by all stages. Each stage listens at the port of its own address, on `host`; `data` is the
    folder for what it must not lose (the broker's journal, the delivery stream's buffer).
    """

    token: str = ""
    host: str = "127.0.0.1"
    broker: str = "http://127.0.0.1:8081"
    pipeline: str = "http://127.0.0.1:8082"
    analytics: str = "http://127.0.0.1:8080"
    delivery: str = ""  # where the delivery stream is, if not in the pipeline's own process
    simulator: str = "http://127.0.0.1:8083"
    data: Path = Path("thingstorm-data")
    journal: Count = 1_000_000  # messages that may wait for the rules while the pipeline is away


class Config(BaseSettings):
    """Everything that can be set, with the values that serve a newcomer."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="THINGSTORM__",
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )
    toml_path: ClassVar[Path | None] = None

    broker: BrokerConfig = BrokerConfig()
    aws: AwsConfig = AwsConfig()
    pipeline: PipelineConfig = PipelineConfig()
    view: ViewConfig = ViewConfig()
    model: ModelConfig = ModelConfig()
    api: ApiConfig = ApiConfig()
    stages: StagesConfig = StagesConfig()
    alerts: AlertsConfig = AlertsConfig()
    logs: LogsConfig = LogsConfig()
    drain_seconds: Seconds = 5.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class passes it; no .env file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, cls.toml_path))


def load_config(path: Path | None = None, *, flags: Mapping[str, Any] | None = None) -> Config:
    """Read the settings. `path` defaults to `thingstorm.toml` in the current folder, if it is there.

    Raises ConfigError: file missing or not TOML, unknown key, or a value out of range.
    """
    if path is not None and not path.is_file():
        raise ConfigError(
            f"no configuration file {path}", fix="give an existing file to --config, or leave it out"
        )
    chosen = path or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    bound = type("BoundConfig", (Config,), {"toml_path": chosen, "__module__": __name__})
    try:
        config: Config = bound(**(flags or {}))
    except ValidationError as error:
        raise _explain(error, chosen) from None
    except ValueError as error:
        raise ConfigError(f"{chosen} is not valid TOML: {error}", fix="correct the line it names") from None
    # an instance of the plain class: it travels to other processes
    return Config.model_construct(**{name: getattr(config, name) for name in Config.model_fields})


def _explain(error: ValidationError, path: Path | None) -> ConfigError:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    looked = f"flags, environment THINGSTORM__{key.upper().replace('.', '__')}, {path or DEFAULT_FILE}"
    if first["type"] == "extra_forbidden":
        return ConfigError(
            f"unknown setting '{key}'", fix=f"remove it or correct its name (looked in: {looked})"
        )
    return ConfigError(f"setting '{key}': {first['msg']}", fix=f"correct it in one of: {looked}")
