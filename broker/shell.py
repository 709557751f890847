"""amqtt's broker with our data path: its configuration, listeners and plugins, none of its handling of connections.

amqtt 0.12.1 authenticates after the take-over, leaks refused sessions, hands retained messages to strangers and
starts a task for each packet; so what it does from an accepted socket on is replaced as a whole.
"""

import asyncio
import logging
import ssl
from http import HTTPStatus
from typing import Any

import websockets
from amqtt.broker import Broker
from amqtt.contexts import ListenerType
from amqtt.events import BrokerEvents
from websockets.asyncio.server import Server as WebsocketServer
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from contracts.messages import Message

from .transport import SocketLine, TlsDoor, TlsHost, WebsocketLine, shared_buffer

PLAIN, SECURE, WEBSOCKET = "default", "secure", "websocket"
"""Names of the listeners; amqtt wants one to be called "default"."""

BACKLOG = 1024
"""Connections that wait to be accepted: a reconnect storm comes within a second."""

CLOSE_SECONDS = 1.0
"""A websocket's client gets so long to answer that we close; many never do."""

WEBSOCKET_PATH = "/mqtt"
"""Source: AWS IoT Core device communication protocols page."""

_EVENTS = {
    "$aws/events/presence/connected/": BrokerEvents.CLIENT_CONNECTED,
    "$aws/events/presence/disconnected/": BrokerEvents.CLIENT_DISCONNECTED,
    "$aws/events/subscriptions/subscribed/": BrokerEvents.CLIENT_SUBSCRIBED,
    "$aws/events/subscriptions/unsubscribed/": BrokerEvents.CLIENT_UNSUBSCRIBED,
}


class Shell(Broker):  # type: ignore[misc]  # amqtt publishes no types
    """The listeners of one gateway, and the plugins that are told what happens."""

    def __init__(self, config: dict[str, Any], host: TlsHost) -> None:
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it tells a failed start, and so do we
        logging.getLogger("transitions").setLevel(logging.ERROR)
        logging.getLogger("websockets").setLevel(logging.CRITICAL)  # likewise a client that is no websocket
        super().__init__(config)
        self._host = host
        self._buffer = shared_buffer()
        self._watched = bool(config.get("plugins"))

    def port_of(self, listener: str) -> int:
        """The port that a listener is bound to."""
        return int(next(iter(self._servers[listener].instance.sockets)).getsockname()[1])

    def close_listeners(self) -> None:
        """Accept nobody any more."""
        for server in self._servers.values():
            if isinstance(server.instance, asyncio.Server):
                server.instance.close()
            else:
                server.instance.close(close_connections=False)

    async def tell_plugins(self, event: Message) -> None:
        """Fire amqtt's event for one of the gateway's own: connected, disconnected, subscribed, unsubscribed."""
        if not self._watched:
            return
        for prefix, name in _EVENTS.items():
            if event.topic.startswith(prefix):
                client_id = event.topic.removeprefix(prefix)
                await self.plugins_manager.fire_event(name, client_id=client_id, client_session=None)

    async def _create_server_instance(
        self,
        listener_name: str,
        listener_type: ListenerType,
        address: str | None,
        port: int,
        ssl_context: ssl.SSLContext | None,
    ) -> asyncio.Server | WebsocketServer:
        if listener_type == ListenerType.WS:
            return await websockets.serve(
                self._websocket,
                address,
                port,
                ssl=ssl_context,
                subprotocols=[websockets.Subprotocol("mqtt")],
                process_request=_check_path,
                compression=None,
                close_timeout=CLOSE_SECONDS,
                ping_interval=None,  # MQTT has its own keep-alive
                max_size=None,  # the parser bounds a packet, a frame may hold many
            )
        door = TlsDoor if listener_name == SECURE else SocketLine
        return await asyncio.get_running_loop().create_server(
            lambda: door(self._host, self._buffer), address, port, reuse_address=True, backlog=BACKLOG
        )

    async def _websocket(self, websocket: ServerConnection) -> None:
        await WebsocketLine(self._host, websocket).serve()


def _check_path(_connection: ServerConnection, request: Request) -> Response | None:
    """MQTT lives at one path."""
    if request.path.partition("?")[0] == WEBSOCKET_PATH:
        return None
    return _connection.respond(HTTPStatus.NOT_FOUND, f"MQTT over websockets is at {WEBSOCKET_PATH}\n")
