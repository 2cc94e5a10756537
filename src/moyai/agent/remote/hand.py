"""The agent's hand on a machine: one JSON line asks, one JSON line answers, and bytes may follow it.

Standard library only. What is asked for may be asked again. An answer is `{"ok": …, "size": bytes that follow}`, or
`{"error": "words"}`.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from moyai.agent import left
from moyai.agent.clocks import boot_id, boot_us
from moyai.agent.laying import CannotPrepare, inherited, shell
from moyai.agent.markers import complete
from moyai.agent.messages import BadMessage, encode
from moyai.agent.remote import files
from moyai.agent.supervisor.record import NAME as RECORD

PIECE = 256 << 10
"""Most bytes of one file in an answer: what one job prints must not hold up the others."""
ANSWER = 4 << 20
"""Most bytes in an answer."""


def serve(directory: str) -> int:
    """Answer until stdin is closed."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    root = Path(directory)
    for line in source:
        data = b""
        try:
            order: dict[str, Any] = json.loads(line)
            told, data = answer(root, order)
            said: dict[str, Any] = {"ok": told, "size": len(data)}
        except (CannotPrepare, files.BadTransfer, BadMessage, ValueError, KeyError) as error:
            said = {"error": str(error) or type(error).__name__}
        except OSError as error:
            said = {"error": f"{error.filename or directory}: {error.strerror or error}"}
        target.write(json.dumps(said, separators=(",", ":")).encode() + b"\n" + data)
        target.flush()
    return 0


def answer(root: Path, order: dict[str, Any]) -> tuple[Any, bytes]:
    """What is said to one order, and the bytes after it. Raises what `serve` words."""
    match order.pop("do"):
        case "hello":
            return _hello(root), b""
        case "look":
            return look(root, order["attempts"])
        case "lay":
            files.lay(root, order)
            return True, b""
        case "gone":
            return _gone(root, order["attempt"], order["nonce"]), b""
        case "has":
            return files.has(root, order["objects"], order["blobs"]), b""
        case "drop":
            for attempt in order["attempts"]:
                shutil.rmtree(files.attempt(root, attempt), ignore_errors=True)
            return True, b""
        case "tidy":
            return files.tidy(root, order["wanted"], order["bytes"]), b""
        case other:
            raise ValueError(f"there is nothing like {other!r}")


def _hello(root: Path) -> dict[str, Any]:
    root.mkdir(parents=True, exist_ok=True)
    names = [entry.name for entry in files.entries(root / "attempts")]
    return {"env": inherited(), "shell": shell(), "boot": boot_id(), "boot_us": boot_us(), "attempts": names}


def _gone(root: Path, attempt: str, nonce: str) -> dict[str, Any]:
    """Its supervisor is dead: kill what is left of a start, and tell what it recorded."""
    killed = left.kill_left(attempt, nonce)
    ended = left.recorded(files.attempt(root, attempt) / RECORD)
    return {"killed": killed, "record": encode(ended).decode() if ended is not None else None}


def look(root: Path, wanted: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], bytes]:
    """What is new of each attempt: output from where the agent has it, and complete checkpoints that it doesn't know.

    `wanted`: attempt → {"outputs": {name: bytes had}, "known": names of checkpoints}. Returns attempt → {"files": names
    and sizes of its outputs now, "pieces": [name, offset, size of the bytes that follow], "complete": [time, name]}.
    """
    told: dict[str, Any] = {}
    data = bytearray()
    for name, had in wanted.items():
        place = files.attempt(root, name)
        there = {e.name: e.stat().st_size for e in files.entries(place) if e.name.startswith("output.")}
        pieces: list[tuple[str, int, int]] = []
        for file, size in there.items():
            offset = had["outputs"].get(file, 0)
            limit = min(PIECE, ANSWER - len(data), size - offset)
            if limit > 0 and (got := _read(place / file, offset, limit)):
                pieces.append((file, offset, len(got)))
                data += got
        told[name] = {"files": there, "pieces": pieces, "complete": complete(place / "ckpt", had["known"])}
    return told, bytes(data)


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return b""  # its piece was dropped: a later one is there
    try:
        return os.pread(descriptor, limit, offset)
    finally:
        os.close(descriptor)
