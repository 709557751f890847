"""Everything that was done, tried, held or undone, by whom and why: append-only."""

from collections import deque
from collections.abc import Callable, Sequence

from contracts.messages import ActionTaken, Change
from contracts.ports import Emit

from .memory import action_row
from .rows import RowWriter

KEPT = 10_000


class ActionLog:
    """The newest actions in memory, all of them in the collection `actions`."""

    def __init__(
        self, rows: RowWriter, emit: Emit, *, count: Callable[[Sequence[ActionTaken]], None] = lambda _: None
    ) -> None:
        self._rows = rows
        self._emit = emit
        self._count = count
        self._number = 0
        self.actions: deque[ActionTaken] = deque(maxlen=KEPT)

    def take(self, actions: Sequence[ActionTaken]) -> list[Change]:
        """Keep and tell them; the rows that are to be written."""
        changes = []
        for action in actions:
            self.actions.append(action)
            facts = {"action": action.action, "target": action.target, "outcome": action.outcome}
            self._count([action])
            self._emit("action", {**facts, "by": action.by, "incident_id": action.incident_id})
            self._number = (self._number + 1) % 1_000_000
            row = action_row(action, self._number)
            changes.append(self._rows.change("actions", "action_id", row))
        return changes
