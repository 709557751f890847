"""What happens while a scenario is played, in sentences."""

from collections.abc import Mapping
from typing import Any


def describe(event: str, facts: Mapping[str, Any]) -> str:
    """The sentence for an event; empty for those that nobody needs to read."""
    template = _SENTENCES.get(event)
    return template.format_map(facts) if template else ""


_SENTENCES = {
    "starting": "starting {what}",
    "waiting": "waiting up to {seconds:.0f} s: {what}",
    "ready": "ready after {seconds:.1f} s: {what}",
    "phase_started": "▶ {id}: {kind} ({devices} devices)",
    "phase_ended": "■ {id} is over",
    "model.learnt": "the model has learnt what is normal for {devices} devices",
    "model.fitted": "{detector} judges from now on (threshold {threshold:.2f})",
    "verdict": "verdict: {kind} (confidence {confidence:.2f}): {summary}",
    "action": "{action} {target}: {outcome}",
    "addresses": "{addresses}",
    "note": "note: {what}",
    "settling": "waiting for the path to become quiet",
    "stopping": "draining and stopping",
}
