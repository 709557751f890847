"""The page in real Chromium, on one stack: empty, while a scenario is played from it, and after that.

The tests stand in the order in which they run: what one does the next one sees. With THINGSTORM_SCREENSHOTS=1 (as in
CI, and by `make screenshots`) the pictures of the views that the documents show are written to docs/img/.
"""

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT, Running, start_up
from paho.mqtt.enums import CallbackAPIVersion
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

HERE = Path(__file__).parent
IMAGES = ROOT / "docs" / "img"
SHOWN = {
    *(f"{name}-dark-1440" for name in ("now", "incident", "devices", "device", "ask", "scenarios", "flow")),
    *(f"{name}-light-1440" for name in ("now", "incident", "flow")),
    *(f"{name}-dark-375" for name in ("now", "incident", "flow")),
}
"""Pictures that are kept; the others are made too, and thrown away."""

VIEWS = ("now", "incidents", "devices", "ask", "scenarios", "flow")
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 375, "height": 812}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 30_000
"""Milliseconds for what comes in some tenths of a second on a machine with nothing else to do."""

CAP_SHARE, CAP, BOTS = 0.13, 3, 5
"""Of the 24 devices so many are shut out by themselves; for the other bots a person is asked."""

WATCHING = """
setInterval(() => { if (!window.alarmed && document.querySelector(".strip .count.alarm")) window.alarmed = Date.now(); }, 50);
window.feeds = [];
window.WebSocket = class extends WebSocket { constructor(...given) { super(...given); window.feeds.push(this); } };
"""
"""When the page first told of an open security incident, whichever view was looked at; and what a test needs to cut the feed."""

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
expect.set_options(timeout=PATIENCE)


class Watched:
    """A page with what must never happen on it: errors on the console, requests to other machines."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.wrong: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", self._request)
        page.set_default_timeout(PATIENCE)

    def _console(self, message: ConsoleMessage) -> None:
        # a refused statement is an answer with status 400, which Chromium logs by itself
        if message.type in ("error", "warning") and "status of 400" not in message.text:
            self.wrong.append(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.base, self.base.replace("http", "ws", 1), "data:", "blob:")):
            self.wrong.append(f"asked {request.url}")

    def show(self, place: str) -> Page:
        """Go to a view and wait until it shows what it asked for."""
        self.page.goto(f"{self.base}#/{place}")
        expect(self.page.locator("main .view, main .split").first).to_be_visible()
        expect(self.page.locator("main .wait")).to_have_count(0)
        return self.page


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    own = HERE / "page_scenarios"
    told = (f"api.scenarios={own}", f"model.max_quarantine_share={CAP_SHARE}")
    running = start_up(
        tmp_path_factory.mktemp("page"), "--no-simulator", *(part for one in told for part in ("--set", one))
    )
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    if found is None:
        told = "chromium is not installed; fix: apt-get install chromium"
        if os.environ.get("THINGSTORM_NO_SKIP"):
            pytest.fail(told)
        pytest.skip(told)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def desk(stack: Running, browser: Browser) -> Iterator[Watched]:
    """One page that stays open over all tests, as a security team's does."""
    context = browser.new_context(viewport=WIDE, color_scheme="dark")
    context.add_init_script(WATCHING)
    yield Watched(context.new_page(), stack.addresses["page"])
    context.close()


NARROW_RULES = ("scrollable-region-focusable", "target-size", "button-name", "link-name", "label")
"""What may be otherwise in a narrow window: some things are hidden there, others scroll."""


class Looks:
    """A second page that is looked at in both themes and widths: for people who cannot see well, and for pictures."""

    def __init__(self, watched: Watched, folder: Path) -> None:
        self.watched = watched
        self._folder = folder

    def at(self, name: str, place: str, *, whole: bool = False) -> None:
        """Check and draw a view. The theme is the system's first, then the page's own switch is used."""
        page = self.watched.show(place)
        assert self._theme() == "dark"
        found = self._violations({})
        self._draw(f"{name}-dark-1440", whole=whole)
        page.set_viewport_size(NARROW)
        found += self._violations({"runOnly": list(NARROW_RULES)})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append("wider than the window")
        self._draw(f"{name}-dark-375")
        page.set_viewport_size(WIDE)
        page.get_by_role("button", name="dark and light").click()
        assert self._theme() == "light"
        page.mouse.move(2, 2)
        found += self._violations({"runOnly": ["color-contrast"]})
        self._draw(f"{name}-light-1440", whole=whole)
        page.get_by_role("button", name="dark and light").click()
        assert found == []

    def _theme(self) -> Any:
        return self.watched.page.evaluate("document.documentElement.dataset.theme")

    def _violations(self, options: dict[str, Any]) -> list[str]:
        given = {"resultTypes": ["violations"], **options}
        return [
            f"{one['id']} {one['nodes'][0]['target']} {one['nodes'][0].get('failureSummary', '')}"
            for one in Axe().run(self.watched.page, options=given).response["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def _draw(self, name: str, *, whole: bool = False) -> None:
        path = self._folder / f"page-{name}.png"
        self.watched.page.screenshot(path=path, animations="disabled", full_page=whole)
        if name in SHOWN and os.environ.get("THINGSTORM_SCREENSHOTS"):
            shutil.copy(path, IMAGES)


@pytest.fixture(scope="module")
def looks(stack: Running, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looks]:
    context = browser.new_context(viewport=WIDE, color_scheme="dark", reduced_motion="reduce")
    yield Looks(Watched(context.new_page(), stack.addresses["page"]), tmp_path_factory.mktemp("pictures"))
    context.close()


@pytest.fixture(autouse=True)
def nothing_wrong(desk: Watched, looks: Looks) -> Iterator[None]:
    yield
    wrong = desk.wrong + looks.watched.wrong
    desk.wrong, looks.watched.wrong = [], []
    assert wrong == []


def ask(stack: Running, sql: str) -> list[dict[str, Any]]:
    body = json.dumps({"sql": sql}).encode()
    request = urllib.request.Request(
        f"{stack.addresses['api']}/query", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        told = json.loads(answer.read())
    return [dict(zip(told["columns"], row, strict=True)) for row in told["rows"]]


def editor_of(page: Page) -> Locator:
    """The editor's own field, once it has taken the place of the plain one."""
    expect(page.locator(".CodeMirror")).to_be_visible()
    return page.locator(".CodeMirror textarea")


def test_an_empty_stack_says_so_in_every_view(desk: Watched) -> None:
    expect(desk.show("now").locator(".strip")).to_contain_text("Learning")
    expect(desk.page.locator("main")).to_contain_text("No traffic yet")
    expect(desk.show("incidents").locator("main")).to_contain_text("No incident so far")
    expect(desk.show("devices").locator("main")).to_contain_text("No device yet")
    expect(desk.show("ask").locator("main")).to_contain_text("Nothing asked yet")
    expect(desk.show("scenarios").locator("main")).to_contain_text("No scenario chosen")
    expect(desk.show("flow").locator("main")).to_contain_text("None in the last 30 seconds")


def test_a_scenario_is_chosen_changed_and_played(desk: Watched) -> None:
    page = desk.show("scenarios")
    page.get_by_role("searchbox").fill("join a botnet")
    page.get_by_role("link", name="short").click()
    expect(page.locator(".file")).to_contain_text("16 meter, 8 pump")
    page.get_by_label("bots").fill("no number")
    page.get_by_role("button", name="Play it on this stack").click()
    expect(page.locator(".file .problem")).to_contain_text("count")
    page.get_by_label("bots").fill(str(BOTS))
    page.get_by_role("button", name="Play it on this stack").click()
    expect(page.locator(".play .state")).to_have_text("playing")
    expect(page.get_by_role("button", name="Another one is being played")).to_be_disabled()
    expect(page.locator(".strip")).to_contain_text("playing short")


def test_now_shows_what_the_fleet_sends(desk: Watched, stack: Running) -> None:
    page = desk.show("now")
    expect(page.locator(".legend").first).to_contain_text("dt/meter/+/telemetry")
    expect(page.locator(".tile").nth(1)).to_contain_text("of 2")
    shown = page.locator(".live.on")
    before = shown.inner_text()
    expect(shown).not_to_have_text(before, timeout=5_000)
    assert page.locator("canvas").count() == 5


def test_an_sql_error_is_shown_in_place_and_a_right_statement_answers(desk: Watched) -> None:
    page = desk.show("ask")
    editor = editor_of(page)
    editor.press("Control+a")
    editor.type("SELECT nothing FROM telemetry")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".editor .problem")).to_contain_text("nothing")
    editor.press("Control+a")
    editor.type("SELECT device_id, count(*) AS n FROM telemetry GROUP BY 1")
    editor.press("Control+Enter")
    expect(page.locator(".answer")).to_contain_text("rows")
    expect(page.locator(".editor .problem")).to_have_count(0)
    expect(page.locator(".answer tbody tr").first).to_contain_text("-00")
    page.get_by_role("button", name="Chart").click()
    expect(page.locator(".answer meter").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert download.value.path().read_bytes().startswith(b"device_id,n\r\n")


def test_the_editor_completes_collections_and_named_queries_take_values(desk: Watched) -> None:
    page = desk.show("ask")
    editor = editor_of(page)
    editor.press("Control+a")
    editor.type("SELECT * FROM devi", delay=20)
    expect(page.locator(".CodeMirror-hints")).to_contain_text("device_metrics")
    editor.press("Escape")
    page.get_by_role("button", name="top talkers").click()
    page.get_by_label("$top").fill("3")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".answer h2")).to_contain_text("3 rows")


def test_quarantine_from_the_page_disconnects_a_real_client(desk: Watched, stack: Running) -> None:
    host, port = stack.addresses["mqtt"].split(":")
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="visitor-0001", clean_session=True)
    gone: list[float] = []
    refused: list[Any] = []
    client.on_disconnect = lambda *_: gone.append(time.monotonic())
    client.on_connect = lambda _client, _data, _flags, code, _more: refused.append(code)
    client.reconnect_delay_set(1, 1)
    client.connect(host, int(port))
    client.loop_start()
    client.publish("dt/visitor/visitor-0001/telemetry", "{}", qos=1).wait_for_publish(5)
    page = desk.show("devices?search=visitor")
    page.get_by_role("link", name="visitor-0001").click()
    page.get_by_role("button", name="Quarantine …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Quarantine visitor-0001?")
    dialog.get_by_role("button", name="Quarantine").click()
    expect(dialog).to_be_visible()  # a reason is asked for
    dialog.get_by_label("Why").fill("a test of the page")
    dialog.get_by_label("Your name").fill("ana")
    assert gone == []
    dialog.get_by_role("button", name="Quarantine").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(".detail h2 .state")).to_have_text("in quarantine")
    assert gone
    expect(page.locator(".detail")).to_contain_text("Quarantined by ana: a test of the page")
    (row,) = ask(stack, "SELECT who, why, outcome FROM actions WHERE target = 'visitor-0001'")
    assert row == {"who": "ana", "why": "a test of the page", "outcome": "done"}
    page.get_by_role("button", name="Release …").click()
    dialog.get_by_label("Why").fill("seen enough")
    dialog.get_by_role("button", name="Release").click()
    expect(page.locator(".detail h2 .state")).not_to_have_text("in quarantine")
    client.loop_stop()
    client.disconnect()


def test_everything_is_reached_by_keyboard_alone(desk: Watched) -> None:
    page = desk.show("now")
    page.reload()
    expect(page.locator("main .view")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the view")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Tab")
    for name in VIEWS[:2]:
        expect(page.locator(":focus")).to_have_attribute("href", f"#/{name}")
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Devices")
    page.get_by_role("link", name="pump-0001").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Quarantine …").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("dialog input:focus")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Quarantine …")).to_be_focused()
    page = desk.show("ask")
    editor_of(page).focus()
    page.keyboard.press("Tab")  # the editor is no trap
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_focused()


def test_the_incident_turns_up_within_five_seconds_of_its_verdict(
    desk: Watched, stack: Running, looks: Looks
) -> None:
    page = desk.show("incidents?kind=attack")
    expect(page.locator(".incidents .kind.attack")).to_have_count(1, timeout=40_000)
    rows = ask(stack, "SELECT epoch_ms(min(decided_at)) AS ms FROM verdicts WHERE kind = 'attack'")
    # the list is asked for by itself; the strip is told by the feed, and may follow it
    alarmed = page.wait_for_function("window.alarmed").json_value()
    took = (alarmed - rows[0]["ms"]) / 1000
    assert 0 <= took < 5, f"{took:.1f} s"
    expect(page.locator(".strip")).to_contain_text("Attack")
    page.locator(".incidents a", has=page.locator(".kind.attack")).click()
    detail = page.locator(".detail")
    expect(detail).to_contain_text("in quarantine")
    expect(detail.locator(".evidence tbody tr").first).to_contain_text("security")
    expect(detail.locator(".times")).to_contain_text("quarantined")
    expect(detail.locator(".chart .legend")).to_contain_text("accused devices")
    looks.at("now", "now", whole=True)
    looks.at("incident", page.evaluate("location.hash.slice(2)"), whole=True)


def test_whom_the_cap_held_back_a_person_decides_about(desk: Watched, stack: Running) -> None:
    page = desk.show("incidents")
    waiting, dialog = page.locator(".held li"), page.get_by_role("dialog")
    expect(waiting).to_have_count(BOTS - CAP)
    expect(page.locator(".held")).to_contain_text(f"{CAP} is the limit for this fleet")
    expect(page.locator(".strip")).to_contain_text(f"{BOTS - CAP} to decide")
    shut_out, left_alone = waiting.locator("a").all_inner_texts()
    for device, button, why in (
        (shut_out, "Quarantine", "it is one of them"),
        (left_alone, "Leave alone", "it keeps a pump running"),
    ):
        waiting.filter(has_text=device).get_by_role("button", name=button).click()
        expect(dialog).to_contain_text(f"{CAP} is the limit")
        dialog.get_by_label("Why").fill(why)
        dialog.get_by_label("Your name").fill("ana")
        dialog.get_by_role("button", name=button).click()
        expect(waiting.filter(has_text=device)).to_have_count(0)
    expect(page.locator(".strip")).not_to_contain_text("to decide")
    decided = "SELECT target, outcome FROM actions WHERE who = 'ana' AND action = 'quarantine' AND incident_id <> ''"
    deadline = time.monotonic() + 10  # the page knows of it before the view has it
    while len(found := ask(stack, decided)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {row["target"]: row["outcome"] for row in found} == {shut_out: "done", left_alone: "dismissed"}
    expect(desk.show(f"devices/{shut_out}").locator(".detail h2 .state")).to_have_text("in quarantine")
    expect(desk.show(f"devices/{left_alone}").locator(".detail h2 .state")).not_to_have_text("in quarantine")


def test_a_message_is_followed_from_the_device_to_the_view(desk: Watched, looks: Looks) -> None:
    page = desk.show("flow")
    expect(page.locator(".flow .rate").first).to_contain_text("/s")
    expect(page.locator(".flow .took").nth(3)).to_be_visible()  # the path from hop to hop was measured
    page.locator(".recent a").last.click()
    expect(page.locator(".steps li").first).to_be_visible()
    for hop in ("The gateway accepted it", "A rule selected it", "A query can see it"):
        expect(page.locator(".steps")).to_contain_text(hop)
    looks.at("flow", page.evaluate("location.hash.slice(2)"), whole=True)


def test_the_other_views_are_accessible_and_fit(looks: Looks, stack: Running) -> None:
    (row,) = ask(stack, "SELECT devices[1] AS device FROM incidents WHERE kind = 'attack'")
    looks.at("device", f"devices/{row['device']}")
    looks.at("scenarios", "scenarios/own/short")
    looks.at("devices", "devices")
    page = looks.watched.show("ask")
    page.get_by_role("button", name="top talkers").click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".answer tbody tr").first).to_be_visible()
    looks.at("ask", "ask")


def test_expectations_turn_green(desk: Watched) -> None:
    page = desk.show("scenarios")
    expect(page.locator(".play .state")).to_have_text("passed", timeout=40_000)
    expects = page.locator(".play .expects li")
    assert expects.count() == 5
    assert page.locator(".play .expects .passed").count() == 5


def test_what_it_was_is_said_on_the_page_and_taught(desk: Watched, stack: Running) -> None:
    (row,) = ask(stack, "SELECT incident_id FROM incidents WHERE kind = 'attack'")
    page = desk.show(f"incidents/{row['incident_id']}")
    page.get_by_role("button", name="False positive").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("it was a drill")
    dialog.get_by_role("button", name="Record false positive").click()
    expect(page.locator(".resolved")).to_contain_text("False positive, said ana")
    expect(page.locator(".detail")).to_contain_text("0 in quarantine")
    (row,) = ask(stack, "SELECT who, resolution FROM feedback")
    assert row == {"who": "ana", "resolution": "false_positive"}


@pytest.mark.parametrize("told", ["no JSON", '{"want": 3}', '{"want": [3]}', b"bytes"])
def test_who_speaks_another_language_is_sent_away_with_the_reason(stack: Running, told: str | bytes) -> None:
    with connect(stack.addresses["page"].replace("http", "ws", 1) + "page/feed") as feed:
        feed.send(told)
        with pytest.raises(ConnectionClosed) as closed:
            feed.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "this is no list of topics")


def test_a_lost_feed_is_told_and_comes_back_by_itself(desk: Watched) -> None:
    page = desk.show("now")
    expect(page.locator(".live.on")).to_be_visible()
    page.context.set_offline(True)
    page.evaluate("feeds.at(-1).close()")
    expect(page.locator(".live.off")).to_have_text("not connected")
    page.context.set_offline(False)
    expect(page.locator(".live.on")).to_be_visible()
    # Chromium logs each try that fails by itself
    desk.wrong = [told for told in desk.wrong if "WebSocket connection" not in told]
