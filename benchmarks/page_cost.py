"""What the page costs: the stack's CPU with five pages open, and the browser's memory over an hour of pushes.

    python benchmarks/page_cost.py [--rate 1000] [--pages 5] [--seconds 12] [--rounds 4] [--pushes 3600] [--skip cpu|growth] [--json FILE]

CPU: `thingstorm up` under a steady load; rounds without and with pages take turns, so that what drifts meets both alike.
A page is a websocket that wants what a view wants (Now, Incidents, Devices, Flow, Scenarios, in turn). Measured are the CPU
seconds of our processes (the emulator's apart) by second and by message; the page adds the difference of the medians. The
machine's cores may all be busy at this rate: then less passes, which shows by message.

Growth: one view in Chromium takes an hour of frames in a row, as fast as it draws them: the stack's own last frame, each
time a second later. After every tenth, and a forced collection, the JavaScript heap, DOM nodes and listeners are counted.
The first 700 pushes are left out: a view keeps ten minutes of rows. Exit code 1 if five pages add more than 10 % CPU, or a
view grows by more than a tenth over the rest of the hour.
"""

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright
from websockets.sync.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from acknowledged_load import AcknowledgedLoad
from soak import family, stack

DEVICES = 50
WARM_SECONDS = 20.0
OPENING_SECONDS = 1.5
MOST_CPU = 0.10
MOST_GROWTH = 0.10
KEEP_MINUTES = 60.0
"""What the tables keep: longer than the measurement."""

KEPT_PUSHES = 700
"""A view keeps ten minutes of rows: what is measured before it has them is left out."""

VIEWS = (
    ["head", "now"],
    ["head", "incidents"],
    ["head", "devices"],
    ["head", "flow"],
    ["head", "scenarios"],
)

PLAY = """
async ([view, from, frames]) => {
  const feed = feeds.at(-1), told = (key) => JSON.parse(lastFrames[key]);
  const later = (value, by) => {
    if (Array.isArray(value)) return value.map((one) => later(one, by));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, later(one, by)]));
    if (typeof value !== "number") return value;
    return value > 1e12 ? value + by * 1000 : value > 1e9 ? value + by : value;
  };
  for (let n = from; n < from + frames; n += 1) {
    for (const key of Object.keys(lastFrames)) feed.take({ data: JSON.stringify(later(told(key), n)) });
    if (n % 5 === 0) await new Promise((drawn) => requestAnimationFrame(drawn));
  }
}
"""
"""Times are the only numbers beyond a thousand million: seconds or milliseconds since 1970."""

KEEP = """
window.feeds = []; window.lastFrames = {};
window.WebSocket = class extends WebSocket {
  constructor(...given) { super(...given); window.feeds.push(this); this.held = false; }
  set onmessage(take) {
    this.take = take;
    super.onmessage = (event) => { if (this.held) return; lastFrames[JSON.parse(event.data).key] = event.data; take(event); };
  }
};
"""


@contextlib.contextmanager
def pages(address: str, number: int) -> Iterator[list[int]]:
    """So many pages, which take what they are sent; and how many frames each has got."""
    taken = [0] * number
    sockets = [connect(address, max_size=None) for _ in range(number)]
    takers = [
        threading.Thread(target=_take, args=(socket, taken, place), daemon=True)
        for place, socket in enumerate(sockets)
    ]
    for place, (socket, taker) in enumerate(zip(sockets, takers, strict=True)):
        socket.send(json.dumps({"want": VIEWS[place % len(VIEWS)]}))
        taker.start()
    try:
        yield taken
    finally:
        for socket in sockets:
            socket.close()


def _take(socket: ClientConnection, taken: list[int], place: int) -> None:
    for _ in socket:
        taken[place] += 1


def _cpu_seconds(pid: int) -> float:
    ours, _ = family(pid)
    return sum(sum(one.cpu_times()[:2]) for one in ours)


def _round(pid: int, load: AcknowledgedLoad, seconds: float) -> dict[str, float]:
    time.sleep(OPENING_SECONDS)  # what a page asks when it is opened is not what it costs
    cpu, sent, began = _cpu_seconds(pid), load.sent, time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    used, messages = _cpu_seconds(pid) - cpu, load.sent - sent
    return {
        "cores": used / took,
        "sent_a_second": messages / took,
        "ms_a_message": 1000 * used / max(1, messages),
    }


def cost(given: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    fewest: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="thingstorm-page-") as name,
        stack(Path(name), KEEP_MINUTES) as (up, addresses),
    ):
        port = int(addresses["mqtt"].rpartition(":")[2])
        feed = addresses["page"].replace("http", "ws", 1) + "page/feed"
        with AcknowledgedLoad(port=port, devices=DEVICES, rate=given.rate) as load:
            time.sleep(WARM_SECONDS)
            for _ in range(given.rounds):
                found["without"].append(_round(up.pid, load, given.seconds))
                with pages(feed, given.pages) as taken:
                    found["with"].append(_round(up.pid, load, given.seconds))
                    fewest.append(min(taken) / (given.seconds + OPENING_SECONDS))
    medians = {
        which: {key: round(median(one[key] for one in rounds), 4) for key in rounds[0]}
        for which, rounds in found.items()
    }
    added = medians["with"]["cores"] - medians["without"]["cores"]
    return {
        **medians,
        "pages": given.pages,
        "frames_a_second": round(min(fewest), 2),
        "added_cores": round(added, 3),
        "added_share": round(added / medians["without"]["cores"], 3),
    }


def growth(pushes: int, tell: Any) -> dict[str, Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed; fix: apt-get install chromium")
    with (
        tempfile.TemporaryDirectory(prefix="thingstorm-page-") as name,
        stack(Path(name), KEEP_MINUTES) as (_, addresses),
        AcknowledgedLoad(port=int(addresses["mqtt"].rpartition(":")[2]), devices=DEVICES, rate=50),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--js-flags=--expose-gc"]
        )
        time.sleep(5)
        found = {}
        for view in ("now", "devices", "flow"):
            found[view] = _view(browser.new_page(bypass_csp=True), addresses["page"], view, pushes)
            tell(f"{view}: {json.dumps(found[view])}")
        browser.close()
    return found


def _view(page: Page, base: str, view: str, pushes: int) -> dict[str, Any]:
    page.add_init_script(KEEP)
    page.goto(f"{base}#/{view}")
    page.wait_for_function(f"lastFrames.head && lastFrames[{view!r}]")
    time.sleep(2)
    page.evaluate("feeds.at(-1).held = true")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    samples = []
    for tenth in range(10):
        page.evaluate(PLAY, [view, tenth * pushes // 10, pushes // 10])
        samples.append(_counted(session))
    page.close()
    later = [one for tenth, one in enumerate(samples, start=1) if tenth * pushes // 10 >= KEPT_PUSHES]
    return {
        "heap_mb": [one["heap_mb"] for one in samples],
        "nodes": [one["nodes"] for one in samples],
        "listeners": [one["listeners"] for one in samples],
        "grown": round(later[-1]["heap_mb"] / later[0]["heap_mb"] - 1, 3),
    }


def _counted(session: CDPSession) -> dict[str, Any]:
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")
    dom = session.send("Memory.getDOMCounters")
    return {
        "heap_mb": round(heap["usedSize"] / 2**20, 2),
        "nodes": dom["nodes"],
        "listeners": dom["jsEventListeners"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--pages", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--pushes", type=int, default=3600, help="seconds of pushes; at least 1,000")
    parser.add_argument("--skip", choices=("cpu", "growth"), default="")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result: dict[str, Any] = {}
    if given.skip != "cpu":
        result["cpu"] = cost(given)
        print(f"cpu: {json.dumps(result['cpu'])}", flush=True)
    if given.skip != "growth":
        result["growth"] = growth(given.pushes, lambda line: print(line, flush=True))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    too_dear = result.get("cpu", {}).get("added_share", 0.0) > MOST_CPU
    grew = any(one["grown"] > MOST_GROWTH for one in result.get("growth", {}).values())
    return int(too_dear or grew)


if __name__ == "__main__":
    raise SystemExit(main())
