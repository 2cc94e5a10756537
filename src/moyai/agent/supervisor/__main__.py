"""Start of the supervisor: `python -I -S <this file> DIRECTORY`. It finds its own modules and imports nothing else."""

import fcntl
import os
import sys

PID = "supervisor.pid"


def main(directory: str, code: str = "") -> int:
    """Run the supervisor of a site's directory. Returns 3 where another one has it already.

    `code`: what it was started from, where that is an archive.
    """
    directory = os.path.abspath(directory)
    pid_file = os.open(f"{directory}/{PID}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 3
    os.ftruncate(pid_file, 0)
    os.write(pid_file, f"{os.getpid()}\n".encode())

    from moyai.agent import killing
    from moyai.agent.spawn import raise_descriptors
    from moyai.agent.supervisor.loop import Supervisor
    from moyai.agent.supervisor.memory import MemoryGroups

    killing.prctl(killing.PR_SET_CHILD_SUBREAPER, 1)
    raise_descriptors()
    place = os.stat(directory)
    memory = MemoryGroups(f"moyai-{place.st_dev:x}-{place.st_ino:x}")
    Supervisor(directory, memory, code).run()
    memory.close()
    return 0


if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(__file__ + "/../../../.."))
    sys.exit(main(sys.argv[1]))
