"""`python -m moyai.server`: from an empty process to a server that answers, in the order that is soonest done.

The agents are started before anything heavy is imported, so that they come up beside the server. What fails on the way
is one line with what to do about it, and exit code 2.
"""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from moyai.agent.listening import listen_at, parse_address
from moyai.server.agents import Agents
from moyai.server.fleet import Fleet, fleet_of
from moyai.server.layout import Layout, StartTrouble, listen_loopback, listen_unix
from moyai.server.told import end_anyway, end_when_told

if TYPE_CHECKING:
    import asyncio
    import socket

    from sqlalchemy import URL

    from moyai.server.tls import Door
    from moyai.server.turn import Turn

BAD_START = 2
FAILED = 1
LOG_BYTES = 4 << 20
AGENTS_WAITING = 256
"""Connections that may wait to be taken."""

_LOG = logging.getLogger("moyai.server")


def main(argv: Sequence[str]) -> int:
    """Be the server of a directory until told to end; the exit code. Told before it listens, the process ends here."""
    chosen = _arguments().parse_args(argv)
    layout = Layout(Path(chosen.dir or os.environ.get("MOYAI_DIR") or Path.home() / ".moyai").expanduser(), chosen.keys)
    agents: Agents | None = None
    lock: int | None = None

    def undo() -> None:
        """Leave the directory in order."""
        _undo(layout, lock, agents)

    end_when_told(undo)
    again = False
    try:
        shared = _shared(chosen.store or ("" if chosen.local else os.environ.get("MOYAI_STORE", "")))
        layout.prepare()
        lock = layout.take()
        layout.unsay()
        _write_log(layout)
        fleet = fleet_of(layout, chosen.fleet)
        sockets = [listen_unix(layout.socket)]
        if chosen.port or not chosen.local:
            sockets.append(listen_loopback(chosen.port or 0))
        watched = _watched_at(*chosen.metrics) if chosen.metrics else None
        outside = _outside_at(*chosen.agents) if chosen.agents else None
        agents = Agents(layout.sites, f"unix:{layout.socket}")
        if shared is None:
            agents.start(fleet.profiles, fleet.engines)
        door = _door(layout, chosen, outside) if outside is not None else None
        turn = None
        if shared is not None:
            from moyai.server.turn import Turn

            turn = Turn(layout, shared, sockets, door, round(chosen.leader_lease * 1e6), fleet.lease_us, watched)
        failed, again = _serve(
            layout,
            fleet,
            sockets,
            agents,
            local=chosen.local,
            idle_s=chosen.idle_exit,
            watched=watched,
            door=door,
            turn=turn,
            undo=undo,
        )
    except StartTrouble as trouble:
        _undo(layout, lock, agents)
        print(trouble.message, file=sys.stderr)
        if trouble.hint:
            print(trouble.hint, file=sys.stderr)
        return BAD_START
    _undo(layout, lock, None)
    if again:
        _LOG.warning("standing by again: %s", failed)
        os.execv(sys.executable, [sys.executable, "-m", "moyai.server", *argv])  # noqa: S606 – a new life, nothing kept
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


def _shared(said: str) -> "URL | None":
    """The database of a log that control planes share; None where this one has its own. Raises StartTrouble."""
    if not said:
        return None
    from moyai.store.errors import LogError
    from moyai.store.home import place_of

    try:
        place = place_of(said)
    except LogError as error:
        raise StartTrouble(f"--store: {error}") from None
    if isinstance(place, Path):
        raise StartTrouble(
            f"--store {said}: a file is no store that control planes share", "leave it out, or use --dir"
        )
    return place


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moyai up", description="The control plane of a directory.")
    parser.add_argument("--dir", type=Path, help="the directory; $MOYAI_DIR or ~/.moyai if left out")
    parser.add_argument("--fleet", type=Path, help="a fleet file; the directory keeps it for later starts")
    parser.add_argument("--port", type=_port, help="of 127.0.0.1 for browsers; any free one if left out")
    parser.add_argument(
        "--metrics", type=_address, metavar="HOST:PORT", help="serve /metrics and /healthz there, to anybody who asks"
    )
    parser.add_argument(
        "--agents", type=_open_address, metavar="HOST:PORT", help="listen there, by TLS, for agents of other machines"
    )
    parser.add_argument("--ca", type=Path, metavar="DIR", help="the CA that they know; DIR/ca if left out")
    parser.add_argument("--store", help="postgresql://…: a log that control planes share; $MOYAI_STORE if left out")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="the keys, which they share too; DIR/keys if left out")
    parser.add_argument("--leader-lease", type=float, default=3.0, metavar="SECONDS", help=argparse.SUPPRESS)
    parser.add_argument("--local", action="store_true", help="leave when nothing runs and nobody asks for ten minutes")
    parser.add_argument("--idle-exit", type=float, default=600.0, metavar="SECONDS", help=argparse.SUPPRESS)
    return parser


def _port(said: str) -> int:
    if said.isascii() and said.isdecimal() and 1 <= int(said[:6]) <= 65_535:
        return int(said)
    raise argparse.ArgumentTypeError(f"{said!r} is no port; choose one from 1 to 65535")


def _address(said: str) -> tuple[str, int]:
    try:
        return parse_address(said)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _open_address(said: str) -> tuple[str, int]:
    try:
        return parse_address(said, least=0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _outside_at(host: str, port: int) -> "socket.socket":
    try:
        sock = listen_at(host, port)
        sock.listen(AGENTS_WAITING)
    except OSError as error:
        said = error.strerror or str(error)
        raise StartTrouble(f"--agents {host}:{port}: can't listen there ({said})", "choose another address") from None
    return sock


def _door(layout: Layout, chosen: argparse.Namespace, sock: "socket.socket") -> "Door":
    """The listener for agents of other machines. Raises StartTrouble."""
    from moyai.server import clock
    from moyai.server.tls import open_door

    return open_door(sock, chosen.agents[0], chosen.ca or layout.ca, layout.door, clock.now())


def _watched_at(host: str, port: int) -> "socket.socket":
    try:
        return listen_at(host, port)
    except OSError as error:
        said = error.strerror or str(error)
        raise StartTrouble(f"--metrics {host}:{port}: can't listen there ({said})", "choose another address") from None


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
    layout: Layout,
    fleet: Fleet,
    sockets: "list[socket.socket]",
    agents: Agents,
    *,
    local: bool,
    idle_s: float,
    watched: "socket.socket | None" = None,
    door: "Door | None" = None,
    turn: "Turn | None" = None,
    undo: "Callable[[], None]",
) -> tuple[str, bool]:
    """Load the state and serve; why it had to end, "" where it was told to, and whether it should stand by again.

    Raises StartTrouble.
    """
    import asyncio

    from moyai.server.opening import open_shell
    from moyai.server.serving import Serving  # FastAPI and all that: the agents start beside this
    from moyai.store.errors import Away, StaleEpoch

    gc.freeze()
    gc.enable()
    sys.setswitchinterval(0.001)  # a plan in its thread must not keep the loop waiting for 5 ms at a time

    async def whole() -> tuple[str, bool]:
        opened = None
        if turn is not None:
            with _trouble(layout, turn.place):
                opened = await turn.wait()
            if opened is None:
                return "", False
            end_when_told(undo)  # the loop gave the signals back
            agents.start(fleet.profiles, fleet.engines)
        with _trouble(layout, str(layout.log) if turn is None else turn.place):
            try:
                shell, kept, scan_until = open_shell(layout, fleet, agents, local, opened)
            except (Away, StaleEpoch) as error:
                if opened is None:
                    raise
                await agents.stop()
                opened.leading.resign()
                return str(error), True
        if len(sockets) > 1:
            shell.browsers.port = sockets[1].getsockname()[1]
        if door is not None:
            shell.authority = door.authority
        serving = Serving(shell, agents, kept, idle_s, watched=watched, door=door)

        def ready() -> None:
            layout.say(os.getpid(), kept.epoch, shell.browsers.url, door.address if door is not None else "")
            _LOG.info("ready: epoch %d, event %d", kept.epoch, shell.writer.durable_seq)
            if local:
                return
            with suppress(OSError):  # whoever read it may be gone
                print(f"Moyai is ready: {', '.join(p.name for p in fleet.profiles)}. Ctrl-C ends it; jobs go on.")
                print(
                    f"In a browser on this machine (once, within 10 minutes): {shell.browsers.new_link()}", flush=True
                )

        await serving.run(sockets, scan_until, ready)
        again = bool(serving.failed) and shell.leading.deposed()
        shell.leading.resign()
        shell.log.close()
        return serving.failed, again

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(whole())
    finally:
        end_anyway()  # the loop gave the signals back as they are in a new process


def _loop_factory() -> "Callable[[], asyncio.AbstractEventLoop]":
    import uvloop

    return uvloop.new_event_loop


@contextmanager
def _trouble(layout: Layout, place: str) -> "Generator[None]":
    """Makes what is wrong with the log or the keys a StartTrouble."""
    from moyai.control.state import BrokenInvariant
    from moyai.model.envelope import CorruptRecord
    from moyai.store.errors import LogError
    from moyai.trust.io.filekeys import KeyTrouble

    try:
        yield
    except CorruptRecord as error:
        raise StartTrouble(
            f"{place}: the log is damaged at event {error.seq}: {error.problem}; the server does not start",
            f"`moyai log export --dir {layout.root} --until {error.seq - 1} FILE` saves the events before it",
        ) from None
    except BrokenInvariant as error:
        raise StartTrouble(
            f"{place}: the log can't be replayed: {error}; the server does not start",
            "`moyai log verify` checks it; an older version of Moyai may have to read it",
        ) from None
    except (LogError, KeyTrouble) as error:
        raise StartTrouble(str(error)) from None
