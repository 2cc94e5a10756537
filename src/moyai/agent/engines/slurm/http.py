"""Requests to slurmrestd. The standard library's client, in threads: a tenth of the CPU time of an async one."""

import http.client
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from moyai.agent.engines.batch.base import SchedulerDown

ANSWER_S = 20.0
MOST_BYTES = 256 << 20
"""Of an answer: a listing of 100,000 jobs."""
CHUNK = 1 << 20
IDLE_S = 10.0
"""After that a connection isn't used again: the other side may be about to close it."""
STALE = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


class Http:
    """One address. Each thread keeps a connection of its own."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._secure = parts.scheme == "https"
        self._place = parts.netloc
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def ask(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> tuple[int, bytes]:
        """(status, body). Raises SchedulerDown. A request that may have been heard is not said again."""
        if time.monotonic() - getattr(self._own, "used", 0.0) > IDLE_S:
            self.drop()
        self._own.used = time.monotonic()
        kept: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        fresh = kept is None or kept.sock is None
        try:
            return self._ask(kept or self._connect(), method, path, headers, content)
        except STALE as error:
            self.drop()
            if fresh or method != "GET":  # a kept connection that had been closed: only a question may be put again
                raise SchedulerDown(f"it hung up: {error or type(error).__name__}") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error) from None
        try:
            return self._ask(self._connect(), method, path, headers, content)
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> SchedulerDown:
        self.drop()
        if isinstance(error, TimeoutError):
            return SchedulerDown(f"it does not answer within {ANSWER_S:.0f} s")
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return SchedulerDown(f"it can't be reached: {words}")

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        made = kind(self._place, timeout=ANSWER_S)
        self._own.connection = made
        self._all.append(made)
        return made

    @staticmethod
    def _ask(
        connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str], content: bytes
    ) -> tuple[int, bytes]:
        until = time.monotonic() + ANSWER_S
        connection.request(method, path, content or None, dict(headers))
        answer = connection.getresponse()
        data = bytearray()
        while chunk := answer.read(CHUNK):
            data += chunk
            if len(data) > MOST_BYTES:
                raise http.client.HTTPException(f"it answers more than {MOST_BYTES} bytes")
            if time.monotonic() > until:
                raise TimeoutError
        return answer.status, bytes(data)

    def drop(self) -> None:
        """Hang up in this thread."""
        kept: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if kept is not None:
            kept.close()
            self._own.connection = None
            self._all.remove(kept)

    def close(self) -> None:
        """Hang up everywhere."""
        for connection in list(self._all):
            connection.close()
