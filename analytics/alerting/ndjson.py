"""Findings as lines of JSON in a file that a SIEM's collector follows; bounded by rotation."""

from pathlib import Path

from anyio import CapacityLimiter, to_thread

from contracts.errors import Transient

from .templates import Render

MAX_BYTES = 50_000_000
KEPT_FILES = 3
"""With the live one 200 MB at the most: some ten thousand findings of 20 KB."""


class FindingsFile:
    """Appends a line an alert. A full file becomes FILE.1, that one FILE.2, and so on; the oldest is removed."""

    def __init__(self, name: str, path: Path, *, render: Render, max_bytes: int = MAX_BYTES) -> None:
        self.name = name
        self.render: Render = render
        self._path = path
        self._max_bytes = max_bytes
        self._limiter = CapacityLimiter(1)

    async def deliver(self, alert_id: str, body: bytes) -> None:
        """Append it. Raises Transient where the disk does not take it."""
        _ = alert_id
        await to_thread.run_sync(self._append, body, limiter=self._limiter)

    def _append(self, body: bytes) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size + len(body) > self._max_bytes:
                self._rotate()
            with self._path.open("ab") as file:
                file.write(body + b"\n")
        except OSError as error:
            raise Transient(
                f"cannot write {self._path}: {error.strerror}",
                fix="free space on its disk and let this user write there",
            ) from None

    def _rotate(self) -> None:
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
