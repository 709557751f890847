"""The alerts of the configuration: every channel that is switched on, and the service that feeds them."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from analytics.alerting.mail import Mail, MailServer
from analytics.alerting.ndjson import FindingsFile
from analytics.alerting.service import Alerts
from analytics.alerting.signing import key_of
from analytics.alerting.templates import template
from analytics.alerting.webhook import Webhook
from contracts.clock import Clock
from contracts.ports import AlertChannel, Emit
from pipeline.aws.alerts import FindingObjects, SnsAlerts
from pipeline.aws.provision import Resources
from pipeline.aws.session import ClientFactory
from thingstorm import __version__
from thingstorm.config_alerts import AlertsConfig, EmailConfig, WebhookConfig

Base = Callable[[], str]
"""The address of our own API, known once it listens."""


def make_alerts(
    settings: AlertsConfig,
    *,
    factory: ClientFactory,
    resources: Resources,
    clock: Clock,
    emit: Emit,
    base: Base,
    folder: Path | None,
) -> Alerts:
    """The service over all channels. Raises ConfigError for a secret that is none, JournalFault for the folder."""
    channels: list[AlertChannel] = [
        *_aws_channels(settings, factory, resources),
        *(_webhook(one, clock) for one in settings.webhooks),
    ]
    if settings.email is not None:
        channels.append(_mail(settings.email))
    if settings.findings_file is not None:
        render = template("ocsf", product_version=__version__)
        channels.append(FindingsFile("findings-file", settings.findings_file, render=render))
    return Alerts(
        channels,
        clock=clock,
        emit=emit,
        link=lambda incident_id: f"{(settings.link or base()).rstrip('/')}/#/incidents/{quote(incident_id)}",
        folder=folder,
        capacity=settings.waiting,
    )


def _aws_channels(settings: AlertsConfig, factory: ClientFactory, resources: Resources) -> list[AlertChannel]:
    channels: list[AlertChannel] = []
    if settings.sns:
        render = template(settings.sns_format, product_version=__version__)
        sns, arn = factory.client("sns"), resources.sns_topics["alerts"]
        channels.append(SnsAlerts(sns=sns, sns_topic_arn=arn, render=render))
    if settings.findings_archive:
        render = template("ocsf", product_version=__version__)
        channels.append(FindingObjects(s3=factory.client("s3"), bucket=resources.bucket, render=render))
    return channels


def _webhook(one: WebhookConfig, clock: Clock) -> Webhook:
    routing_key = one.routing_key.get_secret_value()
    return Webhook(
        one.name,
        url=one.url,
        render=template(one.template, product_version=__version__, routing_key=routing_key),
        key=key_of(one.secret.get_secret_value()),
        clock=clock,
        headers=one.headers,
    )


def _mail(one: EmailConfig) -> Mail:
    server = MailServer(
        one.host, one.port, one.security, one.user, one.password.get_secret_value(), one.cafile
    )
    return Mail("email", server=server, sender=one.sender, recipients=one.to)
