"""The output of attempts, as the supervisor left it on disk: read from any offset, what is left out counted."""

import os
from dataclasses import dataclass
from pathlib import Path

from moyai.agent.supervisor.record import NAME as RECORD

TRIES = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an output from `offset` on, which is later than asked for where what was asked for is left out."""

    offset: int
    data: bytes
    total: int  # bytes that were printed so far
    left_out: int  # of them, those that aren't kept
    eof: bool  # nothing comes after `data`


class NoOutput(Exception):
    """No output of that attempt lies here (any more)."""


def read_output(directory: Path, rank: int, offset: int, limit: int) -> Piece:
    """At most `limit` bytes from `offset` of what `rank` printed. Raises NoOutput, OSError."""
    for _ in range(TRIES):
        ended = (directory / RECORD).exists()  # looked at first: what is printed before an end is there at the end
        try:
            return _read(directory, rank, offset, limit, ended)
        except FileNotFoundError:
            if not directory.is_dir():
                raise NoOutput(f"no output of {directory.name} is kept here") from None
    raise NoOutput(f"the output of {directory.name} changes too fast to be read")


def _read(directory: Path, rank: int, offset: int, limit: int, ended: bool) -> Piece:
    pieces = _pieces(directory, rank)
    total = max((start + size for start, size, _ in pieces), default=0)
    left_out = total - sum(size for _, size, _ in pieces)
    for start, size, path in pieces:
        if offset < start + size:
            begin = max(offset, start)
            descriptor = os.open(path, os.O_RDONLY)
            try:
                data = os.pread(descriptor, max(0, limit), begin - start)
            finally:
                os.close(descriptor)
            return Piece(begin, data, total, left_out, ended and begin + len(data) >= total)
    return Piece(min(offset, total), b"", total, left_out, ended)


def _pieces(directory: Path, rank: int) -> list[tuple[int, int, str]]:
    """(offset, size, path) of each piece, ascending."""
    name = f"output.{rank}"
    found: list[tuple[int, int, str]] = []
    with os.scandir(directory) as scan:
        for entry in scan:
            if entry.name == name:
                found.append((0, entry.stat().st_size, entry.path))
            elif entry.name.startswith(name + ".") and entry.name[len(name) + 1 :].isdecimal():
                found.append((int(entry.name[len(name) + 1 :]), entry.stat().st_size, entry.path))
    return sorted(found)
