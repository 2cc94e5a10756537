"""The loss of a site: everything that runs for it is killed −9, and its directory is deleted."""

import os
import shutil
import signal
from pathlib import Path


def processes_of(home: Path, site: str) -> list[int]:
    """The agent, the supervisor and all work of a local site: whoever works in its directory or was started for it."""
    place, doomed = str(home / "sites" / site), str(_doomed(home, site))
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            environ = (entry / "environ").read_bytes().decode("utf-8", "replace").split("\0")
            cwd = str((entry / "cwd").readlink())
        except OSError:
            continue  # it ended, or is somebody else's
        works = (
            cwd.startswith((place + "/", doomed))
            or cwd == place
            or any(w == place or w.startswith(place + "/") for w in words)
        )
        if works or any(v.partition("=")[2].startswith(place + "/") for v in environ):
            found.append(int(entry.name))
    return sorted(found)


def _doomed(home: Path, site: str) -> Path:
    return home / "sites" / f".{site}.gone"


def destroy(home: Path, site: str) -> int:
    """Kill a local site and delete its directory. Returns how many processes were killed."""
    killed = 0
    place = home / "sites" / site
    doomed = _doomed(home, site)
    pids = processes_of(home, site)
    place.rename(doomed)  # first, so that nothing can be started in it again
    while pids:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        pids = [p for p in processes_of(home, site) if p not in pids]
    shutil.rmtree(doomed)
    return killed
