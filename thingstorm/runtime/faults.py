"""Plays a scenario's faults on the stack of this process, and undoes them."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from broker.embedded import EmbeddedBroker
from contracts.errors import ConfigError
from pipeline.aws import faults as aws
from pipeline.worker import Handler, Worker
from thingstorm.runtime.stack import Stack

Undo = Callable[[], None]


class StackFaults:
    """Which faults are on, and how each is undone. Two phases of one kind: the later one stands."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._dice = random.Random(stack.cloud.config.aws.prefix)  # noqa: S311 - a simulation
        self._undo: dict[str, Undo] = {}
        self._begin: Mapping[str, Callable[[Mapping[str, Any]], Undo]] = {
            "broker_restart": self._broker_restart,
            "throttle": lambda told: aws.throttle_writes(self._client("dynamodb"), told["share"], self._dice),
            "service_error": lambda told: aws.fail_publishes(self._client("sns"), told["share"], self._dice),
            "stream_lag": lambda told: aws.delay_records(self._client("dynamodbstreams"), told["delay"]),
            "service_latency": lambda told: aws.delay_calls(
                [self._client(name) for name in ("sns", "sqs", "dynamodb")], told["delay"]
            ),
            "emulator_restart": self._emulator_restart,
            "handler_crash": lambda told: self._wrap(
                lambda handle: _crashing(handle, told["share"], self._dice)
            ),
            "duplicate_delivery": lambda told: self._wrap(
                lambda handle: _doubling(handle, told["share"], self._dice)
            ),
            "reorder": lambda told: self._wrap(lambda handle: _shuffling(handle, told["share"], self._dice)),
            "poison_message": self._poison,
        }

    def apply(self, kind: str, parameters: Mapping[str, Any], *, on: bool) -> None:
        """Begin or undo. Raises ConfigError for a fault that this stack cannot play."""
        if (undo := self._undo.pop(kind, None)) is not None:
            undo()
        if on:
            self._undo[kind] = self._begin[kind](parameters)

    def _client(self, service: str) -> Any:
        return self._stack.cloud.factory.client(service)

    def _broker_restart(self, _told: Mapping[str, Any]) -> Undo:
        broker = self._stack.broker
        if not isinstance(broker, EmbeddedBroker):
            raise ConfigError(
                "fault.broker_restart cannot be played on somebody else's broker",
                fix="use broker.backend = 'amqtt', or leave the phase out",
            )
        broker.suspend()
        return broker.resume

    def _emulator_restart(self, _told: Mapping[str, Any]) -> Undo:
        emulator = self._stack.emulator
        if emulator is None:
            raise ConfigError(
                "fault.emulator_restart cannot be played on AWS services that are not ours",
                fix="use aws.backend = 'embedded', or leave the phase out",
            )
        emulator.suspend()
        return emulator.resume

    def _wrap(self, wrap: Callable[[Handler], Handler]) -> Undo:
        worker = self._telemetry()
        before = worker.handler
        worker.handler = wrap(before)

        def undo() -> None:
            worker.handler = before

        return undo

    def _telemetry(self) -> Worker:
        return next(one for one in self._stack.pipeline.workers if one.name == "worker-telemetry")

    def _poison(self, told: Mapping[str, Any]) -> Undo:
        url = self._stack.resources.queues["telemetry"]
        for number in range(told["count"]):
            self._client("sqs").send_message(QueueUrl=url, MessageBody=f"poison {number}")
        return lambda: None


def _crashing(handle: Handler, share: float, dice: random.Random) -> Handler:
    def crash(event: Mapping[str, Any], context: Any) -> Any:
        if dice.random() < share:
            raise RuntimeError("a fault of the scenario: the handler crashed")
        return handle(event, context)

    return crash


def _doubling(handle: Handler, share: float, dice: random.Random) -> Handler:
    def double(event: Mapping[str, Any], context: Any) -> Any:
        if dice.random() < share:
            handle(event, context)
        return handle(event, context)

    return double


def _shuffling(handle: Handler, share: float, dice: random.Random) -> Handler:
    def shuffle(event: Mapping[str, Any], context: Any) -> Any:
        records = list(event["Records"])
        if dice.random() < share:
            dice.shuffle(records)
        return handle({**event, "Records": records}, context)

    return shuffle
