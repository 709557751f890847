"""`bench rules`: evaluations a second of one statement, beside many rules on other topics, and what peers make of it."""

import importlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from contracts.messages import Message
from pipeline.rules.engine import Engine, Rule

from .result import OURS, BenchResult, check_cases
from .subjects import missing

PACKAGES = ("thingstorm", "ministack")
SQL = "SELECT *, topic(2) AS device_id FROM 'dt/+/telemetry' WHERE temperature > 50"
CASES = {"10-rules": 10, "1000-rules": 1000}
"""Rules on other topics that are loaded as well."""

MESSAGES, QUICK_MESSAGES = 20_000, 2_000
ROUNDS = 5
"""The best of so many: whatever else the machine did can only make one slower."""

SLOW_SHARE = 200
"""ministack tries rule by rule and takes milliseconds for 1,000 of them: it gets one message in so many."""

DEVICES = 1_000
PEERS = ("hand-written", "ministack")

Tell = Callable[[str], None]
Subject = Callable[[Message], object]


def run(*, peers: bool, quick: bool, only: Sequence[str], tell: Tell) -> BenchResult:
    """Measure. Raises UnknownName."""
    check_cases("rules", only, known=CASES)
    result = BenchResult("rules")
    began = time.monotonic()
    messages = _messages(QUICK_MESSAGES if quick else MESSAGES)
    for case in only or CASES:
        subjects = {OURS: _ours(CASES[case])}
        if peers:
            subjects |= _peers(CASES[case], result)
        for subject, evaluate in subjects.items():
            tell(f"{case}: {subject}")
            share = 1 if subject != "ministack" else SLOW_SHARE
            rate = _rate(evaluate, messages[::share])
            result.add(case, subject, evaluations_per_s=(rate, "1/s"))
    result.seconds = time.monotonic() - began
    result.notes.append(
        f"{len(messages[0].payload)} bytes of JSON; one thread, its CPU time; best of {ROUNDS} rounds"
    )
    if peers:
        result.notes.append(
            "hand-written: the statement as plain Python that knows its topic; ministack: without WHERE"
        )
    result.notes.append("AWS's quota is 20,000 evaluations/s for an account")
    return result


def _messages(count: int) -> list[Message]:
    """Two of three are above 50 degrees."""
    return [
        Message(
            f"id-{i}", "c", "p", f"dt/meter-{i % DEVICES:04d}/telemetry", _payload(i), 0,
            retain=False, received_at=1_700_000_000_000_000_000 + i,
        )
        for i in range(count)
    ]  # fmt: skip


def _payload(number: int) -> bytes:
    reading = {
        "temperature": 40.5 + 10 * (number % 3) + 1,
        "humidity": 41,
        "device": f"meter-{number % DEVICES:04d}",
        "site": "north",
        "firmware": "1.2.3",
        "sequence": 1_000_000 + number,
    }
    body = json.dumps(reading, separators=(",", ":"))
    return (body[:-1] + ',"note":"' + "x" * (200 - len(body) - 10) + '"}').encode()


def _rate(evaluate: Subject, messages: Sequence[Message]) -> float:
    """Evaluations a second of CPU time of this thread: what others do on the machine is not in it."""
    best = 0.0
    for _ in range(ROUNDS):
        began = time.thread_time()
        for message in messages:
            evaluate(message)
        best = max(best, len(messages) / (time.thread_time() - began))
    return best


def _ours(others: int) -> Subject:
    rules = [
        Rule(name=f"other_{i}", sql=f"SELECT * FROM 'other/{i}/#' WHERE value > {i}")  # noqa: S608 - IoT SQL
        for i in range(others)
    ]
    return Engine([Rule(name="hot", sql=SQL), *rules]).match


def _peers(others: int, result: BenchResult) -> dict[str, Subject]:
    subjects: dict[str, Subject] = {"hand-written": _by_hand}
    if missing("ministack"):
        result.missing.append("ministack")
    else:
        subjects["ministack"] = _ministack(others)
    return subjects


def _by_hand(message: Message) -> object:
    """The same statement in plain Python, knowing its topic: no rules, no conversions, no exact decimals."""
    reading = json.loads(message.payload)
    if reading.get("temperature", 0) <= 50:
        return None
    reading["device_id"] = message.topic.split("/")[1]
    return reading


def _ministack(others: int) -> Subject:
    """The emulator's own way with the same rules: each in turn, the filter, then SELECT; WHERE is not even counted."""
    iot: Any = importlib.import_module("ministack.services.iot")

    rules = [SQL, *(f"SELECT * FROM 'other/{i}/#' WHERE value > {i}" for i in range(others))]  # noqa: S608 - IoT SQL

    def evaluate(message: Message) -> object:
        return [
            iot._rule_event(sql, message.topic, message.payload, message.client_id)  # noqa: SLF001 - it has no other door
            for sql in rules
            if iot._subscription_matches(iot._rule_topic_filter(sql), message.topic)  # noqa: SLF001 - likewise
        ]

    return evaluate
