"""Device shadows: documents, and the messages about them. Pure functions; no store, no clock, no sockets.

Sources: AWS IoT Device Shadow service documents, MQTT topics, error messages and quotas pages.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from contracts.messages import SECOND, Json, Nanoseconds
from contracts.shadows import ShadowError

DOCUMENT_BYTES = 8 * 1024
"""Of a document's state as JSON; metadata is not counted."""

DEPTH = 8
TOKEN_BYTES = 64

Operation: TypeAlias = Literal["get", "update", "delete"]
Document: TypeAlias = Mapping[str, Json]
Published: TypeAlias = tuple[str, dict[str, Json]]
"""A topic and the body to publish on it."""

_TOPIC = re.compile(r"\$aws/things/([^/]+)/shadow/(?:name/([^/]+)/)?(get|update|delete)")
_WATCHED = re.compile(r"\$aws/things/([^/+#]+)/shadow/(?:name/([^/+#]+)/)?(?:update/|#|\+)")


@dataclass(frozen=True, slots=True)
class ShadowRequest:
    """What a device asks of a shadow; the classic one has the empty name."""

    thing: str
    name: str
    operation: Operation

    @property
    def prefix(self) -> str:
        """Where the answers go: this, `/accepted` and so on."""
        return f"{shadow_prefix(self.thing, self.name)}/{self.operation}"


def shadow_prefix(thing: str, name: str) -> str:
    """What the topics of a shadow begin with; an empty `name` is the classic shadow."""
    named = f"/name/{name}" if name else ""
    return f"$aws/things/{thing}/shadow{named}"


def request_of(topic: str) -> ShadowRequest | None:
    """The request that a topic stands for, if it does for one."""
    found = _TOPIC.fullmatch(topic)
    operations: dict[str, Operation] = {"get": "get", "update": "update", "delete": "delete"}
    return ShadowRequest(found[1], found[2] or "", operations[found[3]]) if found else None


def watched_by(topic_filter: str) -> tuple[str, str] | None:
    """The shadow whose changes a subscription to this filter wants to see."""
    found = _WATCHED.match(topic_filter)
    return (found[1], found[2] or "") if found else None


def read_request(payload: bytes) -> dict[str, Json]:
    """The JSON of a request; an empty payload is an empty request. Raises ShadowError."""
    if not payload.strip():
        return {}
    try:
        request = json.loads(payload)
    except (ValueError, RecursionError):
        raise ShadowError(400, "Payload contains invalid json") from None
    if not isinstance(request, dict):
        raise ShadowError(400, "Payload contains invalid json")
    token = request.get("clientToken")
    if token is not None and (not isinstance(token, str) or len(token.encode()) > TOKEN_BYTES):
        raise ShadowError(400, "Invalid clientToken")
    return request


def check_update(request: Document) -> None:
    """Raises ShadowError for an update that no document could take."""
    state = request.get("state")
    if "state" not in request:
        raise ShadowError(400, "Missing required node: state")
    if not isinstance(state, dict):
        raise ShadowError(400, "State node must be an object")
    for section, value in state.items():
        if section not in ("desired", "reported"):
            raise ShadowError(400, f"State contains an invalid node: '{section}'")
        if not isinstance(value, dict | None):
            raise ShadowError(400, f"{section.capitalize()} must be an object")
        if _depth(value) > DEPTH:
            raise ShadowError(400, f"JSON contains too many levels of nesting; maximum is {DEPTH}")
    version = request.get("version")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise ShadowError(400, "Version must be an integer")


def updated(stored: Document | None, request: Document, *, version: int, now: Nanoseconds) -> dict[str, Json]:
    """The document after an update that was checked; `version` is the one it gets. Raises ShadowError."""
    asked = request.get("version")
    if asked is not None and asked != version - 1:
        raise ShadowError(409, "Version conflict")
    seconds = now // SECOND
    state, metadata = dict((stored or {}).get("state", {})), dict((stored or {}).get("metadata", {}))
    for section, change in request["state"].items():
        if change is None:
            state.pop(section, None)
            metadata.pop(section, None)
            continue
        state[section], metadata[section] = _merged(
            state.get(section, {}), metadata.get(section, {}), change, seconds
        )
        if not state[section]:
            del state[section], metadata[section]
    if len(json.dumps(state, separators=(",", ":")).encode()) > DOCUMENT_BYTES:
        raise ShadowError(413, f"The payload exceeds the maximum size allowed: {DOCUMENT_BYTES}")
    return {"state": state, "metadata": metadata, "version": version, "timestamp": seconds}


def delta(document: Document) -> tuple[dict[str, Json], dict[str, Json]]:
    """Where desired differs from reported: those parts of desired, with their metadata."""
    state = document.get("state", {})
    metadata = document.get("metadata", {}).get("desired", {})
    return _difference(state.get("desired", {}), state.get("reported", {}), metadata)


def got(document: Document) -> dict[str, Json]:
    """What a get answers: the document, with the delta in its state."""
    difference, about = delta(document)
    if not difference:
        return dict(document)
    state = {**document["state"], "delta": difference}
    return {**document, "state": state, "metadata": {**document["metadata"], "delta": about}}


def told_of_update(
    request: ShadowRequest, body: Document, *, before: Document | None, after: Document
) -> Iterator[Published]:
    """Everything that is published about an accepted update."""
    sections = {section for section, value in body["state"].items() if value is not None}
    accepted = {
        "state": body["state"],
        "metadata": {section: after["metadata"].get(section, {}) for section in sections},
        "version": after["version"],
        "timestamp": after["timestamp"],
    }
    yield f"{request.prefix}/accepted", _with_token(accepted, body)
    yield from told_of_change(request.thing, request.name, before=before, after=after, body=body)


def told_of_change(
    thing: str, name: str, *, before: Document | None, after: Document, body: Document | None = None
) -> Iterator[Published]:
    """What is published about a change, whoever made it: the delta if there is one, and both documents."""
    prefix = f"{shadow_prefix(thing, name)}/update"
    difference, about = delta(after)
    if difference and (body is None or "desired" in body["state"] or "reported" in body["state"]):
        told = {
            "version": after["version"],
            "timestamp": after["timestamp"],
            "state": difference,
            "metadata": about,
        }
        yield f"{prefix}/delta", _with_token(told, body or {})
    documents: dict[str, Json] = {"current": _document(after), "timestamp": after["timestamp"]}
    if before is not None:
        documents["previous"] = _document(before)
    yield f"{prefix}/documents", _with_token(documents, body or {})


def told_of_get(request: ShadowRequest, body: Document, document: Document) -> Published:
    """The answer to a get: the whole document."""
    return f"{request.prefix}/accepted", _with_token(got(document), body)


def told_of_delete(request: ShadowRequest, body: Document, *, version: int, now: Nanoseconds) -> Published:
    """The answer to a delete: the version that was deleted, and when, in seconds."""
    return f"{request.prefix}/accepted", _with_token({"version": version, "timestamp": now // SECOND}, body)


def told_of_refusal(
    request: ShadowRequest, body: Document, error: ShadowError, now: Nanoseconds
) -> Published:
    """The answer to a request that failed: code and message, as AWS has them."""
    told = {"code": error.code, "message": error.message, "timestamp": now // SECOND}
    return f"{request.prefix}/rejected", _with_token(told, body)


def not_found(request: ShadowRequest) -> ShadowError:
    """AWS names the shadow if it has a name, else the thing."""
    return ShadowError(404, f"No shadow exists with name: '{request.name or request.thing}'")


def _document(document: Document) -> dict[str, Json]:
    return {key: document[key] for key in ("state", "metadata", "version")}


def _with_token(told: dict[str, Json], body: Document) -> dict[str, Json]:
    return {**told, "clientToken": body["clientToken"]} if "clientToken" in body else told


def _merged(
    old: Any, about: Any, change: Mapping[str, Json], seconds: int
) -> tuple[dict[str, Json], dict[str, Json]]:
    """Objects are merged key by key, null removes a key, everything else replaces."""
    state = dict(old) if isinstance(old, dict) else {}
    metadata = dict(about) if isinstance(about, dict) else {}
    for key, value in change.items():
        if value is None:
            state.pop(key, None)
            metadata.pop(key, None)
        elif isinstance(value, dict):
            state[key], metadata[key] = _merged(state.get(key), metadata.get(key), value, seconds)
            if not state[key]:
                del state[key], metadata[key]
        else:
            state[key], metadata[key] = value, _stamped(value, seconds)
    return state, metadata


def _stamped(value: Json, seconds: int) -> Json:
    """When a leaf was written; an array's elements have a stamp each."""
    if isinstance(value, list):
        return [_stamped(one, seconds) for one in value]
    if isinstance(value, dict):
        return {key: _stamped(one, seconds) for key, one in value.items()}
    return {"timestamp": seconds}


def _difference(
    desired: Mapping[str, Json], reported: Mapping[str, Json], about: Mapping[str, Json]
) -> tuple[dict[str, Json], dict[str, Json]]:
    state: dict[str, Json] = {}
    metadata: dict[str, Json] = {}
    for key, value in desired.items():
        seen = reported.get(key)
        if isinstance(value, dict) and isinstance(seen, dict):
            inner, inner_about = _difference(value, seen, about.get(key, {}))
            if inner:
                state[key], metadata[key] = inner, inner_about
        elif value != seen or isinstance(value, bool) != isinstance(seen, bool):
            state[key], metadata[key] = value, about.get(key, {})
    return state, metadata


def _depth(value: Json) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
