"""Calls to a service from threads, for actions that send bodies one by one or in batches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from botocore.exceptions import BotoCoreError, ClientError

from contracts.errors import Terminal, Transient

from ..aws.session import translate
from .base import Item, Refused, Undelivered

T = TypeVar("T")

AT_ONCE: Final = 4
"""Calls of one `deliver` under way at once."""

TRIES: Final = 3
"""The guide says "multiple attempts" and gives a number for `http` only: three. We take it for all."""


@dataclass(slots=True)
class Outcome:
    """What is left of one `deliver`, by position of the body."""

    retry: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)

    def close(self, name: str) -> None:
        """Raises Undelivered or Refused if something is left."""
        if self.retry:
            raise Undelivered(
                f"{name}: {next(iter(self.retry.values()))}",
                fix="it is tried again; see whether the service is up",
                retry=self.retry,
                refused=self.refused,
            )
        if self.refused:
            what = f"{name}: {next(iter(self.refused.values()))}"
            raise Refused(what, fix="see the reason of each message", refused=self.refused)


async def call(work: Callable[[], T], limiter: CapacityLimiter) -> T:
    """Run in a thread. Raises Transient or Terminal for what botocore raises."""
    try:
        return await to_thread.run_sync(work, limiter=limiter)
    except (ClientError, BotoCoreError) as error:
        raise translate(error) from error
    except UnicodeError as error:  # half a surrogate pair, in a name that a message fills in
        raise Terminal(f"no service can be asked: {error}", fix="leave such names out, with WHERE") from None


@dataclass(frozen=True, slots=True)
class OneCallEach(ABC):
    """An action with one call an item. A kind adds `build` and the call; `client` is the service's, made when it is used."""

    resource: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    kind: ClassVar[str]
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.kind} {self.resource}"

    async def deliver(self, items: Sequence[Item]) -> None:
        """A few items at once. Raises Undelivered or Refused."""
        outcome, places = Outcome(), anyio.Semaphore(AT_ONCE)

        async def one(index: int) -> None:
            async with places:
                try:
                    await call(lambda: self._send(items[index]), self.limiter)
                except Transient as error:
                    outcome.retry[index] = error.what
                except Terminal as error:
                    outcome.refused[index] = error.what
                except ValueError as error:
                    outcome.refused[index] = str(error)

        async with anyio.create_task_group() as group:
            for index in range(len(items)):
                group.start_soon(one, index)
        outcome.close(self.name)

    @abstractmethod
    def _send(self, item: Item) -> None:
        """Called in a thread. Raises what botocore raises, or ValueError for a body that the service cannot take."""


def batches(sizes: Iterable[tuple[int, int]], *, most: int, most_bytes: int) -> list[list[int]]:
    """Positions (first of each pair) into as few calls as the limits allow, in order, by their sizes in bytes."""
    made: list[list[int]] = []
    room = 0
    for position, size in sizes:
        if not made or len(made[-1]) == most or size > room:
            made.append([])
            room = most_bytes
        made[-1].append(position)
        room -= size
    return made


def text_of(item: Item, *, service: str) -> str:
    """The body as text. Raises ValueError."""
    try:
        return item.body.decode()
    except UnicodeDecodeError:
        raise ValueError(f"binary payload: {service} takes text, select encode(*, 'base64')") from None
