"""What a guard leaves in its attempt's directory: `rank.<rank>.<nonce>`, its begin and then its end, a line each.

So neither is lost while the agent is away. Standard library only.
"""

from __future__ import annotations

import os

from moyai.agent.messages import BadMessage, Began, Over, decode, encode

SPACE = 4_096
"""Taken before the rank runs, so that a full disk can't swallow how it ended."""


def _name(rank: int, nonce: str) -> str:
    return f"rank.{rank}.{nonce}"


class RankRecord:
    """The record of one rank, as its guard writes it."""

    __slots__ = ("_at", "_fd")

    def __init__(self, directory: str, began: Began) -> None:
        """Write the begin. Raises OSError, ENOSPC among them."""
        path = f"{directory}/{_name(began.rank, began.nonce)}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        data = encode(began)
        self._at = len(data)
        try:
            os.posix_fallocate(self._fd, 0, len(data) + SPACE)
            os.pwrite(self._fd, data, 0)
            os.fsync(self._fd)
        except OSError:
            os.close(self._fd)
            os.unlink(path)
            raise

    def over(self, over: Over) -> None:
        """Write the end, durable. Raises OSError."""
        data = encode(over)
        os.pwrite(self._fd, data, self._at)
        os.ftruncate(self._fd, self._at + len(data))
        os.fsync(self._fd)
        os.close(self._fd)


def read(directory: str, nonce: str) -> list[Began | Over]:
    """What the guards of the start `nonce` left in `directory`, as far as it is whole. Raises OSError."""
    found: list[Began | Over] = []
    for name in sorted(os.listdir(directory)):
        if not name.startswith("rank.") or not name.endswith("." + nonce):
            continue
        with open(f"{directory}/{name}", "rb") as file:
            data = file.read(4 * SPACE)
        for line in data.split(b"\n"):
            try:
                message = decode(line.strip(b"\0"))
            except BadMessage:
                break  # nothing more was written
            if isinstance(message, (Began, Over)):
                found.append(message)
    return found
