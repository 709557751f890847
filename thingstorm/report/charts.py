"""The charts of the HTML report: inline SVG, coloured by classes that the page's style gives for light and dark."""

from collections.abc import Callable, Sequence
from html import escape

from contracts.messages import SECOND, Nanoseconds, Verdict
from thingstorm.report.record import PhaseSpan, Record

WIDTH = 960
LEFT, RIGHT = 84, 20
"""Room for the numbers of the vertical axis; for half of the last tick's number."""

PLOT = 190
ROW = 18
"""Height of a row of phase names over the plot."""

CONFIDENCE = 54
LANE = 14
BAR = 24
"""Heights: the plot of confidences, the strip of verdicts, a row of a bar chart."""

NAMES, VALUES = 150, 150
"""Widths of a bar chart's names and of its figures."""

TICKS = 5
"""At most so many lines over an axis of values; twice as many over the time."""

X = Callable[[Nanoseconds], float]


def timeline(record: Record) -> str:
    """Messages a second with the phases shaded; under it, over the same time, every verdict and its confidence."""
    span = max(1, record.ended_at - record.started_at)

    def x(at: Nanoseconds) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, (at - record.started_at) / span))

    rows = _rows(record.phases)
    top = 22 + ROW * (max(rows, default=-1) + 1)
    bottom = top + PLOT
    lane, sure = bottom + 28, bottom + 28 + LANE + 24
    height = sure + CONFIDENCE + 6
    bands = "".join(_band(phase, x, row, top, bottom) for phase, row in zip(record.phases, rows, strict=True))
    return f"""<svg class="wide" viewBox="0 0 {WIDTH} {height}" role="img"
aria-label="messages a second, verdicts and their confidence over the run">
<text class="dim" x="0" y="12">messages a second</text>{bands}{_traffic(record.traffic, x, top)}
{_seconds(span, record.started_at, x, bottom)}
<text class="dim" x="0" y="{lane + 11}">verdict</text>{_lane(record.verdicts, x, lane)}
<text class="dim" x="0" y="{sure + CONFIDENCE // 2 + 4}">confidence</text>{_confidence(record.verdicts, x, sure)}</svg>"""


def bars(rows: Sequence[tuple[str, float, float | None, str]], label: str) -> str:
    """Rows of (name, value, a part of it drawn darker, the figure in words)."""
    longest = max((value for _, value, _, _ in rows), default=0.0) or 1.0
    room = WIDTH - NAMES - VALUES
    drawn = []
    for place, (name, value, part, told) in enumerate(rows):
        top, width = BAR * place, room * value / longest
        inner = _bar(top, room * part / longest, "bar") if part is not None else ""
        drawn.append(
            f'<text x="0" y="{top + 16}">{escape(name)}</text>{_bar(top, width, "bar soft" if part is not None else "bar")}'
            f'{inner}<text x="{NAMES + width + 8:.1f}" y="{top + 16}">{escape(told)}</text>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {BAR * len(rows) + 2}" role="img" aria-label="{escape(label)}">'
        f"{''.join(drawn)}</svg>"
    )


def _bar(top: float, width: float, style: str) -> str:
    return f'<rect class="{style}" x="{NAMES}" y="{top + 4}" width="{width:.1f}" height="16" rx="2"/>'


def _rows(phases: Sequence[PhaseSpan]) -> list[int]:
    """The row of each phase's name: the first where no other one is at that time."""
    taken: list[list[PhaseSpan]] = []
    rows = []
    for phase in phases:
        free = (n for n, row in enumerate(taken) if all(_apart(phase, other) for other in row))
        place = next(free, len(taken))
        if place == len(taken):
            taken.append([])
        taken[place].append(phase)
        rows.append(place)
    return rows


def _apart(one: PhaseSpan, other: PhaseSpan) -> bool:
    return one.start >= other.end or other.start >= one.end


def _band(phase: PhaseSpan, x: X, row: int, top: int, bottom: int) -> str:
    left, right = x(phase.start), x(phase.end)
    y, width = 20 + ROW * row, max(1.0, right - left)
    late = left > (WIDTH + LEFT) / 2  # a long name runs to the left rather than out of the chart
    anchor = f'x="{right - 4:.1f}" text-anchor="end"' if late else f'x="{left + 4:.1f}"'
    return (
        f'<g class="{phase.label}"><title>{escape(phase.id)}: {escape(phase.kind)}</title>'
        f'<rect class="band" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{bottom - top}"/>'
        f'<rect class="name" x="{left:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 3}" rx="2"/>'
        f'<text {anchor} y="{y + 12}">{escape(phase.id)}</text></g>'
    )


def _traffic(traffic: Sequence[tuple[Nanoseconds, int]], x: X, top: int) -> str:
    """The line, the area under it, and the numbers of its axis."""
    peak = max((count for _, count in traffic), default=0)
    step = _step(peak, TICKS)
    highest = max(step, -(-peak // step) * step)

    def y(count: float) -> float:
        return top + PLOT - PLOT * count / highest

    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(n):.1f}" y2="{y(n):.1f}"/>'
        f'<text class="dim" x="{LEFT - 8}" y="{y(n) + 4:.1f}" text-anchor="end">{n}</text>'
        for n in range(0, highest + 1, step)
    )
    if not traffic:
        return grid
    points = " ".join(f"{x(at):.1f},{y(count):.1f}" for at, count in traffic)
    first, last = x(traffic[0][0]), x(traffic[-1][0])
    area = f"{first:.1f},{y(0):.1f} {points} {last:.1f},{y(0):.1f}"
    return f'{grid}<polygon class="area" points="{area}"/><polyline class="line" points="{points}"/>'


def _step(highest: int, ticks: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, ... that needs no more than `ticks` steps."""
    scale = 1
    while True:
        for step in (scale, 2 * scale, 5 * scale):
            if step * ticks >= highest:
                return step
        scale *= 10


def _seconds(span: Nanoseconds, start: Nanoseconds, x: X, bottom: int) -> str:
    whole = span // SECOND
    return "".join(
        f'<text class="dim" x="{x(start + n * SECOND):.1f}" y="{bottom + 15}" text-anchor="middle">{n} s</text>'
        for n in range(0, whole + 1, _step(whole, 2 * TICKS))
    )


def _spans(verdicts: Sequence[Verdict]) -> list[tuple[Verdict, Nanoseconds]]:
    """Each verdict with the moment from which it holds: one for each tick, a second unless they come closer."""
    if not verdicts:
        return []
    before = [verdicts[0].at - SECOND, *(one.at for one in verdicts[:-1])]
    return [(one, max(since, one.at - SECOND)) for one, since in zip(verdicts, before, strict=True)]


def _lane(verdicts: Sequence[Verdict], x: X, top: int) -> str:
    return "".join(
        f'<rect class="verdict {one.kind}" x="{x(since):.1f}" y="{top}" width="{max(1.0, x(one.at) - x(since)):.1f}" '
        f'height="{LANE}"><title>{escape(one.summary or one.kind)}</title></rect>'
        for one, since in _spans(verdicts)
    )


def _confidence(verdicts: Sequence[Verdict], x: X, top: int) -> str:
    """How sure every verdict was that is not normal, from 0 to 1."""
    base = top + CONFIDENCE
    drawn = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text class="dim" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{n}</text>'
        for n, y in ((0, base), (1, top))
    ]
    for one, since in _spans(verdicts):
        if one.kind != "normal":
            tall = CONFIDENCE * one.confidence
            drawn.append(
                f'<rect class="sure {one.kind}" x="{x(since) + 0.5:.1f}" y="{base - tall:.1f}" '
                f'width="{max(1.0, x(one.at) - x(since) - 1):.1f}" height="{tall:.1f}">'
                f"<title>{escape(one.kind)} {one.confidence:.2f}</title></rect>"
            )
    return "".join(drawn)
