"""This machine: its Python, its kernel, and what bubblewrap and cgroups can do on it."""

import os
import platform
import sys

from moyai.agent.doctor.check import Check, bad, ok, warn
from moyai.agent.doctor.clock import check_boot_clock
from moyai.agent.engines.host import mounts
from moyai.agent.supervisor.memory import MemoryGroups

LEAST_PYTHON = (3, 11)


def check_machine() -> list[Check]:
    """What every part of Moyai needs of a machine."""
    return [check_python(), check_platform(), check_boot_clock()]


def check_host(bwrap: str | None = None) -> list[Check]:
    """What the host engine uses of a machine beside that. `bwrap`: the program to try; None for the system's."""
    return [check_bubblewrap(mounts.find() if bwrap is None else bwrap), check_cgroups()]


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Whether this Python is new enough."""
    said = ".".join(map(str, version))
    if version < LEAST_PYTHON:
        return bad("python", "python-old", version=said, least=".".join(map(str, LEAST_PYTHON)))
    return ok("python", "python-fine", version=said, path=sys.executable)


def check_platform(system: str = sys.platform) -> Check:
    """Whether this is Linux: cgroups, bubblewrap and CLOCK_BOOTTIME are its own."""
    if system != "linux":
        return bad("platform", "platform-other", system=system)
    return ok("platform", "platform-fine", system=f"Linux {platform.release()}, {platform.machine()}")


def check_bubblewrap(bwrap: str) -> Check:
    """Whether `bwrap` can make a mount here; without it no job that mounts a dataset can run."""
    if not bwrap:
        return warn("bubblewrap", "bubblewrap-none")
    if not os.access(bwrap, os.X_OK):
        return warn("bubblewrap", "bubblewrap-missing", path=bwrap)
    if not mounts.works(bwrap):
        return warn("bubblewrap", "bubblewrap-refused", path=bwrap)
    return ok("bubblewrap", "bubblewrap-works", path=bwrap)


def check_cgroups() -> Check:
    """Whether a memory limit holds, tried on a group of our own."""
    groups = MemoryGroups(f"moyai-doctor-{os.getpid()}")
    groups.close()
    if not groups.kind:
        return warn("cgroups", "cgroups-none")
    return ok("cgroups", "cgroups-work", kind={"cgroup1": "v1", "cgroup2": "v2"}[groups.kind])
