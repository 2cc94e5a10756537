"""One machine: its connection, what is installed there, the line to its supervisor, and the hand that does its files.

Everything is made again when the connection is lost, for as long as the agent lives.
"""

import asyncio
import json
import logging
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh

from moyai.agent.clocks import boot_us
from moyai.agent.engines.host.link import Link, Reader, Writer
from moyai.agent.engines.ssh.archive import INSTALL, archive
from moyai.agent.engines.ssh.reach import CONNECT_S, GONE, Unreached, connect
from moyai.agent.messages import Claimed, Ended, Forget, Known, Message, Renewed, Start, State
from moyai.model.engine import SshHost, SshSettings

LOG = logging.getLogger("moyai.agent.ssh")
AGAIN_S, AGAIN_MOST_S = 0.5, 15.0
"""Between tries to reach a machine; doubled each time."""
ASK_S = 60.0
"""How long an answer of the hand may take; then the connection counts as lost."""
INSTALL_S = 60.0
CHANNELS = 4
"""Transfers at once: sshd lets 10 channels be open on a connection, and two are the line and the hand."""
RETIRE_S = 20.0

Process = asyncssh.SSHClientProcess[bytes]


class MachineDown(Exception):
    """The machine can't be reached, or was lost in the middle; nothing is known of what became of the request."""


class Unwilling(Exception):
    """The machine could not do what was asked; the message says why."""


@dataclass(frozen=True, slots=True)
class About:
    """What a machine says of itself."""

    directory: str  # of the site there: its whole path
    env: dict[str, str]  # what a job sees of its environment
    shell: str
    attempts: tuple[str, ...]  # whose directories lie there


class Machine:
    """`take` gets what its supervisor says; `back` a new state; `lost` that the line is down."""

    def __init__(
        self,
        host: SshHost,
        settings: SshSettings,
        take: Callable[["Machine", Message], None],
        back: Callable[["Machine", bool], None],
    ) -> None:
        self.host = host
        self.name = host.name
        self.code = archive()[0]
        self.jump: Machine | None = None
        self.about: About | None = None
        self.known: dict[str, Known] = {}  # attempts that its supervisor had when it was last asked, or was sent since
        self.ends: dict[str, Ended] = {}  # of those, what it said of their ends
        self.answered_us = boot_us()  # until then its supervisor may have had an answer, of an earlier agent perhaps
        self.down_since = asyncio.get_running_loop().time()
        self.reached = False  # its supervisor was, once
        self.offset_us = 0  # what its CLOCK_BOOTTIME must be added to be the agent's
        self.problem = ""  # why it can't be reached; "" where it was not tried yet, or can
        self.tried = asyncio.Event()  # set once it was reached, or could not be
        self._settings = settings
        self._told_take, self._told_back = take, back
        self._link = Link(self, self._take, self._back, self._lost)
        self._connection: asyncssh.SSHClientConnection | None = None
        self._ready = asyncio.Event()  # connected and installed
        self._hand: Process | None = None
        self._asking = asyncio.Lock()
        self._channels = asyncio.Semaphore(CHANNELS)
        self._links_again_s = AGAIN_S
        self._running: Process | None = None  # the relay

    # -- its life --------------------------------------------------------------------------------------------------

    def begin(self) -> list[Awaitable[None]]:
        """Reach it and keep it reached. Each of these runs until it is cancelled."""
        return [self._keep(), self._link.begin()]

    @property
    def up(self) -> bool:
        """Whether its supervisor can be given work now."""
        return self._ready.is_set() and self._link.up and self._link.steady.is_set()

    async def wait_up(self, seconds: float) -> None:
        """Returns once it is up. Raises MachineDown where that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                while not self.up:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise MachineDown(self.problem or f"{self.name} can't be reached") from None

    @property
    def state(self) -> State:
        """What its supervisor said last of itself."""
        return self._link.state

    async def close(self) -> None:
        """Hang up; what runs there goes on."""
        await self._link.close()
        if self._connection is not None:
            self._connection.abort()

    async def _keep(self) -> None:
        again_s = AGAIN_S
        while True:
            try:
                self._connection = await connect(self.host, self._settings, await self._tunnel())
                await self._settle(self._connection)
            except Unreached as error:
                self._drop(str(error))
            except GONE as error:
                self._drop(f"{self.name} was lost while it was set up: {error}")
            else:
                LOG.info("%s is connected: %s", self.name, self.host.address)
                again_s = AGAIN_S
                self._ready.set()
                await self._connection.wait_closed()
                self._drop(f"the connection to {self.name} is lost")
            await asyncio.sleep(again_s)
            again_s = min(again_s * 2, AGAIN_MOST_S)

    async def _tunnel(self) -> asyncssh.SSHClientConnection | None:
        if self.jump is None:
            return None
        try:
            async with asyncio.timeout(CONNECT_S):
                while self.jump.connection is None:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Unreached(f"{self.name} lies behind {self.jump.name}, which can't be reached") from None
        return self.jump.connection

    @property
    def connection(self) -> asyncssh.SSHClientConnection | None:
        """The connection, while there is one: others may be reached through it."""
        return self._connection

    def _drop(self, problem: str) -> None:
        if problem != self.problem:
            LOG.warning("%s", problem)
        self._ready.clear()
        if not self.problem:
            self.down_since = asyncio.get_running_loop().time()
        self.problem = problem
        self.tried.set()
        self._hand = None
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def _settle(self, connection: asyncssh.SSHClientConnection) -> None:
        """Install the archive and take its hand. Raises Unreached, what GONE holds."""
        name, data = archive()
        words = [self._settings.python, "-I", "-S", "-c", INSTALL, self._settings.directory, name, str(len(data))]
        done = await asyncio.wait_for(connection.run(shlex.join(words), input=data, encoding=None), INSTALL_S)
        out, err = _words(done.stdout), _words(done.stderr)
        if done.exit_status != 0:
            said = err.strip().rpartition("\n")[2]
            raise Unreached(f"{self.name} can't be set up: {said or f'{self._settings.python} failed there'}")
        directory = out.strip().rpartition("\n")[2]
        self.about = About(directory, {}, "/bin/sh", ())
        self._hand = await self._open(connection, "hand")
        try:
            told, _ = await self._ask({"do": "hello"})
        except (MachineDown, Unwilling) as error:
            raise Unreached(f"{self.name} can't be set up: {error}") from None
        self.about = About(directory, told["env"], told["shell"], tuple(told["attempts"]))

    async def _open(self, connection: asyncssh.SSHClientConnection, command: str, *more: str) -> Process:
        assert self.about is not None
        directory = self.about.directory
        words = [self._settings.python, "-I", "-S", f"{directory}/{self.code}", command, directory, *more]
        return await connection.create_process(shlex.join(words), encoding=None)

    # -- the line to its supervisor --------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Say something to its supervisor. Lost where it can't be reached: `back` comes then."""
        match message:
            case Claimed() | Renewed():
                self.answered_us = boot_us()
            case Start():
                self.known[message.attempt] = Known(message.attempt, message.nonce, "claiming", 0, 0)
            case Forget():
                self.known.pop(message.attempt, None)
                self.ends.pop(message.attempt, None)
            case _:
                pass
        self._link.send(message)
        if isinstance(message, Forget) and not self.known:
            self._link.idle()

    async def __call__(self) -> tuple[Reader, Writer]:
        """A new line to its supervisor, started where none lives, as soon as the machine is reached."""
        while True:
            await self._ready.wait()
            connection = self._connection
            assert connection is not None
            try:
                process = await self._open(connection, "relay")
            except GONE as error:
                self._cut(connection, f"{self.name} can't be talked to: {error}")
                await asyncio.sleep(AGAIN_S)
                continue
            self._running = process
            line = _Line(process)
            return line, line

    async def retire(self, state: State) -> None:
        """Tell a supervisor without work to leave, and wait for that."""
        line = f"kill -TERM {state.pid}; while kill -0 {state.pid} 2>/dev/null; do sleep 0.05; done"
        try:
            async with asyncio.timeout(RETIRE_S):
                if self._connection is not None:
                    await self._connection.run(line)
        except asyncssh.Error as error:
            raise OSError(str(error)) from None

    async def failed(self, problem: str) -> None:
        """Its supervisor could not be served: say so once, and wait."""
        said = ""
        if self._running is not None and self._ready.is_set():
            try:
                said = _words(await asyncio.wait_for(self._running.stderr.read(2_000), 1))
            except GONE:
                said = ""
        problem = f"{self.name}: {said.strip().rpartition(chr(10))[2] or problem}"
        if problem != self.problem:
            LOG.warning("%s", problem)
            self.problem = problem
        self.tried.set()
        await asyncio.sleep(self._links_again_s)
        self._links_again_s = min(self._links_again_s * 2, AGAIN_MOST_S)

    def _back(self, state: State, same: bool) -> None:
        self._links_again_s = AGAIN_S
        self.problem, self.reached = "", True
        self.offset_us = boot_us() - state.boot_us
        self.known = {known.attempt: known for known in state.known}
        self.ends = {}
        self.tried.set()
        self._told_back(self, same)

    def _lost(self) -> None:
        self.down_since = asyncio.get_running_loop().time()

    def _take(self, message: Message) -> None:
        if isinstance(message, Ended):
            self.ends[message.attempt] = message
        self._told_take(self, message)

    def _cut(self, connection: asyncssh.SSHClientConnection, problem: str) -> None:
        """Give a connection up that does not work: a new one is made."""
        LOG.warning("%s", problem)
        connection.abort()
        if connection is self._connection:
            self._ready.clear()

    # -- its files -------------------------------------------------------------------------------------------------

    async def ask(self, order: dict[str, object]) -> tuple[Any, bytes]:
        """Ask its hand. Raises MachineDown, Unwilling."""
        if not self._ready.is_set():
            raise MachineDown(self.problem or f"{self.name} can't be reached")
        return await self._ask(order)

    async def _ask(self, order: dict[str, object]) -> tuple[Any, bytes]:
        """Whoever asks may be cancelled; the answer is read all the same, as the next one comes after it."""
        told = asyncio.ensure_future(self._exchange(order))
        told.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(told)

    async def _exchange(self, order: dict[str, object]) -> tuple[Any, bytes]:
        async with self._asking:
            process, connection = self._hand, self._connection
            if process is None or connection is None:
                raise MachineDown(f"{self.name} can't be reached")
            try:
                async with asyncio.timeout(ASK_S):
                    process.stdin.write(json.dumps(order, separators=(",", ":")).encode() + b"\n")
                    said = json.loads(await process.stdout.readuntil(b"\n"))
                    data = await process.stdout.readexactly(said.get("size", 0))
            except (*GONE, ValueError) as error:
                self._cut(connection, f"{self.name} does not answer about its files: {error or type(error).__name__}")
                raise MachineDown(f"{self.name} was lost") from None
        if "error" in said:
            raise Unwilling(f"{self.name}: {said['error']}")
        return said["ok"], bytes(data)

    async def transfer(self, work: Callable[[Process], Awaitable[None]], command: str, *more: str) -> None:
        """Start a transfer there, do `work` with it, and see that it went well. Raises MachineDown, Unwilling."""
        async with self._channels:
            connection = self._connection
            if connection is None or not self._ready.is_set():
                raise MachineDown(self.problem or f"{self.name} can't be reached")
            try:
                process = await self._open(connection, command, *more)
                try:
                    try:
                        await work(process)
                        process.stdin.write_eof()
                    except BrokenPipeError:
                        LOG.info("%s: %s ended early", self.name, command)  # its stderr says why
                    said = _words(await process.stderr.read(4_000))
                    await process.wait_closed()
                finally:
                    process.close()
                status = process.exit_status
            except GONE as error:
                raise MachineDown(f"{self.name} was lost: {error or type(error).__name__}") from None
        if status is None:
            raise MachineDown(f"{self.name} was lost")
        if status != 0:
            raise Unwilling(f"{self.name}: {said.strip().rpartition(chr(10))[2] or command + ' failed'}")


class _Line:
    """A channel as the link reads and writes it: a connection that is lost is an end, or an OSError."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def read(self, n: int = -1, /) -> bytes:
        try:
            return await self._process.stdout.read(n)
        except asyncssh.Error as error:
            raise OSError(str(error)) from None

    async def readuntil(self, separator: bytes, /) -> bytes:
        try:
            return await self._process.stdout.readuntil(separator)
        except asyncssh.Error as error:
            raise OSError(str(error)) from None

    def write(self, data: bytes, /) -> None:
        try:
            self._process.stdin.write(data)
        except OSError as error:
            LOG.info("what was said to a supervisor is lost: %s", error)  # the reader notices

    def is_closing(self) -> bool:
        return self._process.is_closing()

    def close(self) -> None:
        self._process.close()


def _words(said: object) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said or "")
