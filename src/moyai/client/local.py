"""Finding the server of a directory, and starting one where there is none."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from moyai.client.errors import MoyaiError

READY_WITHIN_S = 20.0
"""How long a started server may take until it answers; a log of a million events is read in less."""
_POLL_S = 0.02
_TAIL_BYTES = 4_000


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server of this machine listens, by its own word."""

    pid: int
    socket: str
    url: str  # of the console; "" where it has none


def directory(given: Path | str | None = None) -> Path:
    """The directory that is meant: `given`, else $MOYAI_DIR, else ~/.moyai. Absolute; it need not exist."""
    chosen = given or os.environ.get("MOYAI_DIR") or Path.home() / ".moyai"
    return Path(os.path.abspath(Path(chosen).expanduser()))


def address(home: Path) -> Address | None:
    """What the server of `home` wrote about itself, or None. It may be gone since: only an answer proves it."""
    try:
        said = json.loads((home / "server.json").read_bytes())
        return Address(int(said["pid"]), str(said["socket"]), str(said.get("url") or ""))
    except FileNotFoundError:
        return None
    except PermissionError:
        raise MoyaiError(
            "unreachable",
            "its server.json can't be read",
            "the directory belongs to another user; choose one of your own by --dir or $MOYAI_DIR",
            str(home),
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # half written by a server that starts just now


def answers(found: Address) -> bool:
    """Whether a server is there now: its socket takes a connection and speaks HTTP."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(found.socket)
            probe.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return probe.recv(12).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


def start(home: Path) -> Address:
    """Start a local server on `home` as a session of its own, and wait until it answers.

    When another server takes the directory first, that one is used. Raises MoyaiError "start-failed" with what the
    server said.
    """
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "moyai.server", "--dir", str(home), "--local"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise MoyaiError(
                "start-failed", f"the server could not be started: {error.strerror}", where=str(home)
            ) from None
        deadline = time.monotonic() + READY_WITHIN_S
        ended_at = 0.0
        while time.monotonic() < deadline:
            found = address(home)
            if found is not None and answers(found):
                return found
            code = process.poll()
            if code is not None:
                # Another server may have taken the lock first: give it a moment before this end counts.
                ended_at = ended_at or time.monotonic()
                if found is None or time.monotonic() - ended_at > 1.0:
                    raise _failed(home, _tail(said), code)
            time.sleep(_POLL_S)
        raise MoyaiError(
            "start-failed",
            f"the server did not answer within {READY_WITHIN_S:.0f} s",
            f"see {home / 'server.log'}",
            str(home),
        )


def _failed(home: Path, said: str, code: int) -> MoyaiError:
    lines = [line for line in said.splitlines() if line.strip()]
    message = lines[0] if lines else f"the server ended at once with exit code {code}"
    if message.startswith("Traceback"):
        message, lines = lines[-1], []
    return MoyaiError("start-failed", message, "\n".join(lines[1:]) or f"see {home / 'server.log'}", "")


def _tail(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _TAIL_BYTES))
    return said.read().decode("utf-8", "replace")
