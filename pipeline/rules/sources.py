"""Rules that change while the stack runs: those of the `iot` control plane, beside those of the file."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus
from botocore.exceptions import BotoCoreError, ClientError

from contracts.clock import Clock, SystemClock
from contracts.errors import BackendError, ConfigError, Terminal
from contracts.ports import Health, State

from ..aws.session import translate
from .engine import Engine
from .rule import Rule, rule_from_payload
from .services import Unanswered

if TYPE_CHECKING:  # the stubs are a development dependency
    from mypy_boto3_iot import IoTClient

T = TypeVar("T")

_PAYLOAD: Final = ("sql", "awsIotSqlVersion", "ruleDisabled", "actions", "errorAction")

_API_VERSION: Final = "2015-10-08"
"""What AWS takes when a rule says nothing (API reference, TopicRulePayload)."""


class RuleSource:
    """The service `rules`: file rules first, then those of the control plane whose name no file rule has.

    Each poll lists the rules (one call) and reads those that are new or whose list entry changed. A list entry
    has no change stamp, and `ReplaceTopicRule` may leave it as it was; so each poll also reads one of the others
    again, in turn: with n rules a replaced one is seen after at most n polls.

    Args:
        engine: gets the merged rules; others may share it.
        file_rules: from `load_rules`.
        iot: a boto3 client of the control plane, or None for file rules only.
        check: called with each rule of the control plane; raises ConfigError if its actions cannot be built.
        prefix: of the template's resources. Its rules say what the file's of the same name say (`thingstorm_telemetry`):
            only one of the two may run, or each message would be routed twice.
        interval: seconds between polls. A change is to take effect within 2 s: four polls, for one that fails.
        services: what functions ask; what it could not answer is shown.
        limiter: threads for the client's calls.
        clock: for `last_progress`.
    """

    name = "rules"

    def __init__(
        self,
        engine: Engine,
        *,
        file_rules: Sequence[Rule] = (),
        iot: "IoTClient | None" = None,
        check: Callable[[Rule], object] | None = None,
        services: Unanswered | None = None,
        prefix: str = "",
        interval: float = 0.5,
        limiter: CapacityLimiter | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self._file_rules = {rule.name: rule for rule in file_rules}
        self._iot = iot
        self._check = check
        self._services = services
        self._prefix = f"{prefix.replace('-', '_')}_" if prefix else ""
        self._interval = interval
        self._limiter = limiter or CapacityLimiter(1)
        self._clock = clock or SystemClock()
        self._state: State = "starting"
        self._seen: dict[str, object] = {}  # list entry by name
        self._rules: dict[str, Rule] = {}  # of the control plane, those that are right
        self._wrong: dict[str, str] = {}  # of the control plane, those that are not, and why
        self._changed = False
        self._again: Iterator[str] = iter(())
        self._unreachable = ""
        self._last_progress = 0
        self._counters: Counter[str] = Counter(polls=0, poll_errors=0, wrong_rules=0, swaps=0)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Ready after the first poll, whether or not the control plane answered it."""
        self._swap()
        await self._poll()
        self._state = "ready"
        task_status.started()
        while True:
            await anyio.sleep(self._interval)
            await self._poll()

    async def drain(self) -> None:
        """Nothing is under way here that could be lost."""
        self._state = "draining"

    def health(self) -> Health:
        notes = [self._unreachable] if self._unreachable else []
        notes += [f"rule '{name}': {flaw}" for name, flaw in sorted(self._wrong.items())]
        hidden = sorted(filter(self._is_hidden, self._seen))
        notes += [f"rule '{name}' of the control plane is hidden by the file's" for name in hidden]
        unanswered = 0
        if self._services is not None and (unanswered := self._services.failures):
            notes.append(
                f"a function could not be answered ({unanswered} times): {self._services.last_failure}"
            )
        return Health(
            name=self.name,
            state=self._state,
            detail="; ".join(notes),
            last_progress=self._last_progress,
            counters={**self._counters, "unanswered": unanswered},
        )

    async def _poll(self) -> None:
        if self._iot is None:
            return
        self._counters["polls"] += 1
        try:
            await self._update(self._iot)
        except BackendError as error:  # the rules stay as they are; the next poll asks again
            self._counters["poll_errors"] += 1
            self._unreachable = error.what
            return
        self._unreachable = ""
        self._last_progress = self._clock.now()
        if self._changed:
            self._swap()

    async def _update(self, iot: "IoTClient") -> None:
        """Bring `_rules` up to date. What changed before a call fails is kept, and swapped in by the next poll."""
        entries = await self._list(iot)
        for name in self._seen.keys() - entries.keys():
            self._forget(name)
        news = [name for name, entry in entries.items() if self._seen.get(name) != entry]
        for name in (*news, *self._next_again(entries, news)):
            await self._read(iot, name)
        self._seen = entries

    def _next_again(self, entries: dict[str, object], news: list[str]) -> list[str]:
        if next_name := next(self._again, ""):
            return [next_name] if next_name in entries and next_name not in news else []
        self._again = iter(sorted(entries))
        return []

    async def _list(self, iot: "IoTClient") -> dict[str, object]:
        entries: dict[str, object] = {}
        token = ""
        while True:
            page = functools.partial(iot.list_topic_rules, nextToken=token) if token else iot.list_topic_rules
            answer = await self._call(page)
            entries |= {entry["ruleName"]: entry for entry in answer.get("rules", []) if "ruleName" in entry}
            token = answer.get("nextToken", "")
            if not token:
                return entries

    async def _read(self, iot: "IoTClient", name: str) -> None:
        try:
            answer = await self._call(functools.partial(iot.get_topic_rule, ruleName=name))
        except Terminal:  # deleted since it was listed
            self._forget(name)
            return
        stored: Mapping[str, Any] = answer["rule"]
        payload = {key: stored[key] for key in _PAYLOAD if stored.get(key) is not None}
        payload.setdefault("awsIotSqlVersion", _API_VERSION)
        try:
            rule = rule_from_payload(name, payload)
            if self._check is not None:
                self._check(rule)
        except ConfigError as error:
            self._refuse(name, f"{error.what} (fix: {error.fix})")
        else:
            self._accept(rule)

    def _accept(self, rule: Rule) -> None:
        self._wrong.pop(rule.name, None)
        if self._rules.get(rule.name) != rule:
            self._rules[rule.name] = rule
            self._changed = True

    def _refuse(self, name: str, flaw: str) -> None:
        known = self._wrong.get(name)
        self._forget(name)
        self._wrong[name] = flaw
        self._counters["wrong_rules"] += flaw != known

    def _forget(self, name: str) -> None:
        self._wrong.pop(name, None)
        if self._rules.pop(name, None) is not None:
            self._changed = True

    def _is_hidden(self, name: str) -> bool:
        return name in self._file_rules or name.removeprefix(self._prefix) in self._file_rules

    def _swap(self) -> None:
        others = [rule for name, rule in sorted(self._rules.items()) if not self._is_hidden(name)]
        self._changed = False
        self._engine.replace([*self._file_rules.values(), *others])
        self._counters["swaps"] += 1

    async def _call(self, call: Callable[[], T]) -> T:
        try:
            return await to_thread.run_sync(call, limiter=self._limiter)
        except (ClientError, BotoCoreError) as error:
            raise translate(error) from error
