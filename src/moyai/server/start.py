"""`python -m moyai.server`: from an empty process to a server that answers, in the order that is soonest done.

The agents are started before anything heavy is imported, so that they come up beside the server. What fails on the way
is one line with what to do about it, and exit code 2.
"""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from moyai.server.agents import Agents
from moyai.server.fleet import Fleet, fleet_of
from moyai.server.layout import Layout, StartTrouble, listen_loopback, listen_unix
from moyai.server.told import end_anyway, end_when_told

if TYPE_CHECKING:
    import asyncio
    import socket

    from moyai.server.checkpoints import KeptLog
    from moyai.server.shell import Shell

BAD_START = 2
FAILED = 1
LOG_BYTES = 4 << 20

_LOG = logging.getLogger("moyai.server")


def main(argv: Sequence[str]) -> int:
    """Be the server of a directory until told to end; the exit code. Told before it listens, the process ends here."""
    chosen = _arguments().parse_args(argv)
    layout = Layout(Path(chosen.dir or os.environ.get("MOYAI_DIR") or Path.home() / ".moyai").expanduser())
    agents: Agents | None = None
    lock: int | None = None
    end_when_told(lambda: _undo(layout, lock, agents))
    try:
        layout.prepare()
        lock = layout.take()
        layout.unsay()
        _write_log(layout)
        fleet = fleet_of(layout, chosen.fleet)
        sockets = [listen_unix(layout.socket)]
        if chosen.port or not chosen.local:
            sockets.append(listen_loopback(chosen.port or 0))
        agents = Agents(layout.sites, f"unix:{layout.socket}")
        agents.start(fleet.profiles)
        failed = _serve(layout, fleet, sockets, agents, local=chosen.local, idle_s=chosen.idle_exit)
    except StartTrouble as trouble:
        _undo(layout, lock, agents)
        print(trouble.message, file=sys.stderr)
        if trouble.hint:
            print(trouble.hint, file=sys.stderr)
        return BAD_START
    _undo(layout, lock, None)
    if failed:
        print(f"the server had to end: {failed}", file=sys.stderr)
        return FAILED
    return 0


def _undo(layout: Layout, lock: int | None, agents: Agents | None) -> None:
    """Leave the directory as a server that is not there leaves it. Without the lock, another's server is in it."""
    if agents is not None:
        agents.end_all()
    if lock is not None:
        layout.unsay()
        os.close(lock)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moyai up", description="The control plane of a directory.")
    parser.add_argument("--dir", type=Path, help="the directory; $MOYAI_DIR or ~/.moyai if left out")
    parser.add_argument("--fleet", type=Path, help="a fleet file; the directory keeps it for later starts")
    parser.add_argument("--port", type=_port, help="of 127.0.0.1 for browsers; any free one if left out")
    parser.add_argument("--local", action="store_true", help="leave when nothing runs and nobody asks for ten minutes")
    parser.add_argument("--idle-exit", type=float, default=600.0, metavar="SECONDS", help=argparse.SUPPRESS)
    return parser


def _port(said: str) -> int:
    if said.isascii() and said.isdecimal() and 1 <= int(said[:6]) <= 65_535:
        return int(said)
    raise argparse.ArgumentTypeError(f"{said!r} is no port; choose one from 1 to 65535")


def _write_log(layout: Layout) -> None:
    """What the server has to say goes to server.log, within bounds. Raises StartTrouble."""
    from logging.handlers import RotatingFileHandler

    try:
        handler = RotatingFileHandler(layout.server_log, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    except OSError as error:
        raise StartTrouble(f"{layout.server_log}: can't be written ({error.strerror})") from None
    os.chmod(layout.server_log, 0o600)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _serve(
    layout: Layout, fleet: Fleet, sockets: "list[socket.socket]", agents: Agents, *, local: bool, idle_s: float
) -> str:
    """Load the state and serve; why it had to end, "" where it was told to. Raises StartTrouble."""
    import asyncio

    from moyai.server.serving import Serving  # FastAPI and all that: the agents start beside this

    gc.freeze()
    gc.enable()
    sys.setswitchinterval(0.001)  # a plan in its thread must not keep the loop waiting for 5 ms at a time

    async def whole() -> str:
        shell, kept, scan_until = _load(layout, fleet, agents, local)
        if len(sockets) > 1:
            shell.browsers.port = sockets[1].getsockname()[1]
        serving = Serving(shell, agents, kept, idle_s)

        def ready() -> None:
            layout.say(os.getpid(), kept.epoch, shell.browsers.url)
            _LOG.info("ready: epoch %d, event %d", kept.epoch, shell.writer.durable_seq)
            if local:
                return
            with suppress(OSError):  # whoever read it may be gone
                print(f"Moyai is ready: {', '.join(p.name for p in fleet.profiles)}. Ctrl-C ends it; jobs go on.")
                print(
                    f"In a browser on this machine (once, within 10 minutes): {shell.browsers.new_link()}", flush=True
                )

        await serving.run(sockets, scan_until, ready)
        shell.log.close()
        return serving.failed

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(whole())
    finally:
        end_anyway()  # the loop gave the signals back as they are in a new process


def _loop_factory() -> "Callable[[], asyncio.AbstractEventLoop]":
    import uvloop

    return uvloop.new_event_loop


def _load(layout: Layout, fleet: Fleet, agents: Agents, local: bool) -> "tuple[Shell, KeptLog, int]":
    """The log, the state at its head, and the parts around them. Raises StartTrouble."""
    from moyai.control.state import BrokenInvariant
    from moyai.model.envelope import CorruptRecord
    from moyai.server.opening import open_shell
    from moyai.store.errors import LogError
    from moyai.trust.io.filekeys import KeyTrouble

    try:
        return open_shell(layout, fleet, agents, local)
    except CorruptRecord as error:
        raise StartTrouble(
            f"{layout.log}: the log is damaged at event {error.seq}: {error.problem}; the server does not start",
            f"`moyai log export --dir {layout.root} --until {error.seq - 1} FILE` saves the events before it",
        ) from None
    except BrokenInvariant as error:
        raise StartTrouble(
            f"{layout.log}: the log can't be replayed: {error}; the server does not start",
            "`moyai log verify` checks it; an older version of Moyai may have to read it",
        ) from None
    except (LogError, KeyTrouble) as error:
        raise StartTrouble(str(error)) from None
