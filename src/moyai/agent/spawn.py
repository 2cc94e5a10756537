"""Start one process in a session of its own that dies with its parent. Standard library only; about 1 ms.

The caller has a single thread: between fork and exec the child runs Python.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from collections.abc import Sequence
from typing import NoReturn

from moyai.agent.killing import PR_SET_PDEATHSIG

_LIBC = ctypes.CDLL(None)
_OWN_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGCHLD,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
OOM_SCORE = "500"  # where the machine runs out of memory, a rank goes before the program that watches it


_descriptors: tuple[int, int] | None = None  # what a child gets, where this process has raised its own


def raise_descriptors() -> None:
    """Let this process have as many descriptors as it may; what it spawns has what there was before."""
    global _descriptors
    _descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_descriptors[1], _descriptors[1]))


def spawn(
    argv: Sequence[str],
    env: dict[str, str],
    cwd: str,
    output: int | None = None,
    enter: Sequence[str] = (),
) -> int:
    """Run `argv` in `cwd`, stdout and stderr to the descriptor `output` (None: as they are). Returns its pid.

    It leads a session and a group of its own, gets SIGKILL when this process dies, and has entered the cgroups whose
    `cgroup.procs` files are `enter` before it runs. Raises OSError with what failed in the child.
    """
    read_end, write_end = os.pipe()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os.close(read_end)
        os.close(write_end)
        raise
    if pid == 0:
        _child(argv, env, cwd, output, enter=enter, parent=parent, write_end=write_end)
    os.close(write_end)
    problem = os.read(read_end, 4_096)  # nothing, once it has run the program
    os.close(read_end)
    if problem:
        os.waitpid(pid, 0)
        code, _, step = problem.decode("utf-8", "replace").partition(" ")
        raise OSError(int(code), f"{step}: {os.strerror(int(code))}")
    return pid


def _child(
    argv: Sequence[str],
    env: dict[str, str],
    cwd: str,
    output: int | None,
    *,
    enter: Sequence[str],
    parent: int,
    write_end: int,
) -> NoReturn:
    step = "start"
    try:
        os.setsid()
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in _OWN_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if _descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, _descriptors)
        for path in enter:
            step = f"enter {path}"
            _put(path, "0")
        _try_put("/proc/self/oom_score_adj", OOM_SCORE)
        step = "/dev/null"
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        if output is not None:
            os.dup2(output, 1)
            os.dup2(output, 2)
        step = f"change to {cwd}"
        os.chdir(cwd)
        step = f"run {argv[0]}"
        os.execvpe(argv[0], list(argv), env)  # noqa: S606 — the argv is the order
    except OSError as error:
        os.write(write_end, f"{error.errno or errno.EIO} {step}".encode())
    except ValueError:  # a NUL in an argument or in the environment
        os.write(write_end, f"{errno.EINVAL} {step}".encode())
    finally:
        os._exit(127)


def _put(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def _try_put(path: str, text: str) -> None:
    try:
        _put(path, text)
    except OSError:
        return  # a machine that hides the file; nothing depends on it
