"""Documents for `bench view`, in the manner of RockBench: nested, about 1.2 KB, with the moment of their making.

A process of its own makes them, so that it takes nothing from the engine: the moments are true whatever that does.

RockBench (Rockset's open benchmark of data latency) sends faker documents of names, addresses and friends with `_id`,
`_event_time` and `_ts`; these have its shape, made of seeded random words.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

WORDS = (
    "alder",
    "amber",
    "birch",
    "cedar",
    "coral",
    "delta",
    "ember",
    "fjord",
    "garnet",
    "harbor",
    "indigo",
    "jasper",
    "lagoon",
    "maple",
    "nectar",
    "onyx",
    "pearl",
    "quartz",
    "river",
    "slate",
    "thistle",
    "umber",
    "velvet",
    "willow",
    "yarrow",
    "zephyr",
)
FRIENDS = 3
TAGS = 9
TICK_SECONDS = 0.1


class Maker:
    """Makes documents as JSON text; patches are of the documents so far."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - load, no secrets
        self._bodies = [orjson.dumps(self._body())[1:] for _ in range(500)]
        self.made = 0

    def batch(self, size: int, mode: str) -> tuple[list[bytes], list[bytes]]:
        """(new documents, patches) of this moment; `mixed` patches one in five."""
        share = {"add": 0.0, "patch": 1.0, "mixed": 0.2}[mode]
        patches = min(round(size * share), self.made)
        return list(self._fresh(size - patches)), list(self._patches(patches))

    def _fresh(self, count: int) -> Iterator[bytes]:
        now = time.time_ns()
        for number in range(self.made + 1, self.made + count + 1):
            head = b'{"_id":"doc-%012d","_event_time":%d,"_ts":%d,' % (number, now // 1_000_000, now // 1_000)
            yield head + self._bodies[number % len(self._bodies)]
        self.made += count

    def _patches(self, count: int) -> Iterator[bytes]:
        now = time.time_ns() // 1_000_000
        for number in self._chance.sample(range(1, self.made + 1), count):
            told = {"_id": f"doc-{number:012d}", "_event_time": now, "Age": self._chance.randint(1, 99)}
            yield orjson.dumps({**told, "About": self._words(4)})

    def _body(self) -> dict[str, Any]:
        return {
            "Guid": f"{self._chance.getrandbits(128):032x}",
            "IsActive": self._chance.random() < 0.5,
            "Balance": f"${self._chance.randint(1_000, 9_999)}.00",
            "Picture": "http://placehold.it/32x32",
            "Age": self._chance.randint(18, 90),
            "Name": {"First": self._words(1), "Last": self._words(1)},
            "company": self._words(2),
            "Email": f"{self._words(1)}@{self._words(1)}.example",
            "Phone": f"+1 ({self._chance.randint(100, 999)}) 555-{self._chance.randint(1_000, 9_999)}",
            "Address": {
                "Street": self._words(3),
                "City": self._words(1),
                "ZipCode": self._chance.randint(10_000, 99_999),
                "Coordinates": {
                    "Latitude": self._chance.uniform(-90, 90),
                    "Longitude": self._chance.uniform(-180, 180),
                },
            },
            "About": self._words(40),
            "Tags": [self._words(1) for _ in range(TAGS)],
            "Friends": [
                {
                    "FriendId": n,
                    "Name": {"First": self._words(1), "Last": self._words(1)},
                    "Age": self._chance.randint(18, 90),
                }
                for n in range(FRIENDS)
            ],
            "Greeting": self._words(8),
        }

    def _words(self, count: int) -> str:
        return " ".join(self._chance.choices(WORDS, k=count))


def send(out: BinaryIO, go: BinaryIO, settings: dict[str, Any]) -> None:
    """Batches as two counts (new, patches) and that many lines: `first` documents; from the go on `rate` for `seconds`."""
    maker, rate = Maker(1), settings["rate"]
    _put(out, maker.batch(settings["first"], "add"))
    go.readline()
    began, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < settings["seconds"]:
        due = round(rate * passed) - sent
        if due > 0:
            _put(out, maker.batch(due, settings["mode"]))
            sent += due
        time.sleep(max(0.0, TICK_SECONDS - (time.perf_counter() - began - passed)))


def _put(out: BinaryIO, batch: tuple[list[bytes], list[bytes]]) -> None:
    fresh, patches = batch
    out.write(b"%d %d\n" % (len(fresh), len(patches)) + b"".join(line + b"\n" for line in (*fresh, *patches)))
    out.flush()


if __name__ == "__main__":
    send(sys.stdout.buffer, sys.stdin.buffer, json.loads(sys.argv[1]))
