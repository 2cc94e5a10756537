"""The control plane as the agent reaches it: HTTP over a local Unix socket, or over TLS, by the same requests.

Where several control planes share a log, the one that answers "standby" is passed over, and so is one that is silent.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from moyai.agent.lines import Lines, Response, Unreachable, words
from moyai.model.codec import DecodeError, decode, decode_commands, encode
from moyai.model.exchange import Ack, Batch, Commands, Hello, Welcome
from moyai.model.identity import Issued, RenewRequest
from moyai.model.ids import BlobId, ManifestId, SiteName
from moyai.model.site import SiteProfile
from moyai.model.views import ErrorAnswer, ErrorView

if TYPE_CHECKING:
    from moyai.agent.identity import Identity

LOG = logging.getLogger("moyai.agent")
PIECE_BYTES = 4 << 20
"""Most bytes of a file that one request gets."""
ANSWER_S = 20.0
SEVERAL_S = 5.0
"""Instead, for a renewal, where there is another control plane to ask."""
SKEW_S = 120.0
"""Clocks that differ by more are worth a word: certificates go by them. Leases don't."""
STANDBY = "standby"


class Rejoin(Exception):
    """The term is over: say hello again, not before `retry_s`."""

    def __init__(self, retry_s: float = 0.0) -> None:
        super().__init__("the term is over")
        self.retry_s = retry_s


class Denied(Exception):
    """Control answered, and said no for good; the message says why."""


class TooLarge(Denied):
    """Control takes nothing of that size."""


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

    def __init__(self, addresses: str | Sequence[str], site: SiteName, identity: "Identity | None" = None) -> None:
        """Each address "unix:PATH" or "https://HOST:PORT", which needs an identity. Raises ValueError, NoIdentity."""
        self.lines = Lines((addresses,) if isinstance(addresses, str) else addresses, identity)
        self._base = f"/v1/exchange/{quote(site, safe='')}"
        self._undeclared: SiteProfile | None = None
        self._declared: Callable[[SiteProfile], None] = lambda _: None
        self._skewed = False

    def declare(self, profile: SiteProfile, declared: Callable[[SiteProfile], None]) -> None:
        """Say what the site is now before the next hello; `declared` is called when control took it."""
        self._undeclared, self._declared = profile, declared

    async def hello(self, hello: Hello) -> Welcome:
        """Join. Raises Rejoin where an older incarnation's lease still runs."""
        if (profile := self._undeclared) is not None:
            await self._post("/profile", encode(profile))
            self._undeclared = None
            self._declared(profile)
        return decode(await self._post("/hello", encode(hello), timeout_s=self._soon_s), Welcome)

    async def events(self, batch: Batch) -> Ack:
        """Report and renew. Raises Rejoin, TooLarge."""
        return decode(await self._post("/events", encode(batch), timeout_s=self._soon_s), Ack)

    async def commands(self, after: int, term: int, wait_s: float) -> Commands:
        """Commands above `after`, waiting for some. Raises Rejoin."""
        url = f"{self._base}/commands?after={after}&term={term}&wait={wait_s:g}"
        return decode_commands(await self.lines.now.while_here(self._send("GET", url, timeout_s=wait_s + ANSWER_S)))

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
        return await self._send("GET", f"{self._base}/from/{quote(source, safe='')}/manifests/{manifest}")

    async def piece(self, source: SiteName, manifest: ManifestId, index: int, offset: int, limit: int) -> bytes:
        """Bytes of a file of a manifest at another site. Raises Gone."""
        place = f"{self._base}/from/{quote(source, safe='')}/manifests/{manifest}/files/{index}"
        return await self._send("GET", f"{place}?offset={offset}&limit={limit}")

    async def certificate(self, request: bytes) -> Issued:
        """The site's next certificate, for the key that signed a request (PEM). Raises Denied."""
        return decode(await self._post("/certificate", encode(RenewRequest(request.decode()))), Issued)

    async def blob(self, blob: BlobId, into: Path) -> None:
        """Write a blob to the file `into`. Raises Gone, OSError."""
        line = self.lines.now
        try:
            async with line.client.stream("GET", f"{self._base}/blobs/{blob}", timeout=ANSWER_S) as response:
                if response.status_code != 200:
                    self._check(Response(response.status_code, response.headers, await response.aread()))
                with into.open("wb") as file:
                    async for data in response.aiter_bytes(1 << 20):
                        file.write(data)
        except self.lines.errors as error:
            self.lines.leave(line)
            raise Unreachable(f"{line.address}: {words(error)}") from None

    async def close(self) -> None:
        """Hang up."""
        await self.lines.close()

    @property
    def _soon_s(self) -> float:
        return SEVERAL_S if self.lines.several else ANSWER_S

    async def _post(
        self, path: str, data: bytes, headers: dict[str, str] | None = None, timeout_s: float = ANSWER_S
    ) -> bytes:
        return await self._send("POST", self._base + path, data, headers, timeout_s)

    async def _send(
        self,
        method: str,
        url: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = ANSWER_S,
    ) -> bytes:
        line = self.lines.now
        try:
            response = await line.send(method, url, data, headers, timeout_s)
        except Unreachable:
            self.lines.leave(line)
            raise
        if response.status == 503 and (view := _view(response)) is not None and view.code == STANDBY:
            self.lines.leave(line)
        self._look_at_clock(response.headers)
        return self._check(response)

    def _look_at_clock(self, headers: Mapping[str, str]) -> None:
        """Say once when this machine's clock and control's part, and once when they agree again."""
        try:
            ahead_s = time.time() - parsedate_to_datetime(headers.get("Date", "")).timestamp()
        except ValueError:
            return
        if (abs(ahead_s) > SKEW_S) == self._skewed:
            return
        self._skewed = not self._skewed
        if self._skewed:
            way = "ahead of" if ahead_s > 0 else "behind"
            LOG.warning(
                "this machine's clock is %.0f min %s control's: leases don't mind, certificates do; set it",
                abs(ahead_s) / 60,
                way,
            )
        else:
            LOG.info("this machine's clock and control's agree again")

    @staticmethod
    def _check(response: Response) -> bytes:
        status = response.status
        if status == 200:
            return response.data
        if status == 204:
            return b""
        if status == 409:
            raise Rejoin(_retry_s(response.headers))
        said = _said(response)
        if status in (404, 410):
            raise Gone(said)
        if status == 413:
            raise TooLarge(said)
        if status >= 500 or status in (408, 425, 429):
            raise Unreachable(said)
        raise Denied(said)


def _view(response: Response) -> ErrorView | None:
    try:
        return decode(response.data, ErrorAnswer).error
    except DecodeError:
        return None


def _said(response: Response) -> str:
    view = _view(response)
    if view is None:
        return f"{response.status} {response.data[:300].decode('utf-8', 'replace')!r}"
    return f"{response.status} {view.code}: {view.message}{f'; {view.hint}' if view.hint else ''}"


def _retry_s(headers: Mapping[str, str]) -> float:
    exact = headers.get("X-Moyai-Retry-Us", "")
    if exact.isdecimal():
        return int(exact) / 1_000_000
    coarse = headers.get("Retry-After", "")
    return float(coarse) if coarse.isdecimal() else 0.0


__all__ = ["Control", "DecodeError", "Denied", "Gone", "OutputAnswer", "Rejoin", "TooLarge", "Unreachable"]
