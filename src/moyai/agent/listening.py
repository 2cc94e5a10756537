"""Addresses for those who watch a process. Standard library only: they are opened before anything heavy is imported."""

import socket

BACKLOG = 16


def parse_address(said: str, least: int = 1) -> tuple[str, int]:
    """The host and the port of "HOST:PORT"; an IPv6 address stands in brackets. Raises ValueError.

    `least`: 0 where port 0 may stand for any that is free.
    """
    host, colon, port = said.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    fits = port.isascii() and port.isdecimal() and len(port) <= 5 and least <= int(port) <= 65_535
    if not colon or not host or not fits or (":" in host and not bracketed):
        raise ValueError(f"{said!r} is no HOST:PORT; write 127.0.0.1:9100, or [::1]:9100")
    return host, int(port)


def listen_at(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Port 0: any that is free. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
