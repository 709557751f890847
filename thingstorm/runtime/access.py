"""Who may use the HTTP port, page and API alike: an ASGI layer before everything that it answers.

On loopback nobody logs in, and only this machine's own pages may act: the Host header must name the machine (no DNS
name that somebody points at 127.0.0.1), and a request that comes from a page of another origin is refused. Elsewhere
everything but the login needs a token, or a name and password of the user file. A browser gets a session cookie for
that; what it does with it needs the session's own CSRF token as well.
"""

import base64
import binascii
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from analytics.reachable import is_loopback
from contracts.acting import ACTING
from contracts.errors import ConfigError
from thingstorm.config import Config
from thingstorm.runtime.users import NOBODY, fits, read_users

LOGIN: Final = "/page/login"
LOGOUT: Final = "/page/logout"
WHO: Final = "/page/who"
COOKIE: Final = "thingstorm_session"

SESSION_SECONDS = 12 * 3600
"""A shift and some more."""
MAX_SESSIONS = 1_000

RATE, BURST = 50.0, 300.0
"""Requests a second of one address, and at once: a page opens with some 20."""
LOGIN_RATE, LOGIN_BURST = 1 / 6, 8.0
"""Tries of one address: eight at once, then ten a minute."""
MAX_ADDRESSES = 10_000
MAX_FORM = 4_000
KNOWN_SECONDS = 300
"""A name and password that fitted are not hashed again so soon: an API client sends them with each request."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_NEEDS_A_CDN = frozenset({"/docs", "/redoc"})
"""FastAPI's own documentation pages load their scripts from elsewhere."""

_STYLE = (
    "body{margin:0;background:#0c1118;color:#e7edf4;font:15px system-ui,sans-serif}"
    "main{max-width:340px;margin:14vh auto;padding:0 16px}h1{font-size:20px}p{color:#9dabba}"
    "form{display:grid;gap:12px}label{display:grid;gap:4px;color:#9dabba;font-size:13px}"
    "input,button{font:inherit;padding:9px 11px;border-radius:8px;border:1px solid #2a3542;background:#1b2430;color:#e7edf4}"
    "button{background:#6cb6ff;color:#06213d;font-weight:600;border:0}.no{color:#ff8078}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


@dataclass(frozen=True, slots=True)
class AccessRules:
    """`host` is the address where others reach the port.

    With a token or users everybody logs in, on loopback too. `platform` is a token that the stages know each other by.
    """

    host: str
    token: str = ""
    platform: str = ""
    users: Mapping[str, str] | None = None
    origins: tuple[str, ...] = ()

    @property
    def local(self) -> bool:
        return is_loopback(self.host)

    @property
    def closed(self) -> bool:
        """Whether one must log in."""
        return bool(self.token or self.users) or not self.local

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(token for token in (self.token, self.platform) if token)

    def check(self) -> None:
        """Raises ConfigError: everybody on the network could act."""
        if not self.local and not (self.tokens or self.users):
            raise ConfigError(
                f"the API would be open to everybody who reaches {self.host}",
                fix="set api.token or api.users (thingstorm users add), or bind 127.0.0.1",
            )


def access_of(config: Config, *, host: str, platform: str = "") -> "Access":
    """The layer for a port that is bound to `host`. Raises ConfigError."""
    api = config.api
    users = read_users(api.users) if api.users is not None else None
    return Access(AccessRules(api.published or host, api.token, platform, users, api.origins))


@dataclass(frozen=True, slots=True)
class Session:
    """One logged-in browser."""

    user: str
    csrf: str
    until: float


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks: by name ("" if by token or on loopback), and by which session if by one."""

    user: str = ""
    session: Session | None = None


class _Budget:
    """A token bucket for each address; the least recent are forgotten."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> float:
        """0 if it may go on, else the seconds to wait."""
        now = time.monotonic()
        left, then = self._left.pop(address, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        self._left[address] = (left - 1 if left >= 1 else left, now)
        while len(self._left) > MAX_ADDRESSES:
            self._left.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self._rate


class Access:
    """The layer. `guard` it around an application."""

    def __init__(self, rules: AccessRules) -> None:
        """Raises ConfigError where everybody on the network could act."""
        rules.check()
        self._rules = rules
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._requests = _Budget(RATE, BURST)
        self._logins = _Budget(LOGIN_RATE, LOGIN_BURST)
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._hashing = CapacityLimiter(1)

    def guard(self, app: ASGIApp) -> ASGIApp:
        """The application behind these rules."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] not in ("http", "websocket"):
                return await app(scope, receive, send)
            headers = Headers(scope=scope)
            send = _with_headers(scope, send)
            if scope["type"] == "http" and scope["path"] in (LOGIN, LOGOUT, WHO):
                refused = self._refused(scope, headers)
                answer = refused or await self._own(scope, Request(scope, receive), headers)
                return await answer(scope, receive, send)
            caller, refused = self._by_token(headers), None
            if caller is None:
                refused, caller = await self._admit(scope, headers)
            if refused is not None:
                return await _refuse(refused, scope, receive, send)
            acting = ACTING.set(caller.user)
            try:
                await app(scope, receive, send)
            finally:
                ACTING.reset(acting)

        return guarded

    async def _admit(self, scope: Scope, headers: Headers) -> tuple[Response | None, _Caller]:
        refused = self._refused(scope, headers)
        if refused is not None or not self._rules.closed:
            return refused, _Caller()
        if wait := self._requests.take(_address(scope)):
            return _too_many(wait), _Caller()
        caller = self._by_session(headers) or await self._by_header(scope, headers)
        if caller is None:
            return self._unknown(scope, headers), _Caller()
        if caller.session is not None and not _safe(scope):
            given = headers.get("x-csrf-token", "")
            if not secrets.compare_digest(given.encode(), caller.session.csrf.encode()):
                return _told(403, "the request lacks the session's CSRF token", "load the page again"), caller
        return None, caller

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        """What no login allows: another site's page, or a name that only looks like this machine."""
        host = headers.get("host", "")
        if not self._rules.closed and not _names_us(host, self._rules.host):
            return _told(
                403,
                f"'{host}' is not a name of this machine",
                "open it as http://127.0.0.1, or set api.token",
            )
        acts = scope["type"] == "websocket" or not _safe(scope)
        origin = headers.get("origin", "")
        if acts and origin and not self._ours(origin, host):
            return _told(403, f"a page of {origin} may not do this", "add it to api.origins if it is yours")
        if (
            acts
            and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
            and not origin
        ):
            return _told(403, "a page of another site may not do this", "use this machine's own page")
        return None

    def _ours(self, origin: str, host: str) -> bool:
        return origin in self._rules.origins or (urlsplit(origin).netloc == host and bool(host))

    def _by_session(self, headers: Headers) -> _Caller | None:
        key = _cookie(headers)
        session = self._sessions.get(key)
        if session is None or session.until < time.time():
            self._sessions.pop(key, None)
            return None
        return _Caller(session.user, session)

    async def _by_header(self, scope: Scope, headers: Headers) -> _Caller | None:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            name, _, password = _decoded(value).partition(":")
            if self._fits_token(password):
                return _Caller()
            if self._rules.users and await self._knows(name, password, _address(scope)):
                return _Caller(name)
        return None

    def _by_token(self, headers: Headers) -> _Caller | None:
        """A program that knows the token: no browser sends it by itself, so no page of another site can."""
        kind, _, value = headers.get("authorization", "").partition(" ")
        return _Caller() if kind.lower() == "bearer" and self._fits_token(value) else None

    def _fits_token(self, given: str) -> bool:
        return any(secrets.compare_digest(given.encode(), token.encode()) for token in self._rules.tokens)

    async def _knows(self, name: str, password: str, address: str) -> bool:
        """Whether the user file has them; each try but a repeated right one costs the address a login."""
        users = self._rules.users or {}
        key = hashlib.sha256(f"{name}\0{password}".encode()).digest()
        known = self._known.get(key)
        if known is not None and known[1] > time.time():
            return True
        if self._logins.take(address):
            return False
        kept = users.get(name, NOBODY)
        right = await to_thread.run_sync(lambda: fits(password, kept), limiter=self._hashing)
        if right and name in users:
            self._known[key] = (name, time.time() + KNOWN_SECONDS)
            while len(self._known) > MAX_SESSIONS:
                self._known.popitem(last=False)
            return True
        return False

    def _unknown(self, scope: Scope, headers: Headers) -> Response:
        if scope["type"] == "http" and scope["path"] == "/" and "text/html" in headers.get("accept", ""):
            return self._form(401)
        kinds = 'Bearer realm="thingstorm"'
        if (
            headers.get("sec-fetch-mode", "navigate") == "navigate"
        ):  # else the browser would ask in our page's place
            kinds += ', Basic realm="thingstorm: the token is the password"'
        answer = _told(
            401,
            "the token is missing or wrong",
            "send `Authorization: Bearer TOKEN` with the api.token, or log in at /",
        )
        answer.headers["WWW-Authenticate"] = kinds
        return answer

    async def _own(self, scope: Scope, request: Request, headers: Headers) -> Response:
        """Login, logout, and who is logged in."""
        path = scope["path"]
        if path == LOGIN and request.method == "POST":
            return await self._login(request)
        if path == LOGIN:
            return self._form(200 if self._rules.closed else 404)
        caller = self._by_session(headers)
        if path == LOGOUT and request.method == "POST":
            self._sessions.pop(_cookie(headers), None)
            answer: Response = JSONResponse({"outcome": "done"})
            answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
            return answer
        if caller is None and self._rules.closed:
            return self._unknown(scope, headers)
        session = caller.session if caller else None
        return JSONResponse(
            {
                "user": session.user if session else "",
                "csrf": session.csrf if session else "",
                "login": self._rules.closed,
            }
        )

    async def _login(self, request: Request) -> Response:
        if not self._rules.closed:
            return RedirectResponse("/", 303)
        if wait := self._logins.take(_address(request.scope)):
            return _too_many(wait)
        given = await _form_of(request)
        user, password = given.get("user", ""), given.get("password", "")
        by_token = not user and self._fits_token(password)
        if not by_token and not (user and await self._knows(user, password, _address(request.scope))):
            return self._form(401, wrong=True)
        key = secrets.token_urlsafe(32)
        self._sessions[key] = Session(user, secrets.token_urlsafe(32), time.time() + SESSION_SECONDS)
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, key, max_age=SESSION_SECONDS, path="/", httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    def _form(self, status: int, *, wrong: bool = False) -> Response:
        name = (
            '<label>Name<input name="user" autocomplete="username" autofocus></label>'
            if self._rules.users
            else ""
        )
        what = (
            "Password or token"
            if self._rules.users and self._rules.tokens
            else "Password"
            if self._rules.users
            else "Token"
        )
        told = (
            '<p class="no" role="alert">That is not right.</p>'
            if wrong
            else "<p>This stack asks who you are.</p>"
        )
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>Log in to thingstorm</title><style>{_STYLE}</style><main><h1>thingstorm</h1>{told}"
            f'<form method="post" action="{LOGIN}">{name}<label>{escape(what)}<input name="password" type="password" '
            'autocomplete="current-password" required></label><button>Log in</button></form></main></html>'
        )
        policy = HEADERS["Content-Security-Policy"].replace(
            "style-src 'self'", f"style-src 'sha256-{_STYLE_HASH}'"
        )
        return HTMLResponse(page, status, {"Content-Security-Policy": policy, "Cache-Control": "no-store"})


def _names_us(host: str, bound: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    return name in _LOCAL_NAMES or name == bound or is_loopback(name)


def _safe(scope: Scope) -> bool:
    return scope["type"] == "websocket" or scope.get("method", "GET") in _SAFE


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


async def _form_of(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _told(status: int, what: str, fix: str) -> Response:
    return JSONResponse({"error": what, "fix": fix}, status)


def _too_many(wait: float) -> Response:
    answer = _told(429, "too many requests from this address", f"wait {wait:.0f} s")
    answer.headers["Retry-After"] = str(max(1, round(wait)))
    return answer


async def _refuse(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        return await answer(scope, receive, send)
    await receive()  # the connect
    if "websocket.http.response" in scope.get("extensions", {}):
        return await answer(scope, receive, send)
    # a server that can only close before it accepted answers 403
    await send({"type": "websocket.close", "code": 1008})
    return None


def _with_headers(scope: Scope, send: Send) -> Send:
    """Security headers on every answer, where it does not bring its own."""
    if scope["type"] != "http":
        return send
    loose = scope["path"] in _NEEDS_A_CDN
    wanted: Iterable[tuple[str, str]] = [
        pair
        for pair in HEADERS.items()
        if not (loose and pair[0].startswith(("Content-Security", "Cross-Origin")))
    ]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in wanted:
                headers.setdefault(name, value)
        await send(message)

    return sending
