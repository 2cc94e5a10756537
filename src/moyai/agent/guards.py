"""The agent's side of guards: under an engine that is not ours each rank asks here for its start and its lease."""

import asyncio
import logging
import socket

from moyai.agent import local
from moyai.agent.engines.base import Desk
from moyai.agent.messages import BadMessage, Claim, Claimed, Lines, Message, Renew, Renewed, encode
from moyai.agent.places import Places
from moyai.model.ids import AttemptId

LOG = logging.getLogger("moyai.agent")
SOCKET = "guard.sock"


class Guards:
    """Answers claims and renewals on `guard.sock` in the site's directory."""

    def __init__(self, places: Places, desk: Desk) -> None:
        self._places = places
        self._desk = desk
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. Raises OSError."""
        listening = local.listen(str(self._places.root), SOCKET)
        listening.setblocking(False)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening)

    async def close(self) -> None:
        """Listen no more; guards look for the next agent by themselves."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            connection: socket.socket = writer.get_extra_info("socket")
            if not local.peer_allowed(connection):
                return
            lines = Lines()
            while data := await reader.read(1 << 16):
                for message in lines.feed(data):
                    writer.write(encode(await self._answer(message)))
                await writer.drain()
        except BadMessage as error:
            LOG.warning("a guard said what nobody understands: %s", error)
        except OSError as error:
            LOG.info("a guard is gone: %s", error)
        finally:
            writer.close()

    async def _answer(self, message: Message) -> Message:
        if isinstance(message, Claim):
            await self._desk.joined()
            grant = await self._desk.claim(AttemptId(message.attempt), message.nonce, message.ranks)
            return Claimed(message.attempt, message.nonce, grant.granted, grant.left_us, grant.lease_us, grant.detail)
        if isinstance(message, Renew):
            left_us, lease_us = self._desk.lease_left_us(message.attempts)
            return Renewed(message.sent_us, left_us, lease_us)
        raise BadMessage(f"{type(message).__name__} is nothing that a guard says")
