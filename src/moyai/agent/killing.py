"""Finding and killing everything that belongs to an attempt, setsid children too. Standard library only.

A process belongs to an attempt if its environment carries the attempt's marks, if it is in the session or the group of
one of its ranks, or if it descends from one that does. What scrubs its environment *and* was cut off from its parent
before anybody looked escapes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def marks(attempt: str, nonce: str) -> tuple[bytes, ...]:
    """The entries of the environment that mark a process as one of this start of this attempt."""
    return (f"MOYAI_ATTEMPT={attempt}".encode(), f"MOYAI_NONCE={nonce}".encode())


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument. Raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def marked(pid: int, wanted: Iterable[bytes]) -> bool:
    """Whether the environment of `pid`, as it was at its exec, holds all of `wanted`."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = b"\0" + file.read() + b"\0"
    except OSError:
        return False
    return all(b"\0" + entry + b"\0" in environ for entry in wanted)


def _stat(pid: int) -> tuple[str, int, int, int] | None:
    """(state, parent, group, session) of a process, or None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except OSError:
        return None
    fields = data[data.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3])


def belongs(pid: int, wanted: tuple[bytes, ...], sessions: Collection[int] = ()) -> bool:
    """Whether `pid` is alive and marked with all of `wanted`, or in one of `sessions`."""
    stat = _stat(pid)
    if stat is None or stat[0] in "ZX":
        return False
    return stat[2] in sessions or stat[3] in sessions or (bool(wanted) and marked(pid, wanted))


def _table() -> dict[int, tuple[str, int, int, int]]:
    """pid → (state, parent, group, session) of every process but this one."""
    me = os.getpid()
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return {pid: stat for pid in pids if pid != me and (stat := _stat(pid)) is not None}


def _family(table: dict[int, tuple[str, int, int, int]], roots: Iterable[int]) -> list[int]:
    """The living among `roots` and all that descends from them."""
    children: dict[int, list[int]] = {}
    for pid, stat in table.items():
        children.setdefault(stat[1], []).append(pid)
    found = set(roots)
    todo = list(found)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return sorted(pid for pid in found if pid in table and table[pid][0] not in "ZX")


def members(wanted: tuple[bytes, ...], sessions: Collection[int] = ()) -> list[int]:
    """The living processes of an attempt: marked with all of `wanted`, in one of `sessions`, or descended from such."""
    table = _table()
    return _family(
        table,
        [
            pid
            for pid, (state, _, group, session) in table.items()
            if state not in "ZX" and (group in sessions or session in sessions or (wanted and marked(pid, wanted)))
        ],
    )


def descendants(roots: Iterable[int]) -> list[int]:
    """The living among `roots` and all that descends from them."""
    return _family(_table(), roots)


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL to each; those that are gone already are passed over."""
    for pid in pids:
        send(pid, signal.SIGKILL)


def send(pid: int, number: int) -> bool:
    """Send a signal to a process, or to a group where `pid` is negative. False where it is gone or isn't ours."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    except OSError:
        pass
    return False


def own_children() -> list[int]:
    """The children of this (single-threaded) process, zombies included, orphans that it adopted too."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without that file
        me = os.getpid()
        pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
        return [pid for pid in pids if (stat := _stat(pid)) is not None and stat[1] == me]
