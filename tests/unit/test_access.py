import base64
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI, WebSocket
from starlette.types import ASGIApp

from contracts.acting import ACTING
from contracts.errors import ConfigError
from thingstorm.runtime import access
from thingstorm.runtime.access import Access, AccessRules
from thingstorm.runtime.users import add_user, read_users

HERE, ELSEWHERE = "http://127.0.0.1:8080", "http://desk.example:8080"


class Client:
    """A program or browser at an address: HTTP through httpx, a websocket's opening by hand."""

    def __init__(self, portal: BlockingPortal, app: ASGIApp, base: str, address: str) -> None:
        self._portal = portal
        self._app = app
        self._base = base
        transport = httpx.ASGITransport(app, client=(address, 50_000))
        self._http = httpx.AsyncClient(transport=transport, base_url=base)
        self.cookies = self._http.cookies

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._portal.call(lambda: self._http.request(method, path, **more))

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)

    def opens(self, origin: str = "") -> bool:
        """Whether the websocket is accepted."""
        headers = {"host": urlsplit(self._base).netloc, **({"origin": origin} if origin else {})}
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "websocket",
            "path": "/feed",
            "query_string": b"",
            "headers": raw,
            "client": ("192.0.2.7", 5),
        }
        sent: list[str] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        self._portal.call(self._app, scope, receive, send)
        return sent[0] == "websocket.accept"


Make = Callable[..., Client]


@pytest.fixture(scope="module")
def client() -> Iterator[Make]:
    with start_blocking_portal() as portal:
        yield partial(_client, portal)


def _client(
    portal: BlockingPortal, rules: AccessRules, base: str = HERE, address: str = "192.0.2.7"
) -> Client:
    app = FastAPI()

    @app.get("/healthz")
    @app.get("/thing")
    async def thing() -> dict[str, str]:
        return {"who": ACTING.get()}

    @app.get("/")
    async def index() -> str:
        return "the page"

    @app.post("/thing")
    async def act() -> dict[str, str]:
        return {"who": ACTING.get()}

    @app.websocket("/feed")
    async def feed(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    return Client(portal, Access(rules).guard(app), base, address)


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.txt"
    add_user(path, "ana", "correct horse")
    return path


@pytest.fixture
def ana(client: Make, users: Path) -> Client:
    """A browser in which ana has logged in, from elsewhere."""
    browser = client(AccessRules("192.0.2.1", users=read_users(users)), ELSEWHERE)
    answer = browser.post("/page/login", data={"user": "ana", "password": "correct horse"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return browser


def test_on_loopback_nobody_logs_in(client: Make) -> None:
    here = client(AccessRules("127.0.0.1"))
    assert here.get("/thing").status_code == 200
    assert here.post("/thing").status_code == 200
    assert here.get("/page/who").json() == {"user": "", "csrf": "", "login": False}


def test_every_answer_has_the_security_headers(client: Make) -> None:
    for answer in (
        client(AccessRules("127.0.0.1")).get("/thing"),
        client(AccessRules("192.0.2.1", "secret")).get("/thing"),
        client(AccessRules("127.0.0.1")).get("/nothing"),
    ):
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_a_name_that_points_at_loopback_is_refused(client: Make, host: str) -> None:
    assert client(AccessRules("127.0.0.1")).get("/thing", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://127.0.0.1:8080.evil.example"]
)
def test_a_page_of_another_origin_cannot_act(client: Make, origin: str) -> None:
    here = client(AccessRules("127.0.0.1"))
    assert here.post("/thing", headers={"Origin": origin}).status_code == 403
    assert not here.opens(origin)


def test_a_page_of_another_site_cannot_act_even_without_an_origin(client: Make) -> None:
    here = client(AccessRules("127.0.0.1"))
    assert here.post("/thing", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_the_own_page_and_those_named_may_act(client: Make) -> None:
    here = client(AccessRules("127.0.0.1", origins=("https://desk.example",)))
    for origin in (HERE, "https://desk.example"):
        assert here.post("/thing", headers={"Origin": origin}).status_code == 200
        assert here.opens(origin)


def test_elsewhere_without_anybody_who_may_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="open to everybody") as caught:
        Access(AccessRules("0.0.0.0"))
    assert "api.token" in caught.value.fix


@pytest.mark.parametrize("path", ["/", "/thing", "/page/who", "/page/files/app.js", "/nothing", "/healthz"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_elsewhere_nothing_is_answered_without_a_login(client: Make, path: str, method: str) -> None:
    away = client(AccessRules("0.0.0.0", "secret"), ELSEWHERE)
    answer = away.request(method, path)
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["www-authenticate"]


def test_elsewhere_not_even_this_machine_is_asked_no_token(client: Make) -> None:
    assert client(AccessRules("0.0.0.0", "secret"), address="127.0.0.1").get("/healthz").status_code == 401


def test_elsewhere_no_websocket_opens_without_a_login(client: Make) -> None:
    away = client(AccessRules("0.0.0.0", "secret"), ELSEWHERE)
    assert not away.opens()


def test_a_program_sends_the_token(client: Make) -> None:
    for rules in (AccessRules("0.0.0.0", "secret"), AccessRules("0.0.0.0", platform="secret")):
        away = client(rules, ELSEWHERE)
        assert away.post("/thing", headers={"Authorization": "Bearer secret"}).status_code == 200
        assert away.post("/thing", headers={"Authorization": "Bearer secre"}).status_code == 401


def test_a_program_sends_a_name_and_password_which_is_who_acts(client: Make, users: Path) -> None:
    away = client(AccessRules("0.0.0.0", users=read_users(users)), ELSEWHERE)
    right, wrong = httpx.BasicAuth("ana", "correct horse"), httpx.BasicAuth("ana", "wrong")
    assert away.get("/thing", auth=right).json() == {"who": "ana"}
    assert away.get("/thing", auth=wrong).status_code == 401
    garbage = {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()}
    assert away.get("/thing", headers=garbage).status_code == 401


def test_a_browser_is_asked_for_the_token(client: Make) -> None:
    away = client(AccessRules("0.0.0.0", "secret"), ELSEWHERE)
    asked = away.get("/", headers={"Accept": "text/html"})
    assert asked.status_code == 401
    assert "<form" in asked.text
    assert "sha256-" in asked.headers["content-security-policy"]
    wrong = away.post("/page/login", data={"password": "guess"})
    assert wrong.status_code == 401
    assert "not right" in wrong.text
    right = away.post("/page/login", data={"password": "secret"})
    assert right.status_code == 303
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert away.get("/thing").status_code == 200


def test_a_session_acts_only_with_its_csrf_token(ana: Client) -> None:
    who = ana.get("/page/who").json()
    assert (who["user"], who["login"]) == ("ana", True)
    assert ana.post("/thing").status_code == 403
    assert ana.post("/thing", headers={"X-CSRF-Token": "other"}).status_code == 403
    assert ana.post("/thing", headers={"X-CSRF-Token": who["csrf"]}).json() == {"who": "ana"}


def test_a_session_opens_the_feed_of_its_own_origin_only(ana: Client) -> None:
    assert ana.opens(ELSEWHERE)
    assert not ana.opens("http://evil.example")


def test_a_session_ends_by_logout_and_by_time(ana: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = ana.cookies[access.COOKIE]
    assert ana.post("/page/logout").status_code == 200
    assert ana.get("/thing", headers={"Cookie": f"{access.COOKIE}={cookie}"}).status_code == 401
    ana.post("/page/login", data={"user": "ana", "password": "correct horse"})
    assert ana.get("/thing").status_code == 200
    now = access.time.time()
    monkeypatch.setattr(access.time, "time", lambda: now + access.SESSION_SECONDS + 1)
    assert ana.get("/thing").status_code == 401


def test_guesses_are_slowed_down_for_one_address_and_not_for_others(client: Make, users: Path) -> None:
    rules = AccessRules("0.0.0.0", "secret")
    away = client(rules, ELSEWHERE)
    answers = [away.post("/page/login", data={"password": str(n)}).status_code for n in range(12)]
    assert answers[: int(access.LOGIN_BURST)] == [401] * int(access.LOGIN_BURST)
    assert answers[-1] == 429
    assert away.get("/thing", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_requests_of_one_address_have_a_rate(client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "RATE", 0.001)
    monkeypatch.setattr(access, "BURST", 20.0)
    away = client(AccessRules("0.0.0.0", "secret"), ELSEWHERE)
    answers = {away.get("/thing").status_code for _ in range(int(access.BURST) + 30)}
    assert answers == {401, 429}


def test_a_budget_forgets_addresses_and_refills(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(access.time, "monotonic", lambda: now[0])
    budget = access._Budget(1.0, 2.0)
    assert [budget.take("a"), budget.take("a")] == [0.0, 0.0]
    assert budget.take("a") > 0
    now[0] += 1.0
    assert budget.take("a") == 0.0
    for number in range(access.MAX_ADDRESSES + 5):
        budget.take(str(number))
    assert len(budget._left) == access.MAX_ADDRESSES


def test_user_files_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_users(path)
    path.write_text("# nobody\n")
    with pytest.raises(ConfigError, match="names nobody"):
        read_users(path)
    path.write_text("ana:plain\n")
    with pytest.raises(ConfigError, match=r"users\.txt:1 is no"):
        read_users(path)
    with pytest.raises(ConfigError, match="too short"):
        add_user(path, "ana", "short")
    with pytest.raises(ConfigError, match="no user name"):
        add_user(path, "a:b", "long enough 1")


def test_a_new_password_replaces_the_old_one(client: Make, tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    add_user(path, "ana", "the first one")
    add_user(path, "ben", "somebody else")
    add_user(path, "ana", "the second one")
    assert path.stat().st_mode & 0o077 == 0
    rules = AccessRules("0.0.0.0", users=read_users(path))
    away = client(rules, ELSEWHERE)
    assert away.get("/thing", auth=("ana", "the second one")).status_code == 200
    assert away.get("/thing", auth=("ben", "somebody else")).status_code == 200
    assert away.get("/thing", auth=("ana", "the first one")).status_code == 401
