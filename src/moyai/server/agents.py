"""The agents of the sites on this machine: one process for each, started early, watched, started again when they die.

An agent outlives a server that is killed; the next server finds it by its process id and leaves it at work.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moyai.model.codec import encode
from moyai.model.engine import EngineFile
from moyai.model.ids import SiteName
from moyai.model.site import SiteProfile
from moyai.server.layout import StartTrouble, write_whole

LOOK_S = 0.25
"""How often it is seen whether they live."""
BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before an agent that died is started again; the last repeats."""
STEADY_S = 60.0
"""An agent that lived this long starts its next life without a long pause."""
DYING_S = 2.0
"""An agent that dies so soon after its site was declared dead was dying then."""
END_S = 4.0
"""How long agents may take to end when they are told to."""

_LOG = logging.getLogger("moyai.server")


@dataclass(slots=True)
class _Local:
    """One local site."""

    profile: SiteProfile
    directory: Path
    inode: tuple[int, int]
    child: "subprocess.Popen[bytes] | None" = None  # None: a process that an earlier server started
    pid: int | None = None
    begun: float = 0.0
    deaths: int = 0
    due: float = 0.0  # when it is started again; 0: not to be
    problem: str = ""
    left: bool = False  # not started again
    declared: float = -DYING_S  # when the site was declared dead


class Agents:
    """The agents of local sites. `clock` is monotonic, in seconds."""

    def __init__(self, sites: Path, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._sites = sites
        self._address = address
        self._clock = clock
        self._held: dict[SiteName, _Local] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, profiles: Sequence[SiteProfile], engines: Mapping[SiteName, EngineFile]) -> None:
        """Start an agent for each site, or take up the one that is at work. Raises StartTrouble."""
        for profile in profiles:
            directory = self._sites / profile.name
            file = directory / "agent.json"
            try:
                directory.mkdir(mode=0o700, exist_ok=True)
                changed = _written(directory / "engine.json", encode(engines.get(profile.name, EngineFile())))
                changed |= _written(file, encode(profile))
                found = os.stat(directory)
            except OSError as error:
                raise StartTrouble(f"{error.filename or directory}: can't be used ({error.strerror})") from None
            held = _Local(profile, directory, (found.st_dev, found.st_ino))
            self._held[profile.name] = held
            held.pid = living_agent(directory)
            if held.pid is None:
                self._spawn(held)
            elif changed:
                _signal(held.pid, signal.SIGTERM)  # it knows an older profile; the watch starts the next one
                held.deaths = -1

    def watch(self) -> None:
        """Begin to look after them."""
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="agents")

    def standing(self, site: SiteName) -> tuple[int | None, str]:
        """The process of the site's agent, and why there is none; None and "" for a site elsewhere."""
        held = self._held.get(site)
        return (held.pid, held.problem) if held is not None else (None, "")

    def leave(self, site: SiteName) -> None:
        """The site was declared dead: its agent is not started again."""
        held = self._held.get(site)
        if held is None:
            return
        held.declared = self._clock()
        if not self._lives(held):
            _leave(held)

    async def stop(self) -> None:
        """Tell the agents to end, and see that they do. What runs at their sites is left running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self.end_all()
        end = self._clock() + END_S
        while any(self._lives(h) for h in self._held.values()) and self._clock() < end:
            await asyncio.sleep(0.02)
        for held in self._held.values():
            if self._lives(held) and held.pid is not None:
                _LOG.warning("the agent of %s did not end; it is killed", held.profile.name)
                _signal(held.pid, signal.SIGKILL)

    def end_all(self) -> None:
        """Tell the agents to end."""
        for held in self._held.values():
            held.due = 0.0
            if self._lives(held) and held.pid is not None:
                _signal(held.pid, signal.SIGTERM)

    # -- one of them -----------------------------------------------------------------------------------------------

    def _spawn(self, held: _Local) -> None:
        with (held.directory / "agent.log").open("ab") as log:
            held.child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "moyai.agent",
                    "--dir",
                    str(held.directory),
                    "--control",
                    self._address,
                    "--once-lost",
                    "exit",  # a server that was killed and never started again leaves no agents behind
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at a terminal is for the server, which then tells its agents
                cwd="/",
            )
        held.pid, held.begun, held.due, held.problem = held.child.pid, self._clock(), 0.0, ""

    def _lives(self, held: _Local) -> bool:
        if held.pid is None:
            return False
        if held.child is not None:
            return held.child.poll() is None
        return living_agent(held.directory) == held.pid

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for held in self._held.values():
                self.look_after(held)

    def look_after(self, held: _Local) -> None:
        """See whether one agent lives, and start it again where it is time to."""
        if held.left:
            return
        lives = self._lives(held)
        if not self._there(held):
            if lives and held.pid is not None:
                _signal(held.pid, signal.SIGTERM)  # its journal is gone: it can keep no promise any more
                return
            self._give_up(held)
        elif not lives and held.pid is not None:
            self._died(held)
        elif held.pid is None and held.due and self._clock() >= held.due:
            held.pid = living_agent(held.directory)  # one that an earlier server started a moment before its own end
            if held.pid is not None:
                held.begun, held.due, held.problem = self._clock(), 0.0, ""
                return
            try:
                self._spawn(held)
            except OSError as error:
                held.problem = f"its agent can't be started: {error.strerror}"
                held.due = self._clock() + BACKOFF_S[-1]

    def _there(self, held: _Local) -> bool:
        try:
            found = os.stat(held.directory)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == held.inode

    def _give_up(self, held: _Local) -> None:
        held.pid, held.left, held.due = None, True, 0.0
        held.problem = "its directory is gone; its agent is not started again"
        _LOG.error("site %s: %s", held.profile.name, held.problem)

    def _died(self, held: _Local) -> None:
        if self._clock() - held.declared < DYING_S:
            _leave(held)
            return
        code = held.child.returncode if held.child is not None else None
        lived = self._clock() - held.begun
        held.deaths = 1 if lived > STEADY_S and held.deaths > 0 else held.deaths + 1
        pause = BACKOFF_S[min(held.deaths - 1, len(BACKOFF_S) - 1)] if held.deaths > 0 else 0.0
        how = "ended" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        held.problem = f"its agent {how}; the next one starts within {pause:.0f} s"
        held.pid, held.child, held.due = None, None, self._clock() + pause
        _LOG.warning("site %s: %s; see %s", held.profile.name, held.problem, held.directory / "agent.log")


def _leave(held: _Local) -> None:
    held.pid, held.child = None, None
    held.left, held.due = True, 0.0
    held.problem = "it was declared dead; its agent is not started again"


def living_agent(directory: Path) -> int | None:
    """The agent that works in `directory`, by the process id that it left there, or None."""
    try:
        pid = int((directory / "agent.pid").read_text("ascii").split()[0])
        line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        return None
    ours = b"moyai.agent" in line and os.fsencode(directory) in line
    return pid if ours else None


def _written(path: Path, wanted: bytes) -> bool:
    """Write a file unless it says so already; whether it was written. Raises OSError."""
    if path.exists() and path.read_bytes() == wanted:
        return False
    write_whole(path, wanted)
    return True


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
