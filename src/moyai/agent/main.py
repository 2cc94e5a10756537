"""The agent of one site as a process: `python -m moyai.agent --dir DIR --control ADDRESS`.

ADDRESS is unix:PATH on the control plane's machine, https://HOST:PORT from another, once the site has joined.

It may be killed at any moment and started again: what runs goes on, and its journal says where it stood.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from moyai.agent.core.core import AgentCore
from moyai.agent.core.journal import ForeignJournal
from moyai.agent.engines.base import Engine, EngineDown
from moyai.agent.engines.registry import ENGINE_FILE, KNOWN, make_engine, read_settings
from moyai.agent.identity import Identity, NoIdentity
from moyai.agent.journal import Journal, JournalTrouble
from moyai.agent.listening import listen_at, parse_address
from moyai.agent.places import Places
from moyai.agent.tracing import Traces, open_traces
from moyai.model.codec import DecodeError, decode, encode
from moyai.model.ids import SiteName
from moyai.model.site import SiteProfile
from moyai.trust.io.private import write_private

if TYPE_CHECKING:
    from moyai.agent.control import Control
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
    parser.add_argument(
        "--control",
        required=True,
        action="append",
        metavar="ADDRESS",
        help="the control plane: unix:PATH or https://HOST:PORT; again for others that share its log",
    )
    parser.add_argument(
        "--once-lost",
        choices=("stay", "exit"),
        default="stay",
        help="leave once the control plane is gone, the lease is over and nothing runs",
    )
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", help="serve /metrics and /healthz there too, to anybody who asks"
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
            watched = _watched_at(chosen.metrics)
            return asyncio.run(_run(places, profile, chosen.control, watched, leave=chosen.once_lost == "exit"))
        finally:
            os.close(lock)
    except (CannotRun, EngineDown, ForeignJournal, JournalTrouble, NoIdentity, ValueError) as error:
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
    if profile.engine not in KNOWN:
        raise CannotRun(f"{source}: there is no engine {profile.engine!r} in this version; known: {', '.join(KNOWN)}")
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


def _watched_at(address: str | None) -> socket.socket | None:
    """A socket for those who read the metrics. Raises CannotRun, ValueError."""
    if address is None:
        return None
    try:
        return listen_at(*parse_address(address))
    except OSError as error:
        raise CannotRun(f"--metrics {address}: can't listen there ({error.strerror or error})") from None


def _identity(places: Places, profile: SiteProfile, addresses: Sequence[str]) -> Identity | None:
    """What this site shows to control planes on other machines. Raises CannotRun, NoIdentity."""
    if not any(address.startswith("https:") for address in addresses):
        return None
    found = Identity(places.identity).load()
    if found.about.site != profile.name:
        raise CannotRun(f"{found.directory} holds the certificate of {found.about.site}, not of {profile.name}")
    return found


async def _run(
    places: Places, profile: SiteProfile, addresses: Sequence[str], watched_at: socket.socket | None, *, leave: bool
) -> int:
    """Serve until a signal or a failure. The supervisor starts while the heavier modules are read."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    identity = _identity(places, profile, addresses)
    engine: Engine = make_engine(profile, read_settings(places.root / ENGINE_FILE), places)
    opening = asyncio.create_task(engine.open())
    await asyncio.sleep(0)
    from moyai.agent.control import Control
    from moyai.agent.exchange import Exchange
    from moyai.agent.guards import Guards, Ranks
    from moyai.agent.rotation import Rotation
    from moyai.agent.shell import Shell
    from moyai.agent.watched import Watched

    traces = open_traces("moyai-agent", {"moyai.site": profile.name}, os.environ)
    make_control, make_shell = (Control, Shell) if traces is None else _traced(traces, profile.name)
    control = make_control(addresses, profile.name, identity)
    journal = Journal(places.journal)
    await opening
    core = AgentCore.restore(profile.name, journal.entries(), os.urandom(8).hex(), engine.capabilities)
    shell = make_shell(core, places, journal, engine, control)
    loop.set_exception_handler(lambda _, context: _broken(shell, context))
    LOG.info("agent of %s, process %d, capabilities: %s", profile.name, os.getpid(), ", ".join(engine.capabilities))
    guards = Guards(places, shell, engine if isinstance(engine, Ranks) else None)
    watched = Watched(shell, profile)
    waits = [asyncio.ensure_future(told.wait()), shell.failure]
    try:
        await guards.open()
        await shell.begin()
        await watched.open(watched_at)
        if identity is not None:
            _declare(control, places, profile)
            shell.spawn(Rotation(control, identity).run(), "certificate")
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
        await watched.close()
        await guards.close()
        await shell.close()
        if traces is not None:
            await traces.close()


def _declare(control: "Control", places: Places, profile: SiteProfile) -> None:
    """Tell control of the profile where it is not the one that control took last."""
    wanted = encode(profile)
    if not places.declared.exists() or places.declared.read_bytes() != wanted:
        control.declare(profile, lambda taken: write_private(places.declared, encode(taken)))


def _traced(traces: Traces, site: SiteName) -> "tuple[Callable[..., Control], Callable[..., Shell]]":
    """How to make an agent's parts where somebody asks for traces."""
    from moyai.agent.traced import TracedControl, TracedShell

    return (
        lambda *given: TracedControl(*given).trace(traces, site),
        lambda *given: TracedShell(*given).trace(traces),
    )


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
