"""Device Defender's device-side metrics: reports are checked and answered; the gateway keeps its own counts.

Source: AWS IoT Device Defender, device-side metrics: topics and the JSON of a report.
"""

import json
import re
from collections.abc import Mapping

from contracts.messages import MILLISECOND, Json, Nanoseconds

_TOPIC = re.compile(r"\$aws/things/([^/]+)/defender/metrics/(json|cbor)")


def answer(topic: str, payload: bytes, now: Nanoseconds) -> tuple[str, dict[str, Json]] | None:
    """Where to answer a report, and what; None for a topic that is no report's."""
    found = _TOPIC.fullmatch(topic)
    if found is None:
        return None
    report_id, fault = _check(payload) if found[2] == "json" else (None, "CBOR reports are not read here")
    told: dict[str, Json] = {
        "thingName": found[1],
        "reportId": report_id,
        "status": "REJECTED" if fault else "ACCEPTED",
        "timestamp": now // MILLISECOND,
    }
    if fault:
        told["statusDetails"] = {"ErrorCode": "InvalidPayload", "ErrorMessage": fault}
    return f"{topic}/{'rejected' if fault else 'accepted'}", told


def _check(payload: bytes) -> tuple[Json, str]:
    """The report's id, and what is wrong with it."""
    try:
        report = json.loads(payload)
    except (ValueError, RecursionError):
        return None, "the report is no JSON"
    if not isinstance(report, Mapping):
        return None, "the report is no JSON object"
    header = report.get("header", report.get("hed"))
    if not isinstance(header, Mapping):
        return None, "the report has no header"
    report_id = header.get("report_id", header.get("rid"))
    if not isinstance(report_id, int) or ("version" not in header and "v" not in header):
        return report_id, "the header has no report_id or version"
    if not any(
        isinstance(report.get(name), Mapping) for name in ("metrics", "met", "custom_metrics", "cmet")
    ):
        return report_id, "the report has no metrics"
    return report_id, ""
