"""Bytes that no client would send: the core closes the connection or goes on, and never raises.

Two generators: hypothesis's own bytes, and real packets mended, cut, repeated and put in another order. The second
makes 200,000 inputs in some 12 s (`make full-sizes`), of which every run of the tests has a fifth.
"""

import random
import struct

from gateway_clients import Client, Desk, connect_bytes, packet, publish_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import size

from broker import packets, properties
from broker.packets import V3, V5
from broker.wire import text

INPUTS = size(40_000, full=200_000)

TOLD = properties.write({"message_expiry": 5, "user": (("a", "b"),), "topic_alias": 1}.items())


def corpus() -> list[bytes]:
    """Good packets of every kind, of both versions."""
    found = [b"\xc0\x00", b"\xe0\x00", b"\xf0\x00", b"\xe0\x02\x04\x00"]
    for level in (V3, V5):
        none = b"\0" if level == V5 else b""
        found += [
            connect_bytes("fuzz", level=level, will=("w", b"x", 1, True), username="u", password=b"p"),
            packet(packets.SUBSCRIBE, struct.pack(">H", 1) + none + text("a/+/#") + b"\x01", 2),
            packet(packets.SUBSCRIBE, struct.pack(">H", 2) + none + text("$share/g/a") + b"\x00", 2),
            packet(packets.UNSUBSCRIBE, struct.pack(">H", 3) + none + text("a/+/#"), 2),
        ]
        found += [
            publish_bytes("a/b", b"{}", qos=qos, retain=bool(qos), packet_id=7, level=level)
            for qos in range(3)
        ]
    found.append(packets.publish("a/b", b"x", qos=1, retain=False, packet_id=9, told=TOLD))
    found += [packets.acknowledgement(kind, 1, level=V5, code=0x10) for kind in range(4, 8)]
    return found


def mutated(dice: random.Random, seeds: list[bytes]) -> bytes:
    """A few packets in a row, some of them damaged."""
    parts = [bytearray(dice.choice(seeds)) for _ in range(dice.randint(1, 3))]
    for part in parts:
        for _ in range(dice.choice((0, 0, 1, 2, 5))):
            place = dice.randrange(len(part)) if part else 0
            what = dice.randrange(4)
            if what == 0 and part:
                part[place] = dice.randrange(256)
            elif what == 1:
                part[place:place] = dice.randbytes(dice.randint(1, 4))
            elif what == 2:
                del part[place : place + dice.randint(1, 4)]
            elif part:
                part[place] ^= 1 << dice.randrange(8)
    return b"".join(parts)


def check(desk: Desk, client: Client) -> None:
    """What must hold whatever came: whole packets were written, and the counts add up."""
    client.written.clear()
    if client.closed:
        assert client.conversation.session is None
    assert desk.gateway.connections <= len(desk.clients)


def test_damaged_streams_break_nothing() -> None:
    dice, seeds = random.Random(11), corpus()
    desk = Desk("open", in_flight=50, queued=50)
    client = desk.client("fuzz")
    for number in range(INPUTS):
        if client.closed or number % 50 == 0:
            if not client.closed:
                client.lose()
            desk.clients.clear()
            desk.rules.clear()
            desk.now += 10**9
            desk.gateway.take_events()
            client = desk.client("fuzz", level=dice.choice((V3, V5)), clean=dice.random() < 0.5)
        data = mutated(dice, seeds)
        cut = dice.randrange(len(data) + 1) if dice.random() < 0.2 else len(data)
        for part in (data[:cut], data[cut:]):
            client.conversation.receive(part, desk.now)
        desk.gateway.turn(desk.now)
        check(desk, client)
    assert desk.client("good").publish("a", qos=1)[-1].kind == "PUBACK"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_any_bytes_at_all(parts: list[bytes], greeted: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    desk = Desk("aws")
    client = desk.client("fuzz" if greeted else None)
    for part in parts:
        client.conversation.receive(part, desk.now)
        desk.turn()
        check(desk, client)
    desk.pass_time(2)
    assert desk.client("good").publish("dt/x", qos=1)[-1].kind == "PUBACK"
