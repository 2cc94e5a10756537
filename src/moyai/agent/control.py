"""The control plane as the agent reaches it: HTTP over a local Unix socket, later over TLS, by the same requests."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from moyai.model.codec import DecodeError, decode, decode_commands, encode
from moyai.model.exchange import Ack, Batch, Commands, Hello, Welcome
from moyai.model.ids import BlobId, ManifestId, SiteName

if TYPE_CHECKING:
    import httpx

PIECE_BYTES = 4 << 20
"""Most bytes of a file that one request gets."""
CONNECT_S = 2.0
ANSWER_S = 20.0


class Unreachable(Exception):
    """No answer, or one that says to try again; nothing is known of what became of the request."""


class Rejoin(Exception):
    """The term is over: say hello again, not before `retry_s`."""

    def __init__(self, retry_s: float = 0.0) -> None:
        super().__init__("the term is over")
        self.retry_s = retry_s


class Denied(Exception):
    """Control answered, and said no for good; the message says why."""


class Gone(Exception):
    """What was asked for is not there any more."""


@dataclass(frozen=True, slots=True)
class OutputAnswer:
    """What is said to an ask. `status`: "ok", "gone" or "error"; an error's data says what it is."""

    status: str
    data: bytes = b""
    eof: bool = True
    total: int = 0
    offset: int = 0
    left_out: int = 0


class Control:
    """One site's requests. Each raises Unreachable where it should be tried again."""

    def __init__(self, address: str, site: SiteName) -> None:
        """`address`: "unix:PATH". Raises ValueError."""
        scheme, _, path = address.partition(":")
        if scheme != "unix" or not path:
            raise ValueError(f"--control {address!r} is no address of a control plane; write unix:PATH")
        httpx = _httpx()
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=60)
        transport = httpx.AsyncHTTPTransport(uds=path, limits=limits, verify=False)
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        self._client = httpx.AsyncClient(
            transport=transport, base_url="http://control", timeout=timeout, trust_env=False
        )
        self._base = f"/v1/exchange/{quote(site, safe='')}"
        self._again: tuple[type[Exception], ...] = (httpx.TransportError,)

    async def hello(self, hello: Hello) -> Welcome:
        """Join. Raises Rejoin where an older incarnation's lease still runs."""
        return decode(await self._post("/hello", encode(hello)), Welcome)

    async def events(self, batch: Batch) -> Ack:
        """Report and renew. Raises Rejoin."""
        return decode(await self._post("/events", encode(batch)), Ack)

    async def commands(self, after: int, term: int, wait_s: float) -> Commands:
        """Commands above `after`, waiting for some. Raises Rejoin."""
        url = f"{self._base}/commands?after={after}&term={term}&wait={wait_s:g}"
        return decode_commands(await self._get(url, wait_s + ANSWER_S))

    async def answer(self, ask: str, answer: OutputAnswer) -> None:
        """The answer to an ask."""
        headers = {
            "X-Moyai-Status": answer.status,
            "X-Moyai-Eof": str(int(answer.eof)),
            "X-Moyai-Total": str(answer.total),
            "X-Moyai-Offset": str(answer.offset),
            "X-Moyai-Left-Out": str(answer.left_out),
        }
        await self._post(f"/answers/{quote(ask, safe='')}", answer.data, headers)

    async def manifest(self, source: SiteName, manifest: ManifestId) -> bytes:
        """The canonical bytes of a manifest at another site. Raises Gone."""
        return await self._get(f"{self._base}/from/{quote(source, safe='')}/manifests/{manifest}", ANSWER_S)

    async def piece(self, source: SiteName, manifest: ManifestId, index: int, offset: int, limit: int) -> bytes:
        """Bytes of a file of a manifest at another site. Raises Gone."""
        place = f"{self._base}/from/{quote(source, safe='')}/manifests/{manifest}/files/{index}"
        return await self._get(f"{place}?offset={offset}&limit={limit}", ANSWER_S)

    async def blob(self, blob: BlobId, into: Path) -> None:
        """Write a blob to the file `into`. Raises Gone, OSError."""
        try:
            async with self._client.stream("GET", f"/v1/blobs/{blob}") as response:
                if response.status_code != 200:
                    await response.aread()
                    self._check(response)
                with into.open("wb") as file:
                    async for data in response.aiter_bytes(1 << 20):
                        file.write(data)
        except self._again as error:
            raise Unreachable(_words(error)) from None

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def _post(self, path: str, data: bytes, headers: dict[str, str] | None = None) -> bytes:
        try:
            response = await self._client.post(self._base + path, content=data, headers=headers)
        except self._again as error:
            raise Unreachable(_words(error)) from None
        return self._check(response)

    async def _get(self, url: str, timeout_s: float) -> bytes:
        try:
            response = await self._client.get(url, timeout=timeout_s)
        except self._again as error:
            raise Unreachable(_words(error)) from None
        return self._check(response)

    @staticmethod
    def _check(response: "httpx.Response") -> bytes:
        status = response.status_code
        if status == 200:
            return response.content
        if status == 204:
            return b""
        said = f"{status} {response.text[:300]}"
        if status == 409:
            raise Rejoin(_retry_s(response.headers))
        if status in (404, 410):
            raise Gone(said)
        if status >= 500 or status in (408, 425, 429):
            raise Unreachable(said)
        raise Denied(said)


def _retry_s(headers: "httpx.Headers") -> float:
    exact = headers.get("X-Moyai-Retry-Us", "")
    if exact.isdecimal():
        return int(exact) / 1_000_000
    coarse = headers.get("Retry-After", "")
    return float(coarse) if coarse.isdecimal() else 0.0


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _httpx() -> ModuleType:
    """httpx without its command line, whose Rich and Click would be half of an agent's start."""
    modules = cast("dict[str, object]", sys.modules)
    if "httpx" in modules:
        return sys.modules["httpx"]
    modules["httpx._main"] = None  # Python's own mark for what can't be imported
    try:
        import httpx
    finally:
        del modules["httpx._main"]
    return httpx


__all__ = ["Control", "DecodeError", "Denied", "Gone", "OutputAnswer", "Rejoin", "Unreachable"]
