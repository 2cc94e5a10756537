"""The HTTP protocol of a connection: who is at the other end, and bounds on what he may send before he is heard."""

import asyncio
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from moyai.control.identity import Presented
from moyai.server.tls import presented

MAX_HEADERS = 64
MAX_HEADER_BYTES = 32 * 1024
"""Of all headers of one request together; a target has the same bound."""

PEER = "peer"
"""Where the peer stands in the state of a request's scope."""

FIRST_S = 15.0
"""How long somebody from elsewhere may take until his first request is there."""

_UCRED = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection. A uid is known on the Unix socket alone, by the kernel's word.

    `remote`: he came by TLS; then `shown` is his certificate, None where he showed none.
    """

    uid: int | None
    pid: int = 0
    remote: bool = False
    shown: Presented | None = None

    @property
    def is_local_user(self) -> bool:
        """Whether this is a process of this machine whose user the kernel names."""
        return self.uid is not None


class TooMuch(ValueError):
    """Headers beyond the bounds."""


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """The peer of a connection."""
    secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if secured is not None:
        return Peer(None, remote=True, shown=presented(secured))
    sock: Any = transport.get_extra_info("socket")  # uvloop's is a stand-in with the same methods
    if sock is None or sock.family != socket.AF_UNIX:
        return Peer(None)
    pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(uid, pid)


class PeerProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, with the peer in each request's scope and bounds on headers."""

    _seen_bytes = 0
    _seen_headers = 0
    _first: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel who connected, once: it can't change later."""
        peer = peer_of(transport)
        self.app_state = {**self.app_state, PEER: peer}
        super().connection_made(transport)
        if peer.remote:
            self._first = self.loop.call_later(FIRST_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._heard()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A request's headers are there."""
        self._heard()
        super().on_headers_complete()

    def _heard(self) -> None:
        if self._first is not None:
            self._first.cancel()
            self._first = None

    def on_message_begin(self) -> None:
        """A new request: its bounds start at zero."""
        self._seen_bytes = self._seen_headers = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._count(len(url), 0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(len(name) + len(value), 1)
        super().on_header(name, value)

    def _count(self, size: int, headers: int) -> None:
        # Raised inside the parser this becomes a 400 and the end of the connection.
        self._seen_bytes += size
        self._seen_headers += headers
        if self._seen_bytes > MAX_HEADER_BYTES or self._seen_headers > MAX_HEADERS:
            raise TooMuch(f"more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them")
