"""Documents for `bench view`, in the manner of RockBench: nested, about 1.2 KB, with the moment of their making.

RockBench (Rockset's open benchmark of data latency) sends faker documents of names, addresses and friends with `_id`,
`_event_time` and `_ts`; these have its shape, made of seeded random words.
"""

import random
import time
from collections.abc import Iterator
from typing import Any

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


class Maker:
    """Makes documents; ids are those of the documents so far in modes that patch."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - load, no secrets
        self._bodies = [self._body() for _ in range(500)]
        self.made = 0

    def batch(self, size: int, mode: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """(new documents, patches) of this moment; `mixed` patches one in five."""
        share = {"add": 0.0, "patch": 1.0, "mixed": 0.2}[mode] if self.made > size else 0.0
        patches = round(size * share)
        return list(self._fresh(size - patches)), list(self._patches(patches))

    def _fresh(self, count: int) -> Iterator[dict[str, Any]]:
        for _ in range(count):
            self.made += 1
            yield {
                **self._bodies[self.made % len(self._bodies)],
                "_id": f"doc-{self.made:012d}",
                "_event_time": time.time_ns() // 1_000_000,
                "_ts": time.time_ns() // 1_000,
            }

    def _patches(self, count: int) -> Iterator[dict[str, Any]]:
        for number in self._chance.sample(range(1, self.made + 1), min(count, self.made)):
            yield {
                "_id": f"doc-{number:012d}",
                "_event_time": time.time_ns() // 1_000_000,
                "Age": self._chance.randint(1, 99),
                "About": self._words(4),
            }

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
