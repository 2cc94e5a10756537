"""Start of the archive on a machine: `python3 -I -S moyai-….pyz COMMAND DIRECTORY …`. Standard library only.

relay       bytes between stdin, stdout and the supervisor of the directory, which is started where none lives
supervise   that supervisor
hand        answers to the agent about files, until stdin is closed
put, get, lay    one transfer each: see `files`
"""

import os
import select
import sys
from collections.abc import Sequence

from moyai.agent.supervisor import begin

CHUNK = 1 << 16
FAILED = 9
"""Exit code where a command could not be done; the last line of stderr says why."""


def main(argv: Sequence[str]) -> int:
    """Do a command. Returns its exit code."""
    archive = os.path.abspath(argv[0])
    command, directory, *more = argv[1:]
    code = os.path.basename(archive)
    try:
        if command == "supervise":
            from moyai.agent.supervisor.__main__ import main as supervise

            return supervise(directory, code)
        if command == "relay":
            return relay(directory, [sys.executable, "-I", "-S", archive, "supervise", directory])
        from moyai.agent.remote import files, hand

        if command == "hand":
            return hand.serve(directory)
        return files.transfer(command, directory, more)
    except (begin.NoSupervisor, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return FAILED


def relay(directory: str, argv: Sequence[str]) -> int:
    """Be the line between the agent and the supervisor. Raises NoSupervisor, OSError."""
    connection = begin.connect(directory, argv)
    descriptor = connection.fileno()
    other = {0: descriptor, descriptor: 1}
    while True:
        ready, _, _ = select.select(list(other), [], [])
        for source in ready:
            data = os.read(source, CHUNK)
            if not data:
                return 0
            view = memoryview(data)
            while view:
                view = view[os.write(other[source], view) :]
