"""The agent of one site as a process: `python -m moyai.agent --dir DIR --control unix:PATH`.

It may be killed at any moment and started again: what runs goes on, and its journal says where it stood.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from moyai.agent.core.core import AgentCore
from moyai.agent.core.journal import ForeignJournal
from moyai.agent.engines.base import Engine, EngineDown
from moyai.agent.engines.host.engine import HostEngine
from moyai.agent.journal import Journal, JournalTrouble
from moyai.agent.places import Places
from moyai.model.codec import DecodeError, decode, encode
from moyai.model.site import SiteProfile

if TYPE_CHECKING:
    from moyai.agent.shell import Shell

LOG = logging.getLogger("moyai.agent")
LOG_BYTES, LOG_FILES = 2 << 20, 2
PROFILE, PID = "agent.json", "agent.pid"
LOST_FOR_S = 5.0
"""With `--once-lost exit`: how long there must be neither a lease nor work before the agent leaves."""
NEVER_JOINED_S = 60.0


class CannotRun(Exception):
    """The agent can't start; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent until SIGTERM. Returns 2 where it can't start, 1 where it broke."""
    parser = argparse.ArgumentParser("moyai agent", description="The agent of one site.")
    parser.add_argument("--dir", type=Path, required=True, help="the site's directory; made where it isn't there")
    parser.add_argument("--profile", type=Path, help="the site's profile as JSON; DIR/agent.json if left out")
    parser.add_argument("--control", required=True, help="the control plane: unix:PATH")
    parser.add_argument(
        "--once-lost",
        choices=("stay", "exit"),
        default="stay",
        help="leave once the control plane is gone, the lease is over and nothing runs",
    )
    chosen = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        places = Places(chosen.dir)
        places.root.mkdir(parents=True, exist_ok=True)
        lock = _lock(places)
        profile = _profile(places, chosen.profile)
        _log_to(places.log)
        try:
            return asyncio.run(_run(places, profile, chosen.control, leave=chosen.once_lost == "exit"))
        finally:
            os.close(lock)
    except (CannotRun, EngineDown, ForeignJournal, JournalTrouble, ValueError) as error:
        print(f"moyai agent: {error}", file=sys.stderr)
    except OSError as error:
        print(f"moyai agent: {error.filename or chosen.dir}: {error.strerror or error}", file=sys.stderr)
    return 2


def _lock(places: Places) -> int:
    """Hold the directory as long as this process lives. Raises CannotRun where another agent has it."""
    descriptor = os.open(places.root / PID, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise CannotRun(f"{places.root} has an agent already: process {pid}") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _profile(places: Places, given: Path | None) -> SiteProfile:
    """The profile that was given, kept in the directory, or the one that is kept. Raises CannotRun, OSError."""
    kept = places.root / PROFILE
    source = given or kept
    try:
        profile = decode(source.read_bytes(), SiteProfile)
    except FileNotFoundError:
        raise CannotRun(f"{source} is not there; give the site's profile by --profile FILE") from None
    except DecodeError as error:
        raise CannotRun(f"{source} is no site profile: {error}") from None
    if profile.engine != "host":
        raise CannotRun(f"{source}: there is no engine {profile.engine!r} in this version; known: host")
    temporary = kept.with_suffix(".tmp")
    temporary.write_bytes(encode(profile))
    temporary.replace(kept)
    return profile


def _log_to(path: Path) -> None:
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for noisy in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


async def _run(places: Places, profile: SiteProfile, address: str, *, leave: bool) -> int:
    """Serve until a signal or a failure. The supervisor starts while the heavier modules are read."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    engine: Engine = HostEngine(profile, places)
    opening = asyncio.create_task(engine.open())
    await asyncio.sleep(0)
    from moyai.agent.control import Control
    from moyai.agent.exchange import Exchange
    from moyai.agent.guards import Guards
    from moyai.agent.shell import Shell

    journal = Journal(places.journal)
    await opening
    core = AgentCore.restore(profile.name, journal.entries(), os.urandom(8).hex(), engine.capabilities)
    shell = Shell(core, places, journal, engine, Control(address, profile.name))
    loop.set_exception_handler(lambda _, context: _broken(shell, context))
    LOG.info("agent of %s, process %d, capabilities: %s", profile.name, os.getpid(), ", ".join(engine.capabilities))
    guards = Guards(places, shell)
    waits = [asyncio.ensure_future(told.wait()), shell.failure]
    try:
        await guards.open()
        await shell.begin()
        shell.spawn(Exchange(shell).run(), "exchange")
        if leave:
            waits.append(asyncio.ensure_future(_lost(shell)))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if shell.failure.done():
            LOG.critical("the agent broke and leaves", exc_info=shell.failure.exception())
            return 1
        LOG.info("the agent leaves; what runs goes on")
        return 0
    finally:
        for wait in waits:
            wait.cancel()
        await guards.close()
        await shell.close()


def _broken(shell: "Shell", context: dict[str, object]) -> None:
    error = context.get("exception")
    LOG.error("%s", context.get("message"), exc_info=error if isinstance(error, BaseException) else None)
    if isinstance(error, Exception) and not isinstance(error, OSError):
        shell.fail(error)


async def _lost(shell: "Shell") -> None:
    """Returns once there has been neither a lease nor claimed work for a while."""
    from moyai.agent.shell import boot

    loop = asyncio.get_running_loop()
    since = began = loop.time()
    while True:
        await asyncio.sleep(0.5)
        busy = any(held.claimed for held in shell.core.attempts.values())
        if busy or shell.core.lease_left_us(boot()) > 0 or not (shell.lease_us or loop.time() - began > NEVER_JOINED_S):
            since = loop.time()
        elif loop.time() - since > LOST_FOR_S:
            LOG.info("the control plane is gone and nothing runs")
            return
