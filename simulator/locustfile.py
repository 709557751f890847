"""Plays a scenario with Locust: its workers share the devices, its statistics and web page count the messages.

    locust -f simulator/locustfile.py --scenario scenarios/demo.yaml --mqtt-port 1883            # one process
    locust -f simulator/locustfile.py --master --expect-workers 4 --scenario scenarios/demo.yaml   # and on any machine:
    locust -f simulator/locustfile.py --worker --master-host 10.0.0.1

One Locust user a worker plays all devices of the worker's share, so ask for as many users as there are workers; more
of them have nothing to do. Every worker reads the same scenario file, at the same path, and needs a clock that goes
right: the master says when the scenario starts.

The fleet's event loop runs inside the user's greenlet, on gevent's own selector: Locust has patched the standard
library by then, and while the loop waits for sockets, gevent runs what else Locust does. It is the simplest that
works: one process, one thread, and Locust's events are called as any other user calls them. Two event loops in one
thread would not work, hence one user a worker.
"""

import itertools
import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from locust import User, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from contracts.clock import SystemClock
from contracts.errors import ThingstormError
from contracts.messages import SECOND
from simulator.fleet import Simulator
from simulator.model import Scenario
from simulator.scenario import load
from simulator.share import Share
from simulator.transports.base import Callbacks
from simulator.transports.measured import LINKS, MeasuredTransport, Outcome

MESSAGE = "thingstorm_share"
LEAD = 2 * SECOND
"""From the master's start to the scenario's: 5,000 devices connect in it."""

IDLE_SECONDS = 1.0

_parts: dict[Environment, dict[str, int]] = {}
"""What this process is to play and nobody plays yet: `index`, `of` and `zero` in nanoseconds."""

_log = logging.getLogger("thingstorm")


class FleetUser(User):
    """The devices of this worker. Stopping the user disconnects them in order."""

    @task
    def play(self) -> None:
        """Until Locust stops the user; if the share is taken already, nothing."""
        part = _parts.pop(self.environment, None)
        if part is None:
            time.sleep(IDLE_SECONDS)  # Locust's patched one: only this greenlet sleeps
            return
        share = Share(part["index"], part["of"])
        anyio.run(partial(_play, self.environment, share, zero=part["zero"]))


async def _play(environment: Environment, share: Share, *, zero: int) -> None:
    options = _options(environment)
    scenario = load(Path(options.scenario))

    def make(callbacks: Callbacks) -> MeasuredTransport:
        return MeasuredTransport(
            host=options.mqtt_host,
            port=options.mqtt_port,
            callbacks=callbacks,
            make_link=LINKS[options.transport or scenario.transport],
            tell=partial(_tell, environment),
        )

    simulator = Simulator(
        scenario,
        host=options.mqtt_host,
        port=options.mqtt_port,
        clock=SystemClock(),
        all_must_come=False,  # who does not come is an error in the statistics
        transport=make,
        share=share,
        zero=zero,
    )
    _log.info("plays %d of %d devices", len(simulator.device_ids), scenario.device_count)
    await simulator.run(task_status=anyio.TASK_STATUS_IGNORED)


def _tell(environment: Environment, outcome: Outcome) -> None:
    group = outcome.device_id.rpartition("-")[0]
    environment.events.request.fire(
        request_type="MQTT",
        name=f"{outcome.what} {group}",
        response_time=outcome.milliseconds,
        response_length=outcome.size,
        exception=ConnectionError(outcome.error) if outcome.error else None,
        context={"device_id": outcome.device_id},
    )


def _options(environment: Environment) -> Any:
    return environment.parsed_options


@events.init_command_line_parser.add_listener
def _add_options(parser: Any, **_: Any) -> None:
    group = parser.add_argument_group("thingstorm", "What is played, and where the broker is")
    group.add_argument(
        "--scenario", env_var="THINGSTORM_SCENARIO", default="scenarios/demo.yaml", help="Scenario file"
    )
    group.add_argument(
        "--mqtt-host", env_var="THINGSTORM_MQTT_HOST", default="127.0.0.1", help="The broker's address"
    )
    group.add_argument(
        "--mqtt-port", env_var="THINGSTORM_MQTT_PORT", type=int, default=1883, help="Its port for plain MQTT"
    )
    group.add_argument(
        "--transport",
        env_var="THINGSTORM_TRANSPORT",
        choices=sorted(LINKS),
        default=None,
        help="paho: a real client a device; raw: bare sockets, for floods; default: what the scenario says",
    )


@events.init.add_listener
def _make_ready(environment: Environment, **_: Any) -> None:
    """A worker waits for its share; everybody else looks at the scenario before anything starts."""
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.register_message(MESSAGE, _take)
        return
    try:
        _check(environment)
    except ThingstormError as error:
        print(f"{error}\nfix: {error.fix}", file=sys.stderr)  # noqa: T201 - before Locust's log is of use
        sys.exit(2)


def _check(environment: Environment) -> Scenario:
    return load(Path(_options(environment).scenario))


def _take(environment: Environment, msg: Any, **_: Any) -> None:
    _parts[environment] = msg.data


@events.test_start.add_listener
def _deal(environment: Environment, **_: Any) -> None:
    """The master gives a share to every worker, before it tells them to begin."""
    runner = environment.runner
    zero = time.time_ns() + LEAD
    if isinstance(runner, MasterRunner):
        workers = sorted(worker.id for worker in runner.clients.ready)
        for index, worker in zip(itertools.count(), workers):
            runner.send_message(MESSAGE, {"index": index, "of": len(workers), "zero": zero}, worker)
    elif not isinstance(runner, WorkerRunner):
        _parts[environment] = {"index": 0, "of": 1, "zero": zero}
