"""A self-contained HTML page of one run: traffic with the phases shaded, verdicts, ledger, expectations.

No script, no request to anywhere: the charts are inline SVG, so the file can be mailed and opened offline. Light or
dark as the reader's system is; a narrow window scrolls the charts and tables, not the page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from itertools import zip_longest
from typing import get_args

from contracts.messages import SECOND, VerdictKind
from thingstorm.report.charts import bars, timeline
from thingstorm.report.gaps import open_gaps
from thingstorm.report.record import Record, Result

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b2330; --dim: #66707f; --line: #dfe3e8;
--benign: #2f6fd0; --attack: #cf3b3b; --fault: #94702e; --normal: #9dc7a5; --undecided: #dd9a23; --good: #23783a; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1a2029; --ink: #e4e8ee; --dim: #97a2b1;
--line: #303945; --benign: #6ba3f5; --attack: #f0716b; --fault: #c9a35b; --normal: #3f6b4a; --undecided: #e5b04d;
--good: #74c98a; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem;
background: var(--page); color: var(--ink); }
h1 { font-size: 1.5rem; margin: 1.5rem 0 .25rem; overflow-wrap: anywhere; } h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
a { color: var(--benign); } .about { color: var(--dim); margin: 0 0 1rem; }
.state { font-size: .85rem; font-weight: 600; padding: .15rem .6rem; border-radius: 1rem; vertical-align: middle;
border: 1px solid; white-space: nowrap; } .ok, .ok td:last-child { color: var(--good); }
.bad, .bad td:last-child { color: var(--attack); font-weight: 600; } .open td:last-child { color: var(--undecided); }
tr.ok, tr.bad { color: inherit; font-weight: inherit; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; }
.tiles div, .scroll { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; }
.tiles div { color: var(--dim); font-size: .85rem; } .tiles b { display: block; color: var(--ink); font-size: 1.35rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
td, th { border-bottom: 1px solid var(--line); padding: .4rem .8rem .4rem 0; text-align: left; vertical-align: top; }
th { color: var(--dim); font-weight: 500; vertical-align: bottom; } td:last-child { min-width: 9rem; } tr:last-child td { border-bottom: 0; }
td:first-child { white-space: nowrap; } td { font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem; color: var(--dim); margin: .5rem 0 0; }
.legend b { flex-basis: 100%; height: 0; } .legend i { display: inline-block; width: .9rem; height: .7rem; border-radius: 2px;
margin-right: .35rem; background: var(--of); opacity: .35; } .legend i.full { opacity: 1; }
svg { display: block; width: 100%; min-width: 40rem; height: auto; } text { fill: var(--ink); font-size: 12px; }
.dim { fill: var(--dim); } .grid { stroke: var(--line); } .line { fill: none; stroke: var(--ink); stroke-width: 1.6; }
.area { fill: var(--ink); opacity: .07; } .bar { fill: var(--benign); } .soft { opacity: .35; }
.benign, .benign_uptick { --of: var(--benign); } .attack { --of: var(--attack); } .fault { --of: var(--fault); }
.normal { --of: var(--normal); } .undecided { --of: var(--undecided); }
.band { fill: var(--of); opacity: .13; } .name { fill: var(--of); opacity: .3; } .verdict, .sure { fill: var(--of); }
@media print { body { background: none; } .scroll, .tiles div { break-inside: avoid; } }
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
    return f"""<h1 id="{_anchor(result)}">{escape(result.scenario)} {_state(result)}</h1>
<p class="about">seed {result.seed} · path {escape(result.path)} · clock {escape(result.clock)} ·
{result.wall_seconds:.1f} s · {result.hash()}</p>{_tiles(result)}
<h2>Traffic, phases and verdicts</h2>{_scroll(timeline(record) + _legend())}
<h2>Phases</h2>{_phases(result)}
<h2>What the model said</h2>{_sentences(record)}
<h2>Expectations</h2>{_expectations(result)}
<h2>Messages at every hop</h2>{_ledger(result)}
<p>lost {result.overall.lost}, duplicates {result.overall.duplicates}, dead letters {result.overall.dead_letters}</p>
{_latency(record)}
"""


def _state(result: Result) -> str:
    return f'<span class="state {"ok" if result.passed else "bad"}">{"passed" if result.passed else "failed"}</span>'


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
    return _scroll(f"<table>{head}{lines}</table>")


def _latency(record: Record) -> str:
    """Milliseconds of every hop as bars; nothing where the clock was virtual."""
    if not record.hops:
        return ""
    rows: list[tuple[str, float, float | None, str]] = [
        (one.hop, one.p95_ms, one.p50_ms, f"p50 {one.p50_ms:.0f}, p95 {one.p95_ms:.0f} ms")
        for one in record.hops
    ]
    high = record.latency.verdict_p95_ms
    rows.append(("window to verdict", high, None, f"p95 {high:.0f} ms"))
    return f"<h2>Latency</h2>{_scroll(bars(rows, 'latency of every hop'))}"


def _ledger(result: Result) -> str:
    counts = asdict(result.ledger).items()
    return _scroll(bars([(hop, count, None, f"{count:,}") for hop, count in counts], "messages at every hop"))


def _legend() -> str:
    phases = "".join(
        f'<span class="{kind}"><i></i>{kind} phase</span>' for kind in ("benign", "attack", "fault")
    )
    verdicts = "".join(
        f'<span class="{kind}"><i class="full"></i>{kind.replace("_", " ")}</span>'
        for kind in get_args(VerdictKind)
    )
    return f'<p class="legend">{phases}<b></b>{verdicts}</p>'


def _tiles(result: Result) -> str:
    """The figures that people look for first."""
    held = sum(one.passed for one in result.expectations)
    figures = [
        (f"{held} of {len(result.expectations)}", "expectations held"),
        (f"{result.ledger.published:,}", "messages published"),
        (str(result.overall.lost + result.overall.duplicates), "lost or doubled"),
        (str(sum(len(one.flagged) for one in result.phases)), "devices flagged"),
        (str(result.overall.false_positives), "of them innocent"),
    ]
    found = [one.detect_seconds for one in result.phases if one.detect_seconds is not None]
    if found:
        figures.append((f"{max(found):.1f} s", "slowest detection"))
    tiles = "".join(f"<div><b>{value}</b>{name}</div>" for value, name in figures)
    return f'<div class="tiles">{tiles}</div>'


def _scroll(drawn: str) -> str:
    """A narrow window scrolls a wide part, not the page."""
    return f'<div class="scroll">{drawn}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, styles: Sequence[str] = ()) -> str:
    """Cells of plain text; `styles` are classes of the rows."""

    def row(cells: Iterable[str], tag: str, style: str = "") -> str:
        return f'<tr class="{style}">' + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row(cells, "td", style) for cells, style in zip_longest(rows, styles, fillvalue=""))
    return _scroll(f"<table>{row(head, 'th')}{body}</table>")


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
    styles = ["ok" if one.passed else "open" if one.gap else "bad" for one in result.expectations]
    return _table(["expectation", "expected", "seen", ""], rows, styles=styles)
