"""One way to a server: HTTP over its Unix socket, retried where that is safe, with its errors made MoyaiErrors."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from moyai.client import local
from moyai.client.errors import MoyaiError
from moyai.model.codec import DecodeError, decode
from moyai.model.views import ErrorAnswer

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Say = Callable[[str, Path], None]
"""Told "starting" before a server is started, and "waiting" when one keeps us waiting, with its directory."""

RETRY_FOR_S = 15.0
"""How long a request is tried again while the server is away; then it is "unreachable"."""
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_SAY_AFTER_S = 1.5


def say_on_stderr(what: str, home: Path) -> None:
    """The default of `say`: one line on stderr."""
    words = {"starting": f"moyai: starting a local server for {home}", "waiting": "moyai: waiting for the server"}
    print(words.get(what, what), file=sys.stderr)


class Connection:
    """Requests to the server of one directory. Every request may be sent twice, so each must be safe to repeat."""

    def __init__(self, home: Path, start: bool, say: Say) -> None:
        """Connect at once, so that what can't work fails here. Raises MoyaiError "unreachable" or "start-failed"."""
        self.home = home
        self._start = start
        self._say = say
        self._http: httpx.Client | None = None
        self._reach()

    def get(self, path: str, kind: type[T], params: Mapping[str, str | int] | None = None) -> T:
        """The view of type `kind` at `path`. Raises MoyaiError."""
        return self._view(self.raw("GET", path, params=params), kind)

    def post(self, path: str, kind: type[T], body: object = None, key: str = "") -> T:
        """The view that the server answers to `body` (plain JSON values). `key` makes it safe to send again."""
        import msgspec

        headers = {"Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        content = msgspec.json.encode({} if body is None else body)
        return self._view(self.raw("POST", path, content=content, headers=headers), kind)

    def raw(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> "httpx.Response":
        """A successful answer. `wait_s` is how long the server was asked to wait before it answers.

        Tried again for RETRY_FOR_S while nobody answers or the server says that it is not ready. Raises MoyaiError.
        """
        import httpx

        begun, pause, said = time.monotonic(), _FIRST_PAUSE_S, False
        timeout = httpx.Timeout(30.0 + wait_s, connect=5.0)
        while True:
            problem: MoyaiError
            try:
                answer = self._client().request(
                    method, path, params=params, content=content, headers=headers, timeout=timeout
                )
                if answer.is_success:
                    return answer
                problem = _error(answer)
                if answer.status_code != 503 or problem.code == "read-only":
                    raise problem
            except httpx.TransportError as error:
                problem = self._away(error)
            if time.monotonic() - begun > RETRY_FOR_S:
                raise problem
            if not said and time.monotonic() - begun > _SAY_AFTER_S:
                said = True
                self._say("waiting", self.home)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            if problem.code == "unreachable":
                self._reach(patient=True)

    def close(self) -> None:
        """Give the connection up. It may be closed twice."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _client(self) -> "httpx.Client":
        if self._http is None:
            raise MoyaiError("unreachable", "the client is closed or its server is gone", where=str(self.home))
        return self._http

    def _reach(self, patient: bool = False) -> None:
        """Find the server, or start one. Where `patient`, no server yet is no error: the caller tries again."""
        self.close()
        found = local.address(self.home)
        if found is None or not local.answers(found):
            if not self._start:
                if patient and found is not None:
                    self._http = _http(found)
                    return
                raise MoyaiError(
                    "unreachable",
                    "no server runs there",
                    "start one by `moyai up`, or by any `moyai run`",
                    str(self.home),
                )
            self._say("starting", self.home)
            found = local.start(self.home)
        self._http = _http(found)

    def _away(self, error: Exception) -> MoyaiError:
        return MoyaiError(
            "unreachable",
            f"the server does not answer ({type(error).__name__})",
            f"see {self.home / 'server.log'}",
            str(self.home),
        )

    def _view(self, answer: "httpx.Response", kind: type[T]) -> T:
        try:
            return decode(answer.content, kind)
        except DecodeError as error:
            raise MoyaiError(
                "not-moyai", f"the server's answer can't be read: {error}", "are client and server of one version?"
            ) from None


def _http(found: local.Address) -> "httpx.Client":
    import httpx

    return httpx.Client(
        transport=httpx.HTTPTransport(uds=found.socket, limits=httpx.Limits(keepalive_expiry=30.0)),
        base_url="http://localhost",
        trust_env=False,
    )


def _error(answer: "httpx.Response") -> MoyaiError:
    try:
        body = decode(answer.content, ErrorAnswer).error
    except DecodeError:
        return MoyaiError("not-moyai", f"the server answered {answer.status_code}", status=answer.status_code)
    return MoyaiError(body.code, body.message, body.hint, body.where, answer.status_code)
