"""A self-contained HTML page of one run: traffic with the phases shaded, verdicts, ledger, expectations.

No script, no request to anywhere: the chart is inline SVG, so the file can be mailed and opened offline.
"""

from collections.abc import Callable, Iterable, Sequence
from html import escape

from contracts.messages import SECOND, Nanoseconds, Verdict
from thingstorm.report.gaps import open_gaps
from thingstorm.report.record import PhaseSpan, Record, Result

WIDTH, HEIGHT, MARGIN = 960, 220, 40
LANE = 12
"""Height of the strip of verdicts under the chart, in pixels."""

_COLOURS = {"attack": "#d64545", "benign": "#3a7bd5", "fault": "#8a6d3b"}
_VERDICTS = {"normal": "#b9d8b9", "benign_uptick": "#3a7bd5", "attack": "#d64545", "undecided": "#e0a030"}

_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem;
text-align: left; vertical-align: top; } .ok { color: #2e7d32; } .bad { color: #d64545; font-weight: 600; }
svg { width: 100%; height: auto; } text { fill: currentColor; font-size: 11px; }
"""


def render_html(runs: Sequence[tuple[Result, Record]]) -> str:
    """The page of one run, or of several with a table of them on top."""
    title = runs[0][0].scenario if len(runs) == 1 else f"{len(runs)} scenarios"
    passed = sum(result.passed for result, _ in runs)
    top = f"<h1>{passed} of {len(runs)} scenarios passed</h1>{_overview(runs)}" if len(runs) > 1 else ""
    sections = "".join(_section(result, record) for result, record in runs)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>thingstorm: {escape(title)}</title><style>{_STYLE}</style></head><body>
{top}{sections}</body></html>
"""


def _section(result: Result, record: Record) -> str:
    """Everything about one run."""
    return f"""<h1 id="{_anchor(result)}">{escape(result.scenario)}: {_state(result)}</h1>
<p>seed {result.seed}, path {escape(result.path)}, clock {escape(result.clock)}, {result.wall_seconds:.1f} s</p>
<h2>Traffic, phases and verdicts</h2>{_chart(record)}{_confidence(record)}
<h2>Phases</h2>{_phases(result)}
<h2>What the model said</h2>{_sentences(record)}
<h2>Ledger</h2>{_table(["hop", "messages"], [[k, str(v)] for k, v in result.as_json()["ledger"].items()])}
<p>lost {result.overall.lost}, duplicates {result.overall.duplicates}, dead letters {result.overall.dead_letters}</p>
{_latency(record)}
<h2>Expectations</h2>{_expectations(result)}
"""


def _state(result: Result) -> str:
    return '<span class="ok">passed</span>' if result.passed else '<span class="bad">failed</span>'


def _anchor(result: Result) -> str:
    return escape(f"{result.scenario}-{result.seed}", quote=True)


def _overview(runs: Sequence[tuple[Result, Record]]) -> str:
    lines = "".join(
        f'<tr><td><a href="#{_anchor(result)}">{escape(result.scenario)}</a></td><td>{result.seed}</td>'
        f"<td>{_state(result)}</td><td>{len(open_gaps(result)) or ''}</td>"
        f"<td>{escape(', '.join(f'{one.id}: {one.verdict}' for one in result.phases))}</td></tr>"
        for result, _ in runs
    )
    head = "<tr><th>scenario</th><th>seed</th><th></th><th>known gaps</th><th>verdicts</th></tr>"
    return f"<table>{head}{lines}</table>"


def _latency(record: Record) -> str:
    """Milliseconds of every hop as bars; nothing where the clock was virtual."""
    bars: list[tuple[str, float | None, float]] = [(one.hop, one.p50_ms, one.p95_ms) for one in record.hops]
    bars.append(("window to verdict", None, record.latency.verdict_p95_ms))
    longest = max((high for _, _, high in bars), default=0.0)
    if not longest or not record.hops:
        return ""
    rows = []
    for place, (hop, middle, high) in enumerate(bars):
        top, width = 22 * place, (WIDTH - 340) * high / longest
        half = (
            f'<rect x="170" y="{top + 4}" width="{(WIDTH - 340) * middle / longest:.1f}" height="14" fill="#3a7bd5"/>'
            if middle is not None
            else ""
        )
        told = f"p50 {middle:.0f}, p95 {high:.0f} ms" if middle is not None else f"p95 {high:.0f} ms"
        rows.append(
            f'<text x="0" y="{top + 15}">{escape(hop)}</text>'
            f'<rect x="170" y="{top + 4}" width="{width:.1f}" height="14" fill="#3a7bd5" opacity="0.35"/>{half}'
            f'<text x="{176 + width:.1f}" y="{top + 15}">{told}</text>'
        )
    return f"""<h2>Latency</h2><svg viewBox="0 0 {WIDTH} {22 * len(bars) + 6}" role="img"
aria-label="latency of every hop">{"".join(rows)}</svg>"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def row(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row((escape(cell) for cell in cells), "td") for cells in rows)
    return f"<table>{row(map(escape, head), 'th')}{body}</table>"


def _phases(result: Result) -> str:
    head = [
        "phase",
        "behaviour",
        "verdict",
        "devices flagged",
        "recall",
        "innocents",
        "detected after",
        "quarantined",
    ]
    rows = [
        [
            phase.id,
            phase.kind,
            phase.verdict,
            str(len(phase.flagged)),
            f"{phase.recall:.2f}" if phase.expected_devices else "",
            str(phase.false_positives),
            f"{phase.detect_seconds:.1f} s" if phase.detect_seconds is not None else "",
            ", ".join(phase.quarantined),
        ]
        for phase in result.phases
    ]
    return _table(head, rows)


def _sentences(record: Record) -> str:
    """The first verdict of every run of equal ones, except normal."""
    rows: list[list[str]] = []
    before = "normal"
    for verdict in record.verdicts:
        if verdict.kind not in (before, "normal"):
            after = f"{(verdict.at - record.started_at) / SECOND:.0f} s"
            rows.append([after, verdict.kind, f"{verdict.confidence:.2f}", verdict.summary])
        before = verdict.kind
    return _table(["at", "verdict", "confidence", "why"], rows)


def _expectations(result: Result) -> str:
    rows = [
        [
            one.name,
            one.expected,
            one.seen,
            "passed" if one.passed else f"known gap: {one.gap}" if one.gap else "failed",
        ]
        for one in result.expectations
    ]
    return _table(["expectation", "expected", "seen", ""], rows)


def _confidence(record: Record) -> str:
    """How sure the model was of every verdict that was not normal, as bars over the same time."""
    span = max(1, record.ended_at - record.started_at)
    height = 60
    bars = []
    for verdict in record.verdicts:
        if verdict.kind != "normal":
            x = MARGIN + (WIDTH - 2 * MARGIN) * min(1.0, max(0.0, (verdict.at - record.started_at) / span))
            tall = (height - 20) * verdict.confidence
            bars.append(
                f'<rect x="{x - 2:.1f}" y="{height - tall:.1f}" width="3" height="{tall:.1f}" '
                f'fill="{_VERDICTS[verdict.kind]}"><title>{escape(verdict.kind)} {verdict.confidence:.2f}</title></rect>'
            )
    label = f'<text x="{MARGIN}" y="12">confidence of verdicts, 0 to 1</text>'
    return f"""<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="confidence of verdicts">{label}
<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{height}" y2="{height}" stroke="currentColor"/>{"".join(bars)}</svg>"""


def _chart(record: Record) -> str:
    span = max(1, record.ended_at - record.started_at)
    peak = max((count for _, count in record.traffic), default=1) or 1

    def x(at: Nanoseconds) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * min(1.0, max(0.0, (at - record.started_at) / span))

    def y(count: int) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * count / peak

    points = " ".join(f"{x(at):.1f},{y(count):.1f}" for at, count in record.traffic)
    bands = "".join(
        _band(phase, x(phase.start), x(phase.end), number) for number, phase in enumerate(record.phases)
    )
    return f"""<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="messages a second over the run">
{bands}<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/>
{_lane(record.verdicts, x)}<text x="{MARGIN}" y="14">messages/s, peak {peak}</text>
<text x="{WIDTH - MARGIN}" y="{HEIGHT - 6}" text-anchor="end">{span / SECOND:.0f} s</text></svg>"""


def _band(phase: PhaseSpan, left: float, right: float, number: int) -> str:
    colour = _COLOURS.get(phase.label, "#888")
    label_y = MARGIN - 8 + 12 * (number % 2)
    return (
        f'<rect x="{left:.1f}" y="{MARGIN}" width="{max(1.0, right - left):.1f}" height="{HEIGHT - 2 * MARGIN}" '
        f'fill="{colour}" opacity="0.18"/><text x="{left + 3:.1f}" y="{label_y}">{escape(phase.id)}</text>'
    )


def _lane(verdicts: Sequence[Verdict], x: Callable[[Nanoseconds], float]) -> str:
    top = HEIGHT - MARGIN + 6
    return "".join(
        f'<rect x="{x(v.at - SECOND):.1f}" y="{top}" width="{max(1.0, x(v.at) - x(v.at - SECOND)):.1f}" '
        f'height="{LANE}" fill="{_VERDICTS[v.kind]}"><title>{escape(v.kind)}</title></rect>'
        for v in verdicts
    )
