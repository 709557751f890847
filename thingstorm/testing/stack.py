"""The whole stack for code that knows no event loop: it runs in a thread, and every call here waits for its answer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal

from contracts.errors import BackendError, ConfigError, NotReady, ThingstormError
from contracts.messages import Json
from contracts.ports import Emit
from simulator.scenario import Scenario, load
from simulator.transports.device_client import DeviceClient
from thingstorm.cli.settings import config_of
from thingstorm.config import Config
from thingstorm.report.expectations import conclude
from thingstorm.report.record import Result
from thingstorm.runtime.counting import Counts, count, quiet
from thingstorm.runtime.ledger import settle
from thingstorm.runtime.play import play
from thingstorm.runtime.stack import Stack as Running
from thingstorm.runtime.stack import running
from thingstorm.runtime.target import LocalTarget, Target
from thingstorm.testing.environment import EXPORTED

T = TypeVar("T")

LAST_WORD_SECONDS = 5.0
"""When a part dies, the stack stops before it says which; a call that misses the part fails at once."""


@dataclass(frozen=True, slots=True)
class _Life:
    """A running stack, what it had counted when it was ready, and how it ends or is ended."""

    portal: BlockingPortal
    ended: Future[Any]
    running: Running
    target: LocalTarget
    before: Counts
    stop: anyio.Event


class Stack:
    """The stack from `open` to `close`, or for the length of a `with` block. Not to be shared between threads.

    Every port is chosen by the system. While it is open `AWS_ENDPOINT_URL` names its AWS services, so that code
    under test needs no change.

        with Stack(settings=["pipeline.rules=rules.yaml"]) as stack:
            stack.mqtt("meter-1").publish("dt/meter/meter-1/telemetry", {"power_w": 400})
            stack.settle()
            assert stack.sql("SELECT count(*) AS n FROM telemetry") == [{"n": 1}]
    """

    def __init__(
        self, *, aws: str = "embedded", config: Path | str | None = None, settings: Sequence[str] = ()
    ) -> None:
        """Nothing is started yet.

        Args:
            aws: the backend of the AWS services: embedded, localstack or aws.
            config: a settings file; by default thingstorm.toml in the current folder, if it is there.
            settings: `section.key=value` each, as `--set` of the command line; they win over the file.
        """
        self._config_file = Path(config) if config is not None else None
        self._settings = [f"aws.backend={aws}", *settings]
        self._undo = ExitStack()
        self._life: _Life | None = None

    def open(self) -> Self:
        """Start everything, in some 2 s. Raises ConfigError before anything starts, BackendError when a part fails."""
        if self._life is not None:
            raise NotReady("the stack is open already", fix="open it once, or make another Stack")
        config = config_of(self._config_file, ports="auto", settings=self._settings)
        with ExitStack() as undo:
            portal = undo.enter_context(start_blocking_portal())
            ended, life = portal.start_task(_live, config)
            self._life = _Life(portal, ended, *life)
            undo.callback(self._end, self._life)
            EXPORTED.add(self, endpoint=self.endpoint, region=config.aws.region)
            undo.callback(EXPORTED.remove, self)
            self._undo = undo.pop_all()
        return self

    def close(self) -> None:
        """Hand on what was accepted, then stop. May be called twice.

        Raises the failure of a part that failed meanwhile, DrainCut when not everything was handed on in time.
        """
        self._undo.close()

    def __enter__(self) -> Self:
        """Open it, unless that is done already."""
        return self if self._life is not None else self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.__exit__(kind, error, trace)

    @property
    def addresses(self) -> dict[str, str]:
        """Where devices and programs reach it: mqtt, mqtts, websocket, aws, api, page."""
        return self._opened().running.addresses()

    @property
    def endpoint(self) -> str:
        """The URL of the AWS services."""
        return self._opened().running.endpoint

    def boto(self, service: str) -> Any:
        """A boto3 client of the stack's AWS services: `sqs`, `dynamodb`, `iot`, ..."""
        return self._opened().running.cloud.factory.client(service)

    def queue(self, name: str) -> str:
        """The URL of a queue of the stack by its plain name: `security-team`, `telemetry-dlq`, ... Raises ConfigError."""
        queues = self._opened().running.resources.queues
        if name not in queues:
            raise ConfigError(f"the stack has no queue '{name}'", fix=f"known: {', '.join(sorted(queues))}")
        return queues[name]

    def mqtt(self, client_id: str) -> DeviceClient:
        """A device of this name, connected; the stack closes it at its end. Raises BackendError if it is refused."""
        broker = self._opened().running.broker
        device = DeviceClient(client_id, host=broker.host, port=broker.port).connect()
        self._undo.callback(device.close)
        return device

    def sql(self, query: str, parameters: Mapping[str, Json] | None = None) -> list[dict[str, Any]]:
        """The rows of a query on the view, at most 10,000. Raises ConfigError for a statement that is wrong."""
        return self._call(self._opened().target.query, query, parameters)

    def settle(self, timeout: float = 10.0) -> None:
        """Wait until everything that was acknowledged to a device is in the view and in the archive.

        Raises NotReady after `timeout` seconds, naming the hop that is not quiet.
        """
        self._call(_settle, self._opened(), timeout)

    def run(
        self, file: Path | str, *, seed: int | None = None, variables: Mapping[str, str] | None = None
    ) -> Result:
        """Play a scenario file against this stack, over all hops and in real time, and judge what it expects.

        Raises BadScenario with file and line, NotReady if the path does not become quiet afterwards.
        """
        return self.play(load(Path(file), overrides=variables, seed=seed))

    def play(self, scenario: Scenario) -> Result:
        """As `run`, for a scenario that was read already."""
        if scenario.clock.mode == "virtual" or scenario.clock.speed != 1.0:
            raise ConfigError(
                f"the scenario {scenario.name} has a clock of its own, and a stack lives in real time",
                fix="write clock: {mode: wall}, or play it by the direct path",
            )
        return self._call(_play, self._opened(), scenario)

    def _opened(self) -> _Life:
        if self._life is None:
            raise NotReady("the stack is not open", fix="use it inside of: with Stack() as stack")
        return self._life

    def _call(self, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run in the stack's loop and wait; a failure of the stack itself comes first."""
        life = self._opened()
        asked = life.portal.start_task_soon(work, *arguments)
        try:
            return _first_failure_or_answer(asked, life.ended)
        except ThingstormError as error:
            if f"fix: {error.fix}" not in getattr(error, "__notes__", ()):
                error.add_note(f"fix: {error.fix}")
            # the way through the other thread's loop is long, and tells nothing that `what` does not
            raise error.with_traceback(None) from error.__cause__
        finally:
            asked.cancel()

    def _end(self, life: _Life) -> None:
        self._life = None
        if not life.ended.done():
            life.portal.call(life.stop.set)
        life.ended.result()


def _first_failure_or_answer(asked: Future[T], ended: Future[Any]) -> T:
    """What was asked for. Raises what ended the stack rather than what that broke elsewhere."""
    either: list[Future[Any]] = [asked, ended]
    wait(either, return_when=FIRST_COMPLETED)
    if asked.done() and isinstance(asked.exception(), BackendError):
        wait([ended], LAST_WORD_SECONDS)
    if ended.done():
        ended.result()
    return asked.result()


async def _live(
    config: Config,
    *,
    task_status: TaskStatus[tuple[Running, LocalTarget, Counts, anyio.Event]],
) -> None:
    stop = anyio.Event()
    async with running(config, emit=_silent) as stack:
        target = LocalTarget(stack)
        task_status.started((stack, target, await count(target), stop))
        await stop.wait()


async def _settle(life: _Life, timeout: float) -> None:  # noqa: ASYNC109 - passed on: the error names the hop
    await settle(quiet(life.target, life.before), within=timeout)
    await life.target.flush()


async def _play(life: _Life, scenario: Scenario) -> Result:
    @asynccontextmanager
    async def this_stack(_emit: Emit) -> AsyncIterator[Target]:
        yield life.target

    record = await play(
        scenario,
        this_stack,
        emit=_silent,
        refresh=_silent_refresh,
        stop=anyio.Event(),
        drain_seconds=life.running.cloud.config.drain_seconds,
    )
    return conclude(scenario, record, path="aws", clock="wall")


def _silent(_event: str, _facts: Mapping[str, Any]) -> None:
    """A test reads results, not a story."""


def _silent_refresh(_hops: Sequence[Any]) -> None:
    """Likewise."""
