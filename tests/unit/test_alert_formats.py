"""What is sent: our own JSON, Slack, PagerDuty, mail, and OCSF against its published schema."""

import json
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from functools import cache
from typing import Any

import pytest
from alert_samples import OPENED, an_alert, an_incident
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from analytics.alerting.describing import MAX_DEVICES
from analytics.alerting.mail import Mail, MailServer
from analytics.alerting.ocsf import VERSION, finding
from analytics.alerting.templates import template
from contracts.messages import SECOND, ActionTaken, Alert, Evidence, Resolution

HAPPENED = ("opened", "worsened", "closed")
EVERY = [
    *(an_alert(happened) for happened in HAPPENED),  # type: ignore[arg-type]  # the three kinds
    an_alert(kind="undecided", devices=0),
    an_alert(devices=5000),
    an_alert(test=True, kind="undecided", devices=0),
    an_alert("closed", incident=an_incident(resolution="false_positive", resolved_by="kim")),
]


def _rendered(name: str, alert: Alert) -> Any:
    return json.loads(template(name, product_version="0.1.0", routing_key="key")(alert))


@cache
def _ocsf() -> Draft202012Validator:
    published = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    name = published.lookup_class_name_from_uid(class_uid=2004)
    return Draft202012Validator(published.get_class_schema(class_name=name, profiles=["incident"]))


def test_the_schema_is_that_of_the_class_and_refuses_what_it_must() -> None:
    record = finding(an_alert(), product_version="0.1.0")
    required = {
        "activity_id",
        "category_uid",
        "class_uid",
        "finding_info",
        "metadata",
        "severity_id",
        "time",
        "type_uid",
    }
    for name in required:
        without = {key: value for key, value in record.items() if key != name}
        assert list(_ocsf().iter_errors(without)), name
    assert list(_ocsf().iter_errors({**record, "severity_id": 7}))
    assert list(_ocsf().iter_errors({**record, "no_such_field": 1}))


@pytest.mark.parametrize("alert", EVERY, ids=lambda one: f"{one.happened}-{len(one.incident.devices)}")
def test_every_alert_is_a_valid_detection_finding(alert: Alert) -> None:
    record = finding(alert, product_version="0.1.0")
    assert [error.message for error in _ocsf().iter_errors(json.loads(json.dumps(record)))] == []
    assert record["type_uid"] == 200400 + record["activity_id"]
    assert record["finding_info"]["uid"] == alert.incident.incident_id
    assert record["src_url"] == alert.link
    assert record["unmapped"]["device_count"] == len(alert.incident.devices)


@pytest.mark.parametrize(
    ("resolution", "status", "verdict"),
    [("true_positive", 4, 2), ("false_positive", 3, 1), ("benign_positive", 3, 5)],
)
def test_what_an_analyst_said_is_in_the_finding(resolution: Resolution, status: int, verdict: int) -> None:
    record = finding(an_alert("closed", incident=an_incident(resolution=resolution)), product_version="0.1.0")
    assert (record["activity_id"], record["status_id"], record["verdict_id"]) == (3, status, verdict)
    assert record["is_alert"] is False


@pytest.mark.parametrize("alert", EVERY, ids=lambda one: f"{one.happened}-{len(one.incident.devices)}")
def test_slack_takes_it(alert: Alert) -> None:
    body = _rendered("slack", alert)
    assert set(body) == {"text", "blocks"}
    assert len(body["blocks"]) <= 50
    for block in body["blocks"]:
        texts = [block["text"]] if "text" in block else block["fields"]
        assert len(block.get("fields", [])) <= 10
        limit = {"header": 150, "section": 3000 if "text" in block else 2000}[block["type"]]
        assert all(0 < len(text["text"]) <= limit for text in texts)
    assert alert.link in json.dumps(body)
    assert "<40>" not in json.dumps(body), "what a summary holds is text, not markup"


@pytest.mark.parametrize("alert", EVERY, ids=lambda one: f"{one.happened}-{len(one.incident.devices)}")
def test_pagerduty_takes_it(alert: Alert) -> None:
    event = _rendered("pagerduty", alert)
    assert event["routing_key"] == "key"
    assert event["event_action"] == ("resolve" if alert.happened == "closed" else "trigger")
    assert event["dedup_key"] == f"thingstorm/{alert.incident.incident_id}"
    payload = event["payload"]
    assert payload["severity"] in {"critical", "error", "warning", "info"}
    assert 0 < len(payload["summary"]) <= 1024
    assert payload["source"]
    assert event["links"][0]["href"] == alert.link
    assert len(json.dumps(event)) < 512_000, "what PagerDuty takes at most"


def test_our_own_json_says_how_much_it_left_out() -> None:
    incident = an_incident(devices=5000)
    actions = tuple(
        ActionTaken("quarantine", name, OPENED, outcome, incident.incident_id)
        for name, outcome in [("a", "done"), ("b", "done"), ("c", "held: the cap"), ("d", "failed: away")]
    )
    body = _rendered("thingstorm", an_alert(incident=replace(incident, actions=actions)))
    assert (body["device_count"], len(body["devices"])) == (5000, MAX_DEVICES)
    assert body["done"] == {"quarantined": 2, "held": 1, "released": 0}
    assert (body["happened"], body["kind"], body["schema"]) == ("opened", "attack", 1)
    assert body["opened_at"] == "2026-01-05T08:00:35.000+00:00"


def test_a_number_that_json_does_not_have_is_null() -> None:
    strange = Evidence("a", "rate", float("inf"), 1.0, float("nan"), 9.0, "security")
    incident = an_incident()
    incident = replace(incident, verdict=replace(incident.verdict, evidence=(strange,)))
    (told,) = _rendered("thingstorm", an_alert(incident=incident))["evidence"]
    assert (told["value"], told["own"], told["peers"]) == (None, 1.0, None)
    assert _rendered("ocsf", an_alert(incident=incident))["evidences"][0]["data"]["peers"] is None


def test_mail_is_one_thread_an_incident_and_no_header_can_be_smuggled_in() -> None:
    server = MailServer("127.0.0.1", 25)
    mail = Mail(
        "email", server=server, sender="storm@example.com", recipients=["a@example.com", "b@example.com"]
    )
    incident = an_incident(devices=60)
    smuggled = replace(incident, incident_id="i\r\nBcc: evil@example.com")
    message = message_from_bytes(mail.render(an_alert(incident=smuggled)), policy=default)
    assert message["Bcc"] is None
    messages = [message_from_bytes(mail.render(an_alert(kind)), policy=default) for kind in HAPPENED]  # type: ignore[arg-type]  # the three kinds
    assert len({one["References"] for one in messages}) == 1
    assert messages[0]["To"] == "a@example.com, b@example.com"
    assert messages[0]["Auto-Submitted"] == "auto-generated"
    assert "attack, 3 devices: opened" in messages[0]["Subject"]
    body = messages[0].get_content()  # type: ignore[attr-defined]  # of the modern class, by its policy
    assert "meter-0002" in body
    assert "http://127.0.0.1:8080/incidents/security-1767600035000" in body
    assert "and 10 more" in message.get_content()  # type: ignore[attr-defined]  # likewise


def test_times_are_those_of_the_incident() -> None:
    record = finding(an_alert("closed", at=OPENED + 30 * SECOND), product_version="0.1.0")
    opened = OPENED // 1_000_000
    assert (record["start_time"], record["end_time"], record["time"]) == (
        opened,
        opened + 20_000,
        opened + 30_000,
    )
