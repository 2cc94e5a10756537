"""Where the ranks of an attempt were sent: on disk before any of them is, so that a restarted agent finds them."""

import os
from pathlib import Path

import msgspec

NAME = "ssh.json"


class Placed(msgspec.Struct, frozen=True):
    """One start of an attempt."""

    nonce: str
    ranks: dict[str, list[int]]  # machine → its ranks
    boots: dict[str, str]  # machine → which start of it that was
    paths: list[str]  # of files to be kept, below the working directory


def write(place: Path, placed: Placed) -> None:
    """Keep it in an attempt's directory, durably. Raises OSError."""
    temporary = place / f"{NAME}.tmp"
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(placed))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(place / NAME)


def read(place: Path) -> Placed | None:
    """What was written; None where nothing was, or it is damaged: then nothing was sent."""
    try:
        return msgspec.json.decode((place / NAME).read_bytes(), type=Placed)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
