"""One plain sentence for a verdict: which devices, which signs, own and peer figures, what would settle it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from contracts.messages import Evidence, VerdictKind

from .evidence import Signs
from .windows import WINDOW_SECONDS

if TYPE_CHECKING:
    from .verdict import Facts

NAMED_DEVICES = 5

_SIGNS: Mapping[str, str] = {
    "rate_excess": "messages",
    "novel": "publishes on topics its type never used",
    "novel_slow": "seconds with publishes on topics its type never used",
    "authorization": "refused requests",
    "authentication": "refused logins",
    "authentication_slow": "refused requests",
    "throttled": "throttled messages",
    "size_excess": "bytes a message",
    "connects": "connects",
    "malformed": "messages that no consumer can read",
    "malformed_slow": "seconds with messages that no consumer can read",
    "replayed": "old messages once more",
    "replayed_slow": "seconds with old messages once more",
    "takeovers": "takeovers of its client id",
    "rejected": "connections ended for what it sent",
    "size_jump": "bytes at most in a message",
    "changed": "messages that changed in the middle of a session",
    "creep": "messages",
    "value_shift": "times as far as values walk",
    "value_frozen": "readings that stay exactly the same",
}

_SPANS: Mapping[str, str] = {
    "size_excess": "",
    "size_jump": "",
    "value_shift": "",
    "value_frozen": " in a row",
    "novel_slow": " in 60 s",
    "authentication_slow": " in 60 s",
    "malformed_slow": " in 60 s",
    "replayed_slow": " in 60 s",
    "takeovers": " in 60 s",
    "rejected": " in 60 s",
    "changed": " in 15 s",
}


def told_as(feature: str) -> str:
    """A feature of evidence in plain words; its own name where there are none."""
    if feature not in _SIGNS:
        return feature.replace("_", " ")
    return _SIGNS[feature] + _SPANS.get(feature, f" in {WINDOW_SECONDS} s")


def summarise(kind: VerdictKind, facts: "Facts", features: int) -> str:
    """A sentence a person can act on."""
    if kind == "attack" and facts.outside:
        return f"Attack: {_outside(facts, features)}."
    if kind == "attack":
        return f"Attack: {_who(facts.hostile)} with {_signs(facts.hostile, facts.signs, features)}."
    if kind == "benign_uptick":
        return f"Benign uptick: {_load(facts)}; no device shows a sign that load does not explain."
    if kind == "undecided":
        return _doubt(facts, features)
    return "Learning what is normal." if facts.learning else "Normal: traffic is as learnt."


def _outside(facts: "Facts", features: int) -> str:
    parts = []
    if "visits" in facts.outside:
        parts.append(
            f"{facts.fleet['visits']:.0f} connects in 15 s of {facts.fleet['visitors']:.0f} client ids that nobody "
            "knows and that publish nothing"
        )
    if "half_open" in facts.outside:
        parts.append(
            f"{facts.fleet['half_open']:.0f} connections that never send their CONNECT "
            f"(at most {facts.fleet['half_open_learnt']:.0f} in training)"
        )
    if facts.hostile:
        parts.append(f"{_who(facts.hostile)} with {_signs(facts.hostile, facts.signs, features)}")
    return "; ".join(parts)


def _load(facts: "Facts") -> str:
    rising = facts.fleet.get("rising", 0.0)
    since = f", for {rising:.0f} s now" if rising else ""
    parts = [f"the fleet sends {facts.fleet['uptick']:.1f} times its usual traffic{since}"]
    if facts.fleet["churn"] > 0:
        parts.append(f"{facts.fleet['churn']:.0%} of it dropped or reconnected")
    if facts.fleet["uptick"] < 1.0 and not rising:
        # what went up are the connections, not the messages
        parts.reverse()
    if facts.watched:
        parts.append(f"{_who(facts.watched)} louder or larger than peers")
    return ", ".join(parts)


def _doubt(facts: "Facts", features: int) -> str:
    if facts.broad:
        return (
            f"Undecided: {_who(facts.hostile)}, most of their type, changed together "
            f"({_signs(facts.hostile, facts.signs, features)}), so peers prove nothing; "
            "a rollout notice or a look at one device's payloads would settle it."
        )
    if facts.surge:
        return (
            f"Undecided: a whole type sends {facts.fleet['surge']:.1f} times what it did in training; "
            "a notice of a planned change or a look at one device's payloads would settle it."
        )
    if facts.drifted and not facts.hostile:
        return (
            f"Undecided: {_who(facts.drifted)} crept up slowly, further than a baseline follows, and goes on; "
            "a notice of a planned change or a look at its payloads would settle it."
        )
    return (
        f"Undecided: {_who(facts.hostile)} with {_signs(facts.hostile, facts.signs, features)}, "
        "too few and too little to call; some more seconds of it, or a third device, would settle it."
    )


def _who(devices: Sequence[str]) -> str:
    named = ", ".join(devices[:NAMED_DEVICES])
    more = f" and {len(devices) - NAMED_DEVICES} more" if len(devices) > NAMED_DEVICES else ""
    return f"{len(devices)} device{'s' if len(devices) != 1 else ''} ({named}{more})"


def _signs(devices: Sequence[str], signs: Mapping[str, Signs], features: int) -> str:
    """The signs of the first device that has any now; it stands for the others."""
    for name in devices:
        shown = [item for item in signs[name].evidence if item.feature in _SIGNS][:features]
        if shown:
            return "; ".join(_phrase(item) for item in shown)
    return "signs in the windows before this one"


def _phrase(item: Evidence) -> str:
    span = _SPANS.get(item.feature, f" in {WINDOW_SECONDS} s")
    return f"{item.value:.0f} {_SIGNS[item.feature]}{span} (own {item.own:.1f}, peers {item.peers:.1f})"
