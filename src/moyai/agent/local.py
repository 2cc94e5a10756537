"""Unix sockets in a site's directory: any length of path, this user only. Standard library only."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def _short(directory: str, name: str) -> Generator[str]:
    """A path of the socket that fits the 107 bytes of an address, however long the directory's own path is."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def listen(directory: str, name: str) -> socket.socket:
    """A listening socket at directory/name, mode 0600; what a dead process left there is replaced. Raises OSError."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(directory, name) as path:
            if os.path.lexists(path):
                os.unlink(path)
            before = os.umask(0o177)
            try:
                server.bind(path)
            finally:
                os.umask(before)
            server.listen(64)
    except OSError:
        server.close()
        raise
    return server


def connect(directory: str, name: str) -> socket.socket:
    """A connection to directory/name. Raises OSError; PermissionError where another user listens there."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(directory, name) as path:
            client.connect(path)
        if not peer_allowed(client):
            raise PermissionError(f"{directory}/{name}: another user listens there")
    except OSError:
        client.close()
        raise
    return client


def peer_allowed(connection: socket.socket) -> bool:
    """Whether the other side runs as this user or as root."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in (0, os.geteuid())
