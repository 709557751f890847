"""Attacks from outside the fleet: connections of client ids that are nobody's, or somebody else's."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from contracts.messages import SECOND, Label

from .. import wire
from ..lines import Open, Send, Shut
from ..values import PositiveDuration
from .base import AnyStep, Behaviour, LineStep, Plan, Span

MAX_STEPS = 50_000
"""Of one phase: what a laptop can open in a minute."""

PASSWORDS = ("admin", "123456", "password", "root", "iot", "default", "meter", "changeme")


class ConnectFlood(Behaviour):
    """Client ids that nobody knows connect and leave, `rate` times a second, taking turns among `clients` ids.

    It needs no targets. Labels: the invented client ids.
    """

    kind: ClassVar[str] = "attack.connect_flood"

    rate: float = Field(default=20.0, ge=0.1, le=500)
    clients: int = Field(default=50, ge=1, le=5_000)

    def plan(self, span: Span) -> Plan:
        steps: list[AnyStep] = []
        for number, at in _moments(span, self.rate):
            name = f"bot-{number % self.clients:04d}"
            line = f"{span.phase}/{name}"
            steps += [LineStep(at, Open(line, wire.connect(name))), LineStep(at + SECOND // 10, Shut(line))]
        ids = (f"bot-{number:04d}" for number in range(self.clients))
        return _outside(self, span, steps, tuple(ids))


class SlowConnect(Behaviour):
    """Connections that send part of a CONNECT and then nothing, to use up the broker's sockets: `rate` a second.

    It needs no targets. Nobody is named by it: there is no client id. The sockets are held for `hold`.
    """

    kind: ClassVar[str] = "attack.slow_connect"

    rate: float = Field(default=10.0, ge=0.1, le=200)
    hold: PositiveDuration = 20 * SECOND

    def plan(self, span: Span) -> Plan:
        steps: list[AnyStep] = []
        packet = wire.connect("slow")
        for number, at in _moments(span, self.rate):
            line = f"{span.phase}/{number}"
            end = span.until_end(at + self.hold)
            middle = (at + end) // 2
            steps += [
                LineStep(at, Open(line, packet[:3])),
                LineStep(middle, Send(line, packet[3:5])),
                LineStep(end, Shut(line)),
            ]
        return _outside(self, span, steps, ())


class CredentialBruteforce(Behaviour):
    """Somebody guesses passwords for the client ids of the targets, `rate` times a second in all."""

    kind: ClassVar[str] = "attack.credential_bruteforce"

    rate: float = Field(default=5.0, ge=0.01, le=200)

    def plan(self, span: Span) -> Plan:
        steps: list[AnyStep] = []
        for number, at in _moments(span, self.rate):
            victim = span.targets[number % len(span.targets)].device_id
            guess = span.rng.choice(PASSWORDS).encode()
            line = f"{span.phase}/{number % 20}"
            connect = wire.connect(victim, username=victim, password=guess)
            steps += [LineStep(at, Open(line, connect)), LineStep(at + SECOND // 5, Shut(line))]
        return _outside(self, span, steps, tuple(device.device_id for device in span.targets))


class ClientIdTakeover(Behaviour):
    """Somebody connects with the client ids of the targets: the broker throws the device out, which comes back.

    Each is taken over `rate` times a second; while connected the intruder publishes on the device's topic.
    """

    kind: ClassVar[str] = "attack.client_id_takeover"

    rate: float = Field(default=0.3, ge=0.01, le=10)

    def plan(self, span: Span) -> Plan:
        steps: list[AnyStep] = []
        for number, at in _moments(span, self.rate * len(span.targets)):
            victim = span.targets[number % len(span.targets)]
            line = f"{span.phase}/{victim.device_id}"
            false = wire.publish(victim.topic, b'{"ts":%d,"seq":0,"owned":true}' % (at // 1_000_000))
            steps += [
                LineStep(at, Open(line, wire.connect(victim.device_id))),
                LineStep(at + SECOND // 5, Send(line, false)),
            ]
        steps += [LineStep(span.end, Shut(f"{span.phase}/{victim.device_id}")) for victim in span.targets]
        return _outside(self, span, steps, tuple(device.device_id for device in span.targets))


def _moments(span: Span, rate: float) -> Iterator[tuple[int, int]]:
    """Number and time of every attempt, with a jitter of a fifth; none after the phase."""
    at = float(span.start)
    for number in range(MAX_STEPS):
        at += SECOND / rate * span.rng.uniform(0.8, 1.2)
        if at >= span.end:
            return
        yield number, int(at)


def _outside(behaviour: Behaviour, span: Span, steps: list[AnyStep], ids: tuple[str, ...]) -> Plan:
    """A phase without ids has one label that names nobody."""
    labels: list[Label] = [behaviour.label(span, one, span.start) for one in ids or ("",)]
    return Plan(tuple(sorted(steps, key=lambda step: step.at)), tuple(labels))
