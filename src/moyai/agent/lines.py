"""The ways from an agent to its control planes: one line at a time, the next address where one does not answer.

A line is an HTTP client over a Unix socket or over TLS. One that was left is closed once its requests can be over.
"""

import asyncio
import ssl
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from moyai.agent.clocks import wall_us
from moyai.agent.webclient import load_httpx

if TYPE_CHECKING:
    import httpx

    from moyai.agent.identity import Identity

T = TypeVar("T")

CONNECT_S = 2.0
TLS_CONNECT_S = 5.0
"""Handshake and way included."""
RETIRE_S = 60.0
"""How long a line that was left may still be at work."""
TRACE: ContextVar[str] = ContextVar("traceparent", default="")
"""What a request says of the trace that it belongs to; "" where nobody traces."""
ANSWER_BYTES = 64 << 20
"""Of one answer at most: more is garbage."""


class Unreachable(Exception):
    """No answer, or one that says to try again; nothing is known of what became of the request."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Line:
    """One way, to one address. `left` is set when the agent goes another."""

    def __init__(
        self,
        address: str,
        client: "httpx.AsyncClient",
        errors: tuple[type[Exception], ...],
        identity: "Identity | None" = None,
    ) -> None:
        """`errors`: what `client` raises where there is no answer; `identity`: what it shows."""
        self._identity = identity
        self.address = address
        self.client = client
        self.left = asyncio.Event()
        self._errors = errors

    async def send(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str] | None, timeout_s: float
    ) -> Response:
        """One request. Raises Unreachable."""
        import httpx

        connect_s = TLS_CONNECT_S if self.address.startswith("https:") else CONNECT_S
        timeout = httpx.Timeout(timeout_s, connect=connect_s)
        if trace := TRACE.get():
            headers = {**(headers or {}), "traceparent": trace}
        try:
            async with self.client.stream(method, path, content=content, headers=headers, timeout=timeout) as response:
                pieces: list[bytes] = []
                size = 0
                async for piece in response.aiter_bytes():
                    size += len(piece)
                    if size > ANSWER_BYTES:
                        raise Unreachable(f"{self.address} answers with more than {ANSWER_BYTES >> 20} MiB")
                    pieces.append(piece)
                return Response(response.status_code, response.headers, b"".join(pieces))
        except self._errors as error:
            raise Unreachable(f"{self.address}: {words(error)}{self._over()}") from None

    def _over(self) -> str:
        """Control hangs up on a certificate that is over, without a word: then this is the word."""
        if self._identity is None or self._identity.about.ends_at > wall_us():
            return ""
        return f"; by this machine's clock the certificate of {self._identity.about.site} is over: join again"

    async def while_here(self, work: Coroutine[Any, Any, T]) -> T:
        """`work`, given up when the line is left. Raises Unreachable then."""
        task = asyncio.ensure_future(work)
        left = asyncio.ensure_future(self.left.wait())
        try:
            await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Unreachable(f"{self.address} was left for another control plane")
        finally:
            task.cancel()
            left.cancel()
            await asyncio.gather(task, left, return_exceptions=True)


class Lines:
    """The addresses in their order, and the line that is used now."""

    def __init__(self, addresses: Sequence[str], identity: "Identity | None") -> None:
        """Each "unix:PATH" or "https://HOST:PORT". Raises ValueError, NoIdentity."""
        if not addresses:
            raise ValueError("an agent needs the address of a control plane; give --control")
        for address in addresses:
            check_address(address)
            if address.startswith("https:") and identity is None:
                raise ValueError(f"{address} wants a certificate, and this site has none; join first")
        self._addresses = tuple(dict.fromkeys(addresses))
        self._identity = identity
        self._at = 0
        self._retiring: dict[Line, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._context = identity.context() if identity is not None and self._wants_tls() else None
        self.errors: tuple[type[Exception], ...] = (load_httpx().HTTPError, ssl.SSLError)
        self.now = self._open()

    @property
    def several(self) -> bool:
        """Whether there is another address to go to."""
        return len(self._addresses) > 1

    def leave(self, line: Line) -> None:
        """The control plane at the end of a line is of no use now: the next address, unless that was done already."""
        if line is not self.now or not self.several:
            return
        self._at = (self._at + 1) % len(self._addresses)
        line.left.set()
        self.now = self._open()
        self._retire(line)

    def renew(self) -> None:
        """The site has a new certificate: use it from here on. What is under way goes on. Raises NoIdentity."""
        if self._identity is None or self._context is None:
            return
        self._context = self._identity.context()
        old, self.now = self.now, self._open()
        self._retire(old)

    async def close(self) -> None:
        """Hang up."""
        for timer in self._retiring.values():
            timer.cancel()
        for line in (self.now, *self._retiring):
            await line.client.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _wants_tls(self) -> bool:
        return any(address.startswith("https:") for address in self._addresses)

    def _open(self) -> Line:
        httpx = load_httpx()
        address = self._addresses[self._at]
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=60)
        if address.startswith("unix:"):
            transport = httpx.AsyncHTTPTransport(uds=address.removeprefix("unix:"), limits=limits, verify=False)
            base, shown = "http://control", None
        else:
            transport = httpx.AsyncHTTPTransport(limits=limits, verify=self._context)
            base, shown = address, self._identity
        client = httpx.AsyncClient(transport=transport, base_url=base, trust_env=False)
        return Line(address, client, self.errors, shown)

    def _retire(self, line: Line) -> None:
        self._retiring[line] = asyncio.get_running_loop().call_later(RETIRE_S, self._close, line)

    def _close(self, line: Line) -> None:
        del self._retiring[line]
        task = asyncio.ensure_future(line.client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def check_address(address: str) -> None:
    """Raises ValueError where `address` is none of a control plane."""
    scheme, _, rest = address.partition(":")
    host, colon, port = rest.removeprefix("//").rstrip("/").rpartition(":")
    if scheme == "unix" and rest:
        return
    if scheme == "https" and rest.startswith("//") and colon and host and port.isdecimal() and "/" not in host:
        return
    raise ValueError(f"--control {address!r} is no address of a control plane; write https://HOST:PORT or unix:PATH")


def words(error: Exception) -> str:
    """An error of a connection in words; what TLS says, with what to do about it."""
    causes = [cause for cause in _causes(error) if cause]
    if type(error).__name__.endswith("Timeout"):
        return "no answer in time"
    said = str(error) or (causes[-1] if causes else type(error).__name__)
    known = " ".join(causes).upper()
    clock = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    for sign, text in (
        ("NOT YET VALID", f"its certificate has not begun: this machine's clock is behind (it says {clock})"),
        ("CERTIFICATE HAS EXPIRED", f"its certificate is over, or this machine's clock is ahead (it says {clock})"),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is of another CA: that is not where this site joined"),
        ("ALERT_CERTIFICATE_EXPIRED", "it says that this site's certificate is over; join again with a new token"),
        ("ALERT CERTIFICATE EXPIRED", "it says that this site's certificate is over; join again with a new token"),
        ("UNKNOWN_CA", "it does not know the CA of this site's certificate; join again with a token of its own"),
        ("UNKNOWN CA", "it does not know the CA of this site's certificate; join again with a token of its own"),
        ("ALERT_BAD_CERTIFICATE", "it finds this site's certificate not good; its log says why"),
        ("BAD CERTIFICATE", "it finds this site's certificate not good; its log says why"),
        ("PROTOCOL_VERSION", "it speaks no TLS 1.3"),
        ("WRONG_VERSION_NUMBER", "it speaks no TLS; is that the port of `moyai up --agents`?"),
    ):
        if sign in known:
            return text
    return said


def _causes(error: BaseException) -> list[str]:
    """The words of an error and of those behind it: what TLS said stands at the end."""
    found: list[str] = []
    at: BaseException | None = error
    while at is not None and len(found) < 10:
        found.append(str(at))
        at = at.__cause__ or at.__context__
    return found
