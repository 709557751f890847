"""One real paho-mqtt client a device, driven by our event loop: no thread, five kilobytes each.

paho's own loop would need a thread a client. Its hooks for an external loop tell which socket to watch.
"""

from .base import Callbacks
from .link import PahoLink
from .sockets import SocketTransport


class PahoTransport(SocketTransport):
    """The default: what a device really runs."""

    def __init__(self, *, host: str, port: int, callbacks: Callbacks) -> None:
        super().__init__(host=host, port=port, callbacks=callbacks, make_link=PahoLink)
