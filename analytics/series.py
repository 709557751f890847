"""How strange each value of a bare series is, from the values before it and nothing else: `thingstorm score`.

Fourteen views of the series (the value, its jump, means over minutes to hours, the shape of the last 8 to 288
values beside every earlier shape, the distance from the time of day) are each ranked among their own past. A
rank needs no unit, no scale and no distribution, so evidence means the same in every series: the sum over the
views of -log10 of the share of the past that was at least as strange, over the root of the log10 of the rows so
far. One threshold then serves for all series.

Strictly causal, and nothing depends on the length: the scores of a prefix are the prefix of the scores.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from .forecast import day_profile

Series: TypeAlias = NDArray[np.float64]

FIRST = 50
"""Rows before the first evidence: a rank among fewer says little (the rarest of 50 has 1.7 a view)."""

REFIT = 1.03
"""What a rank is taken among is renewed when the past has grown by this much: some 200 sorts in 20,000 rows."""

MEANS = (6, 24, 96)
"""Rows; at five minutes a row half an hour, two hours and eight hours."""

SHAPES = ((8, 8), (32, 8), (128, 16), (288, 16))
"""Rows of a shape, and the number of means it is described by; 288 rows of five minutes are a day."""

SHAPE_MEMORY = 4000
"""Earlier shapes that a shape is compared with, the newest ones: two weeks at five minutes a row."""

BLOCK = 64
QUIET_ROWS = 150
"""After an event this many rows stay quiet, unless it grows: one alarm an event, not one a row."""

GROWS = 1.2
"""So many times the evidence of the event before is an event of its own within the quiet rows."""

HALF = 8.7
"""Evidence that scores 0.5, the threshold to start with; after 1,000 rows a share of 1 in 12 in every view, or 1 in 1,000 in five."""

LARGEST = 1e100
"""Values are held within this, so that their squares stay finite."""


def score_series(times: Sequence[float], values: Sequence[float]) -> Series:
    """One score in [0, 1) a row, in the order of the rows; higher is stranger, 0.5 is a threshold to start with.

    `times` are seconds since the epoch, used for the time of day alone: order, gaps and duplicates do not matter,
    and nan (unknown) costs one view of fourteen. A value that is nan or infinite is missing: it scores 0, and the
    series goes on as if the row were not there. Never rounded.
    """
    held = np.asarray(values, dtype=np.float64)
    scores = np.zeros(len(held))
    present = np.isfinite(held)
    if present.sum() > FIRST:
        with threadpool_limits(1, user_api="blas"):  # the matrices are small: a second thread only waits
            strength = evidence(np.asarray(times, dtype=np.float64)[present], held[present])
        scores[present] = _once_an_event(strength)
    return scores


def evidence(times: Series, values: Series) -> Series:
    """The evidence of each row before events are told apart: the sum over the views, 0 and up."""
    held = np.clip(values, -LARGEST, LARGEST)
    held = held - np.median(held[:FIRST])  # only for precision: ranks do not care
    total = np.zeros(len(held))
    for view in _views(times, held):
        total += _rarity(view)
    # the rarest of n rows has log10(n) by chance alone: a long past makes anything look stranger
    return total / np.sqrt(np.log10(np.arange(len(held)) + FIRST))


def seconds_of(text: str) -> float:
    """Seconds since the epoch of an ISO date (UTC if it says nothing else) or a number; nan if it is neither.

    A number above 1e11 counts milliseconds, above 1e14 microseconds, above 1e17 nanoseconds.
    """
    try:
        number = float(text)
    except ValueError:
        return _seconds_of_date(text)
    for limit in (1e17, 1e14, 1e11):
        if abs(number) > limit:
            return number / (limit / 1e8)
    return number


def _seconds_of_date(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return float("nan")


def _views(times: Series, values: Series) -> Iterator[Series]:
    """Each a series of the same length in which more is stranger."""
    yield values
    yield -values
    yield np.abs(np.diff(values, prepend=values[0]))
    for rows in MEANS:
        mean = _mean(values, rows)
        yield mean
        yield -mean
    for rows, points in SHAPES:
        yield _novelty(values, rows, points)
    yield _off_the_day(times, values)


def _mean(values: Series, rows: int) -> Series:
    """Over the last `rows` rows; before the first row the series is taken to have been as the first row.

    Summed afresh for each row: a running sum would carry the error of one huge value along for ever.
    """
    if rows == 1:
        return values
    padded = np.concatenate([np.full(rows - 1, values[0]), values])
    return np.asarray(sliding_window_view(padded, rows).mean(axis=1), dtype=np.float64)


def _rarity(view: Series) -> Series:
    """-log10 of the share of the past, this row included, that was at least as strange."""
    rare = np.zeros(len(view))
    for start, end in _refits(len(view)):
        past = np.sort(view[:start])
        as_strange = start - np.searchsorted(past, view[start:end], side="left")
        rare[start:end] = -np.log10((as_strange + 1) / (start + 1))
    return rare


def _refits(length: int) -> Iterator[tuple[int, int]]:
    start = FIRST
    while start < length:
        end = max(start + 1, int(start * REFIT))
        yield start, min(end, length)
        start = end


def _novelty(values: Series, rows: int, points: int) -> Series:
    """How far the shape of the last `rows` rows is from the nearest earlier shape that does not overlap it."""
    step = rows // points
    means = _mean(values, step)
    place = np.arange(len(values))[:, None] - step * np.arange(points - 1, -1, -1)
    shapes = means[np.maximum(place, 0)]
    squares = np.einsum("ij,ij->i", shapes, shapes)
    novelty = np.zeros(len(values))
    for start in range(2 * rows, len(values), BLOCK):
        # the same matrix sizes whatever the length of the series: else the last digits could differ
        asked = np.zeros((BLOCK, points))
        known = shapes[start : start + BLOCK]
        asked[: len(known)] = known
        last = start - rows + 1
        first = max(rows - 1, last - SHAPE_MEMORY)
        near = squares[first:last] - 2.0 * (asked @ shapes[first:last].T)
        nearest = shapes[first + near.argmin(axis=1)[: len(known)]]
        novelty[start : start + len(known)] = np.sqrt(((known - nearest) ** 2).mean(axis=1))
    return novelty


def _off_the_day(times: Series, values: Series) -> Series:
    """Distance from what this time of day has been like; 0 where nothing is known yet."""
    profile = day_profile()
    off = np.zeros(len(values))
    for row, (moment, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True)):
        expected = profile.expected(moment)
        if expected is not None:
            off[row] = abs(value - expected)
        profile.learn(moment, value)
    return off


def _once_an_event(strength: Series) -> Series:
    """Scores: the row that starts an event, or makes it `GROWS` times as strong, keeps its evidence.

    The other rows of the `QUIET_ROWS` after it keep a tenth. No threshold is needed for it, so it serves any.
    """
    scores = np.zeros(len(strength))
    recent: deque[tuple[int, float]] = deque()  # rows that kept their evidence, strongest first
    for row, found in enumerate(strength.tolist()):
        while recent and row - recent[0][0] >= QUIET_ROWS:
            recent.popleft()
        kept = found if not recent or found > GROWS * recent[0][1] else found / 10.0
        if kept == found and found > 0.0:
            while recent and recent[-1][1] <= found:
                recent.pop()
            recent.append((row, found))
        scores[row] = kept / (kept + HALF)
    return scores
