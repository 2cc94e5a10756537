"""A guard's line to the agent: over its Unix socket, or over TCP with the attempt's secret; made again when it is gone.

Standard library only.
"""

from __future__ import annotations

import os
import socket

from moyai.agent import local
from moyai.agent.clocks import boot_us
from moyai.agent.guarding.proof import SECRET, Seal, draw, mac, read_secret, same
from moyai.agent.messages import BadMessage, Challenge, Lines, Message, Proof, encode

TRY_US = 1_000_000
"""How long one try may take at most."""
AGAIN_US = 500_000
"""Between two tries."""
WAIT_S = 0.5


class Line:
    """One connection at a time, to the first of `addresses` that answers: "unix:PATH", "tcp:HOST:PORT"."""

    def __init__(self, addresses: list[str], attempt: str, directory: str) -> None:
        """`directory`: of the attempt, with its secret."""
        self._addresses = addresses
        self._attempt = attempt
        self._directory = directory
        self._lines = Lines()
        self._seal: Seal | None = None
        self._early: list[Message] = []
        self._again_us = 0
        self.socket: socket.socket | None = None
        self.problem = "it has no address"

    def connect(self, within_us: int = TRY_US) -> bool:
        """Whether the line is up, tried anew where it is not and the last try was a while ago."""
        if self.socket is not None:
            return True
        now = boot_us()
        if now < self._again_us or within_us <= 0:
            return False
        self._again_us = now + AGAIN_US
        seconds = min(within_us, TRY_US) / 1_000_000 / len(self._addresses or [""])
        for address in self._addresses:
            kind, _, rest = address.partition(":")
            try:
                made = self._dial(kind, rest, seconds)
            except (OSError, BadMessage) as error:
                self.problem = f"{address}: {error}"
                continue
            made.settimeout(WAIT_S)
            self.socket = made
            return True
        return False

    def _dial(self, kind: str, rest: str, seconds: float) -> socket.socket:
        self._lines, self._seal, self._early = Lines(), None, []
        if kind == "unix":
            return local.connect(*os.path.split(os.path.abspath(rest)))
        host, _, port = rest.rpartition(":")
        secret = read_secret(f"{self._directory}/{SECRET}")
        made = socket.create_connection((host, int(port)), timeout=seconds)
        try:
            self._prove(made, secret)
        except (OSError, BadMessage):
            made.close()
            raise
        return made

    def _prove(self, made: socket.socket, secret: bytes) -> None:
        """Show that the secret is known here, and see that it is there."""
        said = _first(made, self._lines)
        if not isinstance(said, Challenge):
            raise BadMessage("the agent did not greet")
        own = draw()
        made.sendall(encode(Proof(self._attempt, own, mac(secret, "guard", said.challenge, own, self._attempt))))
        answer = _first(made, self._lines)
        expected = mac(secret, "agent", said.challenge, own, self._attempt)
        if not isinstance(answer, Proof) or not same(answer.mac, expected):
            raise BadMessage("who answers there is not the agent")
        self._seal = Seal(secret, said.challenge, own, is_agent=False)
        self._lines = Lines(self._seal.unseal)

    def send(self, message: Message) -> bool:
        """Say something. False where the line is down."""
        if self.socket is None:
            return False
        data = encode(message)
        try:
            self.socket.sendall(data if self._seal is None else self._seal.seal(data))
        except OSError:
            self.drop()
            return False
        return True

    def receive(self) -> list[Message]:
        """What has come; waits for half a second at most."""
        if self.socket is None:
            return []
        try:
            data = self.socket.recv(1 << 16)
            if data:
                return list(self._lines.feed(data))
        except TimeoutError:
            return []
        except (OSError, BadMessage) as error:
            if isinstance(error, socket.timeout):  # another class before Python 3.10
                return []
            self.problem = str(error)
        self.drop()
        return []

    def drop(self) -> None:
        """Hang up."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def _first(made: socket.socket, lines: Lines) -> Message:
    """The next message, one at a time. Raises OSError, BadMessage."""
    while data := made.recv(4_096):
        for message in lines.feed(data):
            return message
    raise BadMessage("the agent hung up")
