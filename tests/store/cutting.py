"""A way to PostgreSQL that breaks where it is told to: at a COMMIT, before the server has it or before its answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum

_COMMIT = b"COMMIT\0"


class Cut(Enum):
    """Where the connection breaks."""

    BEFORE_COMMIT = "the server never gets the COMMIT"
    BEFORE_ANSWER = "the server commits, and nobody hears of it"


class Cutting:
    """A TCP proxy to the server at `port`. The next COMMIT after `cut` breaks its connection; then all is well again."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut: Cut | None = None
        self.cuts = 0
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Break everything and listen no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            _hang_up(sock)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open |= {client, server}
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.cut is None or _COMMIT not in data:
                    server.sendall(data)
                    continue
                where, self.cut = self.cut, None
                self.cuts += 1
                _hang_up(client)
                if where is Cut.BEFORE_ANSWER:
                    server.sendall(data)
                    continue
                break
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)
        _hang_up(client)
        _hang_up(server)


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


@contextmanager
def cutting(port: int) -> Iterator[Cutting]:
    """Such a proxy, closed at the end."""
    proxy = Cutting(port)
    try:
        yield proxy
    finally:
        proxy.close()
