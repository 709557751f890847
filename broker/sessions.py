"""All sessions of the gateway, connected or not: opened, resumed, kept, expired. No sockets, no clock."""

from collections.abc import Iterator

from contracts.messages import SECOND, Nanoseconds

from .limits import UNLIMITED, Limits, TokenBucket
from .packets import V3, Connect
from .policy import Permissions
from .session import Session
from .subscriptions import SubscriptionTree

MAX_VERSIONS = 100_000
"""Client ids whose connects are numbered (`versionNumber`); a flood of invented ids starts the count anew."""

FOR_EVER = 0xFFFF_FFFF
"""The session expiry of MQTT 5 that never comes; the limits end the session all the same."""


class Sessions:
    """Sessions by client id. Invariant: whoever is subscribed in the tree has a session here."""

    def __init__(self, *, limits: Limits, tree: SubscriptionTree, counters: dict[str, int]) -> None:
        self._limits = limits
        self._tree = tree
        self._counters = counters
        self._sessions: dict[str, Session] = {}
        self._away: dict[str, Session] = {}
        self._versions: dict[str, int] = {}

    def get(self, client_id: str) -> Session | None:
        return self._sessions.get(client_id)

    def open(
        self, client_id: str, packet: Connect, permissions: Permissions, now: Nanoseconds
    ) -> tuple[Session, bool]:
        """The session of a new connection, and whether it is the one that the client had before."""
        session = self._sessions.get(client_id)
        if session is not None and (packet.clean_start or self._is_over(session, now)):
            self.forget(session)
            session = None
        resumed = session is not None
        if session is None:
            session = Session(
                client_id, limits=self._limits, permissions=permissions, counters=self._counters
            )
        self._sessions[client_id] = session
        self._away.pop(client_id, None)
        session.permissions = permissions
        session.bucket = TokenBucket(self._limits.publishes_per_second, now)
        session.version = self._version(client_id)
        session.keep_alive = self._keep_alive(packet.keep_alive)
        session.expiry = self._expiry(packet)
        asked = packet.properties.get("receive_maximum", 65_535)
        session.in_flight_most = min(asked, self._limits.in_flight)
        session.maximum_packet = packet.properties.get("maximum_packet_size", 0)
        return session, resumed

    def leave(self, session: Session, now: Nanoseconds) -> None:
        """The connection is over: keep the session as long as was agreed. The oldest goes when they are too many."""
        session.link = None
        session.ended_at = now
        if not session.expiry:
            self.forget(session)
            return
        self._away[session.client_id] = session
        if len(self._away) > self._limits.sessions:
            self.forget(next(iter(self._away.values())))

    def forget(self, session: Session) -> None:
        """The session is over, with its subscriptions and what was on its way."""
        for subscription in session.subscriptions.values():
            self._tree.remove(subscription)
        session.subscriptions = {}
        session.in_flight.clear()
        session.waiting = None
        if self._sessions.get(session.client_id) is session:
            del self._sessions[session.client_id]
            self._away.pop(session.client_id, None)

    def expired(self, now: Nanoseconds) -> Iterator[Session]:
        """Forget the sessions whose time is over, and name them."""
        for session in list(self._away.values()):
            if self._is_over(session, now):
                self._counters["sessions_expired"] += 1
                self.forget(session)
                yield session

    def _is_over(self, session: Session, now: Nanoseconds) -> bool:
        if session.link is not None or session.expiry == UNLIMITED:
            return False
        return now >= session.ended_at + int(session.expiry * SECOND)

    def _version(self, client_id: str) -> int:
        if len(self._versions) >= MAX_VERSIONS:
            self._versions.clear()
        version = self._versions[client_id] = self._versions.get(client_id, -1) + 1
        return version

    def _expiry(self, packet: Connect) -> float:
        """Seconds: MQTT 5 says them, 3.1.1 asks for a persistent session or none."""
        most = self._limits.session_seconds
        if packet.level == V3:
            return 0.0 if packet.clean_start else most
        asked = packet.properties.get("session_expiry", 0)
        return most if asked == FOR_EVER else min(float(asked), most)

    def _keep_alive(self, asked: int) -> int:
        """AWS takes 0 and what is above the most as the most, and raises what is below the least."""
        least, most = self._limits.keep_alive_least, self._limits.keep_alive_most
        if asked == 0 and least == 0:
            return 0
        if not 0 < asked <= most:
            return most
        return max(asked, least)
