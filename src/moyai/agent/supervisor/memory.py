"""Memory limits by cgroups, version 1 or 2, where this user may make some. Nothing is claimed that was not tried."""

import mmap
import os
import signal
import time

_PROBE_LIMIT = 16 << 20
_PROBE_USES = 64 << 20


class MemoryGroups:
    """Makes one cgroup for each rank that has a limit. `kind` is "cgroup1", "cgroup2", or "" where none can be made."""

    def __init__(self, name: str) -> None:
        """`name`: of the group that holds this site's; unique on the machine."""
        self.kind = ""
        self._root = ""
        for kind, base in _candidates():
            if self._try(kind, f"{base}/{name}"):
                return

    def make(self, name: str, limit_bytes: int) -> str:
        """The directory of a new group that holds `limit_bytes` of memory at most. Raises OSError."""
        assert self.kind
        if not os.path.isdir(self._root):
            os.mkdir(self._root)
            if self.kind == "cgroup2":
                _put(f"{self._root}/cgroup.subtree_control", "+memory")
        path = f"{self._root}/{name}"
        os.makedirs(path, exist_ok=True)
        if self.kind == "cgroup1":
            _put(f"{path}/memory.limit_in_bytes", limit_bytes)
            if os.path.exists(f"{path}/memory.memsw.limit_in_bytes"):
                _put(f"{path}/memory.memsw.limit_in_bytes", limit_bytes)
        else:
            _put(f"{path}/memory.max", limit_bytes)
            if os.path.exists(f"{path}/memory.swap.max"):
                _put(f"{path}/memory.swap.max", 0)
        return path

    def killed(self, path: str) -> bool:
        """Whether the kernel has killed something in the group for want of memory."""
        name = "memory.oom_control" if self.kind == "cgroup1" else "memory.events"
        try:
            with open(f"{path}/{name}", encoding="ascii") as file:
                counts = dict(line.split() for line in file)
        except (OSError, ValueError):
            return False
        return int(counts.get("oom_kill", "0")) > 0

    @staticmethod
    def pids(path: str) -> list[int]:
        """What is in the group, wherever else it fled; no zombies."""
        try:
            with open(f"{path}/cgroup.procs", encoding="ascii") as file:
                return [int(line) for line in file]
        except OSError:
            return []

    def remove(self, path: str) -> bool:
        """Delete a group, and with the last one what holds them. False where something in it still dies: try again."""
        gone = _rmdir(path)
        if gone and path != self._root:
            _rmdir(self._root)
        return gone

    def close(self) -> None:
        """Delete what is left of this site's groups, from an earlier supervisor that was killed too."""
        if self._root and os.path.isdir(self._root):
            for entry in os.listdir(self._root):
                if os.path.isdir(f"{self._root}/{entry}"):
                    self.remove(f"{self._root}/{entry}")
            _rmdir(self._root)

    def _try(self, kind: str, root: str) -> bool:
        self.kind, self._root = kind, root
        self.close()
        try:
            path = self.make("probe", _PROBE_LIMIT)
        except OSError:
            self.close()
            self.kind = self._root = ""
            return False
        proven = _overruns(path) and self.killed(path)
        deadline = time.monotonic() + 1
        while not self.remove(path) and time.monotonic() < deadline:
            time.sleep(0.002)
        if not proven:
            self.close()
            self.kind = self._root = ""
        return proven


def _candidates() -> list[tuple[str, str]]:
    """(kind, directory below which groups could be made) by where this process is."""
    found: list[tuple[str, str]] = []
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found.append(("cgroup1", f"/sys/fs/cgroup/memory{path.rstrip('/')}"))
        elif controllers == "" and os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            found.append(("cgroup2", f"/sys/fs/cgroup{path.rstrip('/')}"))
    return [(kind, base) for kind, base in found if os.access(base, os.W_OK)]


def _overruns(path: str) -> bool:
    """Whether a process in the group that uses more than its limit is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            _put(f"{path}/cgroup.procs", 0)
            memory = mmap.mmap(-1, _PROBE_USES)
            for offset in range(0, _PROBE_USES, mmap.PAGESIZE):
                memory[offset] = 1
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _rmdir(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _put(path: str, value: int | str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)
