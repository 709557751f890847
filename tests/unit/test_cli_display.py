import io

from rich.console import Console

from thingstorm.cli.display import LiveDisplay, PlainDisplay
from thingstorm.report.sentences import describe

HOPS = [("accepted", 1200, ""), ("viewed", 1100, "100 behind")]


def test_plain_lines_say_when_and_what() -> None:
    lines: list[str] = []
    with PlainDisplay(write=lines.append) as display:
        display.emit("phase_started", {"id": "flood", "kind": "attack.publish_flood", "devices": 3})
        display.refresh(HOPS)
        display.refresh(HOPS)  # too soon for a second line
    assert [line.split("s  ", 1)[1] for line in lines] == [
        "▶ flood: attack.publish_flood (3 devices)",
        "accepted 1200  viewed 1100",
    ]


def test_the_live_panel_shows_every_hop_and_keeps_the_story() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=False)
    with LiveDisplay(console=console) as display:
        display.refresh(HOPS)
        display.emit("action", {"action": "quarantine", "target": "meter-0007", "outcome": "done"})
    assert "quarantine meter-0007: done" in out.getvalue()


def test_the_story_is_bounded() -> None:
    out = io.StringIO()
    with LiveDisplay(console=Console(file=out, width=100, force_terminal=False)) as display:
        for number in range(100):
            display.emit("action", {"action": "quarantine", "target": f"meter-{number}", "outcome": "done"})
    assert "meter-99:" in out.getvalue()
    assert "meter-50:" not in out.getvalue()


def test_events_that_nobody_needs_to_read_say_nothing() -> None:
    assert describe("some.detail", {}) == ""
