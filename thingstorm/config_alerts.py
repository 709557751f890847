"""The settings of `alerts` and `logs`: who is told, how, and how this process speaks itself."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Template: TypeAlias = Literal["thingstorm", "slack", "pagerduty", "ocsf"]

OWN_CHANNELS = ("sns", "email", "findings-file", "findings")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebhookConfig(_Section):
    """An address that alerts are posted to.

    `name` is what the list of actions calls it. With a `secret` every request is signed (docs/alerts.md). `routing_key`
    is PagerDuty's integration key; `headers` go with every request.
    """

    url: str
    name: Name = "webhook"
    template: Template = "thingstorm"
    secret: SecretStr = SecretStr("")
    routing_key: SecretStr = SecretStr("")
    headers: dict[str, str] = {}

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("a webhook's address begins with http:// or https://")
        return url

    @model_validator(mode="after")
    def _has_its_key(self) -> "WebhookConfig":
        if self.template == "pagerduty" and not self.routing_key.get_secret_value():
            raise ValueError("the template pagerduty needs a routing_key (the integration's key)")
        return self


class EmailConfig(_Section):
    """A mail server and who gets mail.

    `security` is `starttls`, `tls` from the first byte, or `none`; `cafile` where the server's certificate is not of
    a public authority.
    """

    host: str
    port: Annotated[int, Field(gt=0, le=65535)] = 587
    security: Literal["none", "starttls", "tls"] = "starttls"
    user: str = ""
    password: SecretStr = SecretStr("")
    cafile: Path | None = None
    sender: str
    to: tuple[str, ...] = Field(min_length=1)

    @field_validator("sender", "to")
    @classmethod
    def _are_addresses(cls, told: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for address in [told] if isinstance(told, str) else told:
            if "@" not in address or any(character.isspace() for character in address):
                raise ValueError(f"'{address}' is no mail address")
        return told


class AlertsConfig(_Section):
    """Who is told of an incident: when it opens, when it becomes worse, when it is over.

    `sns` publishes to the SNS topic `alerts` in `sns_format`. `findings_file` is a file of OCSF findings, a line each;
    `findings_archive` puts them into the archive's bucket. `link` is where people reach this API and its page; without
    it, its own address. `folder` keeps what could not be delivered over a restart; the stage `analytics` has one of
    its own.
    """

    link: str = ""
    sns: bool = True
    sns_format: Literal["thingstorm", "ocsf"] = "thingstorm"
    webhooks: tuple[WebhookConfig, ...] = ()
    email: EmailConfig | None = None
    findings_file: Path | None = None
    findings_archive: bool = False
    folder: Path | None = None
    waiting: Annotated[int, Field(gt=0, le=100_000)] = 1_000  # alerts that wait for one channel

    @model_validator(mode="after")
    def _names_differ(self) -> "AlertsConfig":
        names = [one.name for one in self.webhooks]
        for name in names:
            if names.count(name) > 1 or name in OWN_CHANNELS:
                raise ValueError(
                    f"there is another alert channel named '{name}': give the webhook a name of its own"
                )
        return self


class LogsConfig(_Section):
    """How a process tells what it does: sentences, or a line of JSON each."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
