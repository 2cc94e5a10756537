"""How a guard and its agent trust each other over TCP: both know the attempt's secret. Standard library only.

Nobody else can speak on such a line, nor repeat or leave out what was said; what is said can be read by others.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from moyai.agent.messages import BadMessage

SECRET = "secret"  # noqa: S105 — the name of a file
"""The file in an attempt's directory, mode 0600."""
LEAST_SECRET = 32


def draw() -> str:
    """A challenge, or a secret: 256 bits."""
    return os.urandom(32).hex()


def read_secret(path: str) -> bytes:
    """The secret in a file. Raises OSError, BadMessage where it is none."""
    with open(path, "rb") as file:
        secret = file.read(256).strip()
    if len(secret) < LEAST_SECRET:
        raise BadMessage(f"{path} holds no secret")
    return secret


def mac(secret: bytes, *parts: str) -> str:
    """The mark that whoever knows `secret` puts on `parts`."""
    return hmac.new(secret, "\0".join(parts).encode(), hashlib.sha256).hexdigest()


def same(a: str, b: str) -> bool:
    """Whether two marks are the same; takes as long for any."""
    return hmac.compare_digest(a.encode("utf-8", "replace"), b.encode("utf-8", "replace"))


class Seal:
    """Marks the lines of one direction, and checks those of the other, each by its number."""

    __slots__ = ("_key", "_mine", "_received", "_sent", "_theirs")

    def __init__(self, secret: bytes, agents: str, guards: str, *, is_agent: bool) -> None:
        """`agents`, `guards`: the two challenges of this line."""
        self._key = mac(secret, "line", agents, guards).encode()
        self._mine, self._theirs = ("agent", "guard") if is_agent else ("guard", "agent")
        self._sent = self._received = 0

    def seal(self, line: bytes) -> bytes:
        """`line`, which ends in a newline, with its mark before it."""
        mark = mac(self._key, self._mine, str(self._sent), line[:-1].decode())
        self._sent += 1
        return mark.encode() + b" " + line

    def unseal(self, line: bytes) -> bytes:
        """What was sealed. Raises BadMessage where it was not, or not as the next one."""
        try:
            mark, _, text = line.decode().partition(" ")
        except UnicodeDecodeError:
            raise BadMessage("a line that is no text") from None
        if not same(mark, mac(self._key, self._theirs, str(self._received), text)):
            raise BadMessage("a line that its sender did not seal")
        self._received += 1
        return text.encode()
