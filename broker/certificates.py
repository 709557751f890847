"""Mutual TLS with the registry behind it: who a certificate is, and what changes while it is connected.

A certificate is trusted because it is registered, whoever signed it: the registered ones are the trust anchors.
New ones are asked for before a handshake, changes while connections live, both at most so often.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from contracts.errors import BackendError, ConfigError
from contracts.identity import Credentials, Principal, Registry
from contracts.messages import Json

from .identity import Identity, identity_of
from .pki import server_context, server_identity
from .policy import Policy

FRESH_SECONDS = 0.5
"""How old the list of trust anchors may be at a handshake, and a principal at a CONNECT."""

WATCH_SECONDS = 2.0
REFRESHED = 50
"""Principals with a connection whose policies are read again at each look: 50 of them take some 0.3 s."""

_NOBODY = Policy()


class Certificates:
    """The TLS context, and the identities of the certificates that it lets in."""

    def __init__(self, registry: Registry, *, folder: Path | None, names: tuple[str, ...]) -> None:
        """Without a folder the CA lives as long as this process."""
        self._registry = registry
        self._temporary = TemporaryDirectory(prefix="thingstorm-pki-") if folder is None else None
        server = server_identity(folder or Path(self._temporary.name if self._temporary else ""), names=names)
        self.root_ca = server.root_ca
        self.context: ssl.SSLContext = server_context(server)
        self._anchors: set[str] = set()
        self._anchored_at = -FRESH_SECONDS
        self._anchoring = anyio.Lock()
        self._known: dict[str, tuple[float, Identity | None]] = {}
        self.fault = ""

    async def prepare(self) -> None:
        """Trust what is registered now. A registry that is away leaves what was trusted."""
        async with self._anchoring:
            if time.monotonic() - self._anchored_at < FRESH_SECONDS:
                return
            try:
                for anchor in set(await self._registry.trust_anchors()) - self._anchors:
                    self.context.load_verify_locations(cadata=anchor)
                    self._anchors.add(anchor)
                self.fault = ""
            except (BackendError, ssl.SSLError) as error:
                self.fault = f"the registry does not answer: {error}"
            self._anchored_at = time.monotonic()

    async def identity(self, certificate_id: str) -> Identity | None:
        """Who this is; None if nobody knows, or nobody can be asked."""
        at, known = self._known.get(certificate_id, (-FRESH_SECONDS, None))
        if time.monotonic() - at < FRESH_SECONDS:
            return known
        try:
            principal = await self._registry.principal(certificate_id)
        except BackendError as error:
            self.fault = f"the registry does not answer: {error}"
            return known
        self._known[certificate_id] = (time.monotonic(), _identity(principal))
        return self._known[certificate_id][1]

    async def create_device(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> Credentials:
        """A new device with its credentials, trusted from now on. Raises ConfigError, BackendError."""
        if policy is not None:
            Policy(policy)
        made = await self._registry.create_device(device_id, policy=policy)
        self._anchored_at = -FRESH_SECONDS
        return Credentials(made.certificate_id, made.certificate, made.private_key, self.root_ca)

    async def watch(self, connected: Callable[[], set[str]], changed: Callable[[Identity], None]) -> None:
        """Tell of changes to the principals that are connected, until cancelled."""
        while True:
            await anyio.sleep(WATCH_SECONDS)
            try:
                await self._look(connected() & set(self._known), changed)
                self.fault = ""
            except BackendError as error:
                self.fault = f"the registry does not answer: {error}"

    async def _look(self, connected: set[str], changed: Callable[[Identity], None]) -> None:
        if not connected:
            return
        statuses = await self._registry.statuses()
        gone = [one for one in connected if not statuses.get(one, False)]
        oldest = sorted(connected, key=lambda one: self._known[one][0])[:REFRESHED]
        for certificate_id in dict.fromkeys([*gone, *oldest]):
            before = self._known[certificate_id][1]
            principal = await self._registry.principal(certificate_id)
            now = _identity(principal) or Identity(Principal(certificate_id, active=False), _NOBODY)
            self._known[certificate_id] = (time.monotonic(), now)
            if before is None or now.principal != before.principal:
                changed(now)
        self._known = {key: value for key, value in self._known.items() if key in connected}

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()


def _identity(principal: Principal | None) -> Identity | None:
    """A principal whose policies cannot be read may do nothing."""
    if principal is None:
        return None
    try:
        return identity_of(principal)
    except ConfigError:
        return Identity(principal, _NOBODY)
