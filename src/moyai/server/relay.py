"""Questions to the sites: asks wait for the site's next poll, answers come back by their number. Nothing is logged.

Everything is bounded: asks of a site, bytes of an answer, and the time that anybody waits.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from moyai.control.core import Control
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.exchange import Ask, AskKind
from moyai.model.ids import SiteName
from moyai.server.answers import ApiError

PIECE_BYTES = 4 * 1024 * 1024
"""Of one answer at most."""
ASKS_OF_A_SITE = 64
"""That may be open at once; one more is refused with 503."""
ANSWER_S = 15.0
"""How long a site may take to answer."""
AGAIN_S = 4.0
"""An ask that was handed out and not answered is handed out again after this long: the poll's answer may be lost."""

HELD_US = 3_000_000
"""How long a site may hold an answer: shorter than AGAIN_S, so that none is asked twice for its patience."""


class AnswerStatus(StrEnum):
    """What a site says to an ask."""

    OK = "ok"
    GONE = "gone"  # it has no such thing, or not any more
    ERROR = "error"  # it could not read it; the bytes say why


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes from a site, and where they end."""

    status: AnswerStatus
    data: bytes
    eof: bool
    total: int  # bytes there in all, as far as the site knows
    left_out: int = 0  # bytes that its bound on output dropped
    offset: int | None = None  # where the bytes begin, where that is not what was asked for


@dataclass(slots=True)
class _Open:
    ask: Ask
    answered: asyncio.Future[Answer]
    handed_at: float = -1e9


@dataclass(slots=True)
class _Site:
    asks: dict[str, _Open] = field(default_factory=dict[str, _Open])
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Relay:
    """The open asks, and the bells that wake the polls of the sites."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._count = 0
        self._sites: dict[SiteName, _Site] = {}

    def _site(self, site: SiteName) -> _Site:
        return self._sites.setdefault(site, _Site())

    async def ask(
        self, site: SiteName, kind: AskKind, subject: str, *, file: int, offset: int, limit: int, wait_us: int = 0
    ) -> Answer:
        """Ask a site, and wait for its answer. Raises ApiError: too many asks, or none came in time.

        `wait_us`, at most HELD_US, lets the site hold its answer while there is no output yet.
        """
        held = self._site(site)
        if len(held.asks) >= ASKS_OF_A_SITE:
            raise ApiError(503, f"{ASKS_OF_A_SITE} questions to {site} are open already", "try again in a moment")
        self._count += 1
        ask = Ask(
            f"{self._epoch}-{self._count}", kind, subject, file, offset, min(limit, PIECE_BYTES), min(wait_us, HELD_US)
        )
        opened = _Open(ask, asyncio.get_running_loop().create_future())
        held.asks[ask.ask] = opened
        held.wake.set()
        loop = asyncio.get_running_loop()
        again = [loop.call_later(n * AGAIN_S + 0.05, held.wake.set) for n in range(1, int(ANSWER_S / AGAIN_S) + 1)]
        try:
            async with asyncio.timeout(ANSWER_S):
                return await opened.answered
        except TimeoutError:
            raise ApiError(504, f"{site} did not answer within {ANSWER_S:.0f} s", "is its agent there?") from None
        finally:
            for timer in again:
                timer.cancel()
            del held.asks[ask.ask]

    def open_asks(self, site: SiteName) -> tuple[Ask, ...]:
        """The asks that the site should get now; they count as handed out."""
        now = asyncio.get_running_loop().time()
        due = [o for o in self._site(site).asks.values() if now - o.handed_at >= AGAIN_S]
        for opened in due:
            opened.handed_at = now
        return tuple(o.ask for o in due)

    def answered(self, site: SiteName, ask: str, answer: Answer) -> bool:
        """A site's answer. False where nobody waits for it any more."""
        held = self._sites.get(site)
        opened = held.asks.get(ask) if held is not None else None
        if opened is None or opened.answered.done():
            return False
        opened.answered.set_result(answer)
        return True

    def lost(self, site: SiteName) -> None:
        """The site is lost: whoever waits for an answer of it is told at once."""
        for opened in self._site(site).asks.values():
            if not opened.answered.done():
                opened.answered.set_exception(ApiError(502, f"{site} was lost before it answered"))

    def bell(self, site: SiteName) -> asyncio.Event:
        """What rings when there is something for the site: clear it, look, then wait for it."""
        return self._site(site).wake

    def ring(self, site: SiteName) -> None:
        """Wake the polls of a site."""
        if (held := self._sites.get(site)) is not None:
            held.wake.set()

    def ring_all(self) -> None:
        """Wake all polls."""
        for held in self._sites.values():
            held.wake.set()


def sites_told(control: Control, records: Sequence[Record]) -> set[SiteName]:
    """The sites for which durable records hold a command, or a change of their own standing."""
    told: set[SiteName] = set()
    for record in records:
        match record.body:
            case e.AttemptIssued():
                told.add(record.body.placement.site)
            case e.AttemptStopRequested():
                attempt = control.state.attempts.get(record.body.attempt)
                if attempt is not None:
                    told.add(attempt.site)
            case e.TransferIssued():
                told.add(record.body.target)
            case (
                e.DatasetRegistered()
                | e.ReplicaDropRequested()
                | e.SiteLost()
                | e.SiteJoined()
                | e.CertificateRevoked()
            ):
                told.add(record.body.site)
            case _:
                pass
    return told
