"""The agent's side of guards: under an engine that is not ours each rank asks here for its start and its lease.

Guards come over `guard.sock` in the site's directory, or over TCP with the secret of their attempt.
"""

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Protocol, runtime_checkable

from moyai.agent import local
from moyai.agent.engines.base import Desk, EngineDown
from moyai.agent.guarding.proof import SECRET, Seal, draw, mac, read_secret, same
from moyai.agent.messages import (
    Again,
    BadMessage,
    Began,
    Challenge,
    Claim,
    Claimed,
    Lines,
    Message,
    Over,
    Poke,
    Proof,
    RankEnd,
    Renew,
    Renewed,
    Stop,
    encode,
)
from moyai.agent.places import Places
from moyai.model.ids import AttemptId

LOG = logging.getLogger("moyai.agent")
SOCKET = "guard.sock"
PROVE_S = 5.0
"""How long who comes over TCP may take to show the secret."""
STRANGERS = 256
"""How many may be about that at once: more are hung up on."""
GUARDS = 20_000
"""How many lines may be open."""
MOST_UNREAD = 1 << 20
"""Bytes that a guard may leave unread before its line is dropped."""


@runtime_checkable
class Ranks(Protocol):
    """An engine whose ranks run under guards."""

    @property
    def guards_listen(self) -> str:
        """ "HOST:PORT" where guards of other machines come; "" for none."""
        ...

    def meet(self, guards: "Guards") -> None:
        """Who speaks to the guards."""
        ...

    def granted(self, attempt: AttemptId, nonce: str) -> None:
        """The start `nonce` has the claim."""
        ...

    def began(self, began: Began) -> None:
        """A rank runs; said again on each new line."""
        ...

    def rank_over(self, over: Over) -> None:
        """All of a rank is dead."""
        ...


class _Stream:
    """One guard on its line. `attempt`: the only one it may speak of; "" for any, as it runs as this user."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.attempt = ""
        self.seal: Seal | None = None
        self.lines = Lines()

    def say(self, message: Message) -> None:
        """Send; one that doesn't read what it is told is hung up on."""
        data = encode(message)
        self.writer.write(data if self.seal is None else self.seal.seal(data))
        if self.writer.transport.get_write_buffer_size() > MOST_UNREAD:
            self.writer.transport.abort()


class Guards:
    """Answers claims and renewals, hands on what guards tell, and tells them what the engine wants."""

    def __init__(self, places: Places, desk: Desk, ranks: Ranks | None = None) -> None:
        self._places = places
        self._desk = desk
        self._ranks = ranks
        self._servers: list[asyncio.Server] = []
        self._lines: dict[str, set[_Stream]] = {}  # attempt → the guards of it that said something
        self._open = self._strangers = 0
        if ranks is not None:
            ranks.meet(self)

    async def open(self) -> None:
        """Listen. Raises OSError, EngineDown where the address for other machines can't be had."""
        listening = local.listen(str(self._places.root), SOCKET)
        listening.setblocking(False)
        self._servers.append(await asyncio.start_unix_server(self._serve_here, sock=listening))
        address = self._ranks.guards_listen if self._ranks is not None else ""
        if address:
            host, _, port = address.rpartition(":")
            try:
                self._servers.append(await asyncio.start_server(self._serve_afar, host, int(port), backlog=1_024))
            except OSError as error:
                raise EngineDown(f"can't listen for guards at {address}: {error.strerror or error}") from None

    async def close(self) -> None:
        """Listen no more; guards look for the next agent by themselves."""
        for server in self._servers:
            server.close()

    def tell(self, message: Stop | Poke) -> None:
        """Say it to all guards of its attempt that are on a line now."""
        for stream in list(self._lines.get(message.attempt, ())):
            stream.say(message)

    def count(self, attempt: AttemptId) -> int:
        """How many guards of an attempt are on a line now."""
        return len(self._lines.get(attempt, ()))

    async def _serve_here(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        if local.peer_allowed(connection):
            await self._talk(reader, _Stream(writer))
        else:
            writer.close()

    async def _serve_afar(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._strangers >= STRANGERS:
            writer.transport.abort()
            return
        stream = _Stream(writer)
        self._strangers += 1
        try:
            await asyncio.wait_for(self._prove(reader, stream), PROVE_S)
        except (BadMessage, OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            peer = writer.get_extra_info("peername")
            LOG.warning("who came from %s is no guard of this site: %s", peer, error or type(error).__name__)
            writer.transport.abort()
            return
        finally:
            self._strangers -= 1
        await self._talk(reader, stream)

    async def _prove(self, reader: asyncio.StreamReader, stream: _Stream) -> None:
        """See that the other side knows the secret of its attempt, and show that this one does."""
        own = draw()
        stream.say(Challenge(own))
        said = next(Lines().feed(await reader.readuntil(b"\n")))
        if not isinstance(said, Proof) or not _texts(said.attempt, said.challenge, said.mac):
            raise BadMessage("it does not know what to say")
        try:
            place = self._places.attempt(AttemptId(said.attempt))
            secret = read_secret(str(place / SECRET))
        except (OSError, ValueError):
            raise BadMessage(f"it speaks of {said.attempt[:80]!r}, which is not here") from None
        if not same(said.mac, mac(secret, "guard", own, said.challenge, said.attempt)):
            raise BadMessage(f"it does not know the secret of {said.attempt}")
        stream.say(Proof(said.attempt, own, mac(secret, "agent", own, said.challenge, said.attempt)))
        stream.attempt = said.attempt
        stream.seal = Seal(secret, own, said.challenge, is_agent=True)
        stream.lines = Lines(stream.seal.unseal)

    async def _talk(self, reader: asyncio.StreamReader, stream: _Stream) -> None:
        writer = stream.writer
        spoke: set[str] = set()
        if self._open >= GUARDS:
            LOG.warning("more than %d guards: one is hung up on", GUARDS)
            writer.close()
            return
        self._open += 1
        try:
            while data := await reader.read(1 << 16):
                for message in stream.lines.feed(data):
                    attempt = _checked(message, stream.attempt)
                    if attempt not in spoke and len(spoke) < 16:
                        spoke.add(attempt)
                        self._lines.setdefault(attempt, set()).add(stream)
                    if (answer := await self._answer(message)) is not None:
                        stream.say(answer)
                await writer.drain()
        except BadMessage as error:
            LOG.warning("a guard said what nobody understands: %s", error)
        except OSError as error:
            LOG.info("a guard is gone: %s", error)
        finally:
            self._open -= 1
            for attempt in spoke:
                streams = self._lines[attempt]
                streams.discard(stream)
                if not streams:
                    del self._lines[attempt]
            with suppress(OSError):
                writer.close()

    async def _answer(self, message: Message) -> Message | None:
        match message:
            case Claim():
                if await self._desk.joined():
                    return Again(message.attempt)  # its lease would count from long ago
                attempt = AttemptId(message.attempt)
                grant = await self._desk.claim(attempt, message.nonce, message.ranks)
                if grant.granted and self._ranks is not None:
                    self._ranks.granted(attempt, message.nonce)
                return Claimed(
                    message.attempt, message.nonce, grant.granted, grant.left_us, grant.lease_us, grant.detail
                )
            case Renew():
                left_us, lease_us = self._desk.lease_left_us(message.attempts)
                return Renewed(message.sent_us, left_us, lease_us)
            case Began() if self._ranks is not None:
                self._ranks.began(message)
            case Over() if self._ranks is not None:
                self._ranks.rank_over(message)
            case _:
                raise BadMessage(f"{type(message).__name__} is nothing that a guard says here")
        return None


def _texts(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


def _whole(*values: object) -> bool:
    return all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in values)


def _checked(message: Message, only: str) -> str:
    """The attempt of which a guard speaks. Raises BadMessage where a field is no such thing, or it may not.

    What runs under a guard can speak for it: nothing that it says may do harm to more than its own attempt.
    """
    match message:
        case Claim(attempt, nonce, list() as ranks):
            sound = _texts(attempt, nonce) and _whole(*ranks) and len(ranks) <= 4_096 and len(nonce) <= 128
        case Renew(sent_us, [str() as attempt]):
            sound = _whole(sent_us)
        case Began(attempt, nonce, rank, node, boot, began_us, wall_us, ago_us):
            sound = _texts(attempt, nonce, node, boot) and _whole(rank, began_us, wall_us, ago_us) and ago_us >= 0
        case Over(attempt, nonce, cause, detail, signalled, run_us, wall_us, RankEnd() as end):
            sound = _texts(attempt, nonce, cause, detail) and _whole(signalled, run_us, wall_us, *end) and run_us >= 0
        case _:
            raise BadMessage(f"{type(message).__name__} is nothing that a guard says")
    if not sound or (only and attempt != only):
        raise BadMessage(f"{type(message).__name__} with fields that can't be")
    return attempt
