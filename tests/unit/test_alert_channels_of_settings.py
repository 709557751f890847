"""Which channels the section `alerts` makes."""

from pathlib import Path
from typing import Any

import pytest

from contracts.clock import ManualClock
from pipeline.aws.provision import Resources
from pipeline.aws.session import ClientFactory
from thingstorm.config import load_config
from thingstorm.runtime.alerting import make_alerts

HOOK = {"name": "pager", "url": "http://127.0.0.1:9/alert", "template": "thingstorm"}
MAIL = {"host": "127.0.0.1", "security": "none", "sender": "storm@example.com", "to": ["ana@example.com"]}


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ({}, ["sns"]),
        ({"sns": False}, []),
        ({"findings_archive": True}, ["sns", "findings"]),
        ({"sns": False, "findings_file": "f.ndjson"}, ["findings-file"]),
        ({"sns": False, "email": MAIL}, ["email"]),
        ({"webhooks": [HOOK], "email": MAIL}, ["sns", "pager", "email"]),
    ],
)
def test_each_setting_is_a_channel(tmp_path: Path, section: dict[str, Any], names: list[str]) -> None:
    alerts = make_alerts(
        load_config(flags={"alerts": section}).alerts,
        factory=ClientFactory(backend="embedded", endpoint="http://127.0.0.1:9"),
        resources=Resources({"alerts": "arn:aws:sns:us-east-1:000000000000:alerts"}, {}, {}, {}, "bucket"),
        clock=ManualClock(0),
        emit=lambda _event, _facts: None,
        base=lambda: "http://127.0.0.1:8080/",
        folder=None,
    )
    assert [line.channel.name for line in alerts.channels] == names
