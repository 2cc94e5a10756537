"""Finding the supervisor of a directory, and starting one where none lives. Standard library only."""

import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Sequence

from moyai.agent import local

SOCKET = "supervisor.sock"
PID = "supervisor.pid"
LOG = "supervisor.log"
LOG_BYTES = 1 << 20
START_S = 20.0
"""How long a new supervisor may take to listen."""
START_AGAIN_S = 0.5
"""Between two starts, where a supervisor dies at once."""


class NoSupervisor(Exception):
    """None lives in the directory, and none could be started; the message says why."""


def alive(directory: str) -> bool:
    """Whether a supervisor lives: it holds the lock on its pid file as long as it does. Raises OSError."""
    descriptor = os.open(f"{directory}/{PID}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def start(directory: str, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start one by `argv`, in a session of its own; what it has to say goes to its log. Raises OSError."""
    with open(f"{directory}/{LOG}", "ab") as log:
        if log.tell() > LOG_BYTES:
            log.truncate(0)
        return subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )


def connect(directory: str, argv: Sequence[str]) -> socket.socket:
    """A connection to the supervisor that lives, or to one started by `argv`. Raises NoSupervisor."""
    deadline = time.monotonic() + START_S
    start_at = 0.0
    process: subprocess.Popen[bytes] | None = None
    while True:
        try:
            return local.connect(directory, SOCKET)
        except OSError as error:
            if time.monotonic() > deadline:
                raise NoSupervisor(f"no supervisor in {directory}: {error}; see {LOG} there") from None
        running = process is not None and process.poll() is None  # it may not have come to its lock yet
        if time.monotonic() >= start_at and not running and not alive(directory):
            process = start(directory, argv)
            start_at = time.monotonic() + START_AGAIN_S
        time.sleep(0.01)
