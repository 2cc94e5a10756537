"""The agent's line to a supervisor: notices when it is down, dials again, and says what the supervisor has then."""

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import moyai.agent.supervisor
from moyai.agent import killing, local
from moyai.agent.engines.base import EngineDown
from moyai.agent.messages import VERSION, BadMessage, Lines, Message, State, decode, encode
from moyai.agent.supervisor import begin

LOG = logging.getLogger("moyai.agent.host")
MAIN = Path(moyai.agent.supervisor.__file__).parent / "__main__.py"
GREET_S = 20.0
"""How long a supervisor may take to say what it has."""


class Reader(Protocol):
    """What comes from a supervisor."""

    async def read(self, n: int = -1, /) -> bytes:
        """Some bytes; none where the line is down."""
        ...

    async def readuntil(self, separator: bytes, /) -> bytes:
        """Bytes up to a separator. Raises asyncio.IncompleteReadError."""
        ...


class Writer(Protocol):
    """What goes to it."""

    def write(self, data: bytes, /) -> None:
        """Send some bytes."""
        ...

    def is_closing(self) -> bool:
        """Whether the line is going down."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class Dial(Protocol):
    """How a supervisor is reached."""

    code: str
    """What a new one is started from, where that is an archive: one from another is replaced once it is empty."""

    async def __call__(self) -> tuple[Reader, Writer]:
        """Reach it, starting one where none lives. Raises EngineDown where the engine can't go on, OSError."""
        ...

    async def retire(self, state: State) -> None:
        """End one that has no work. Raises OSError."""
        ...

    async def failed(self, problem: str) -> None:
        """It could not be served: wait before the next try. Raises EngineDown where there should be none."""
        ...


class Link:
    """One connection at a time. `take` gets each message; `lost` is told that the line is down, `back` a new state."""

    def __init__(
        self,
        dial: Dial,
        take: Callable[[Message], None],
        back: Callable[[State, bool], None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`back(state, same)`: connected again; where not `same`, the supervisor before it died with all it ran."""
        self._dial = dial
        self._take = take
        self._back = back
        self._lost = lost
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._lines = Lines()
        self._task: asyncio.Task[None] | None = None
        self.state = State(0, "", [])
        self.steady = asyncio.Event()
        """Set while there is a supervisor that may be given new work."""

    async def open(self) -> None:
        """Connect to the supervisor that is there, or to a new one. Raises EngineDown, OSError."""
        self.state = await self._connect()

    def begin(self) -> asyncio.Task[None]:
        """Hand on what comes. Without `open` before it the first state is told to `back`."""
        self._task = asyncio.create_task(self._run(), name="supervisor link")
        return self._task

    @property
    def up(self) -> bool:
        """Whether there is a line now."""
        return self._writer is not None and not self._writer.is_closing()

    def send(self, message: Message) -> None:
        """Say something. Lost where the line is down: `back` comes then."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(message))

    def idle(self) -> None:
        """Nothing is there or on the way: where the supervisor is outdated, replace it."""
        if self._outdated(self.state) and self.steady.is_set():
            self.steady.clear()
            self.hang_up()  # it is told to leave as soon as it says once more that it has nothing

    def hang_up(self) -> None:
        """End this line; it is dialled anew."""
        if self._writer is not None:
            self._writer.close()

    async def close(self) -> None:
        """Hang up; the supervisor goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.hang_up()

    async def _run(self) -> None:
        if self._reader is None:
            self.state = await self._connect()
            self._back(self.state, False)
        while True:
            await self._listen()
            LOG.warning("the line to supervisor %d is down", self.state.pid)
            self.hang_up()
            self._writer = None
            self._lost()
            before = self.state
            self.state = await self._connect()
            self._back(self.state, (before.pid, before.boot) == (self.state.pid, self.state.boot))

    async def _listen(self) -> None:
        assert self._reader is not None
        try:
            while data := await self._reader.read(1 << 16):
                for message in self._lines.feed(data):
                    self._take(message)
        except BadMessage as error:
            LOG.error("the supervisor said what nobody understands: %s", error)
        except OSError as error:
            LOG.warning("the line to the supervisor broke: %s", error)

    async def _connect(self) -> State:
        while True:
            self._reader, self._writer = await self._dial()
            try:
                state = await self._greet(self._reader)
                if self._outdated(state) and not state.known:
                    LOG.info("supervisor %d is of another version and has no work: it is replaced", state.pid)
                    self.hang_up()
                    await self._dial.retire(state)
                    continue
                if state.version <= VERSION:
                    self._lines = Lines()
                    self.steady.set()
                    return state
                problem = (
                    f"supervisor {state.pid} speaks version {state.version}, this agent {VERSION} at most: "
                    f"use the newer agent again, or end process {state.pid} by SIGTERM, which stops all it runs"
                )
            except asyncio.IncompleteReadError:
                problem = "the supervisor hung up before it said what it has"
            except TimeoutError:
                problem = "the supervisor does not say what it has"
            except (OSError, BadMessage) as error:
                problem = str(error)
            self.hang_up()
            await self._dial.failed(problem)

    @staticmethod
    async def _greet(reader: Reader) -> State:
        state = decode(await asyncio.wait_for(reader.readuntil(b"\n"), GREET_S))
        if not isinstance(state, State):
            raise BadMessage("a supervisor says first what it has")
        return state

    def _outdated(self, state: State) -> bool:
        return state.version != VERSION or state.code != self._dial.code


class LocalDial:
    """Dials the supervisor of a directory on this machine."""

    code = ""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._failed_until = -begin.START_S

    async def __call__(self) -> tuple[Reader, Writer]:
        """Connect, starting a supervisor where no living one holds the lock. Raises EngineDown, OSError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + begin.START_S
        start_at = 0.0
        directory = str(self._directory)
        while True:
            try:
                connection = local.connect(directory, begin.SOCKET)
                connection.setblocking(False)
                return await asyncio.open_unix_connection(sock=connection, limit=1 << 24)
            except OSError as error:
                if loop.time() > deadline:
                    raise EngineDown(f"no supervisor in {directory}: {error}; see {begin.LOG} there") from None
            running = self._process is not None and self._process.poll() is None  # not at its lock yet, perhaps
            if loop.time() >= start_at and not running and not begin.alive(directory):
                argv = [sys.executable, "-I", "-S", str(MAIN), directory]
                self._process = begin.start(directory, argv)
                LOG.info("supervisor %d started", self._process.pid)
                start_at = loop.time() + begin.START_AGAIN_S
            await asyncio.sleep(0.01)

    async def retire(self, state: State) -> None:
        """Tell it to leave, and wait for that. Raises OSError."""
        killing.send(state.pid, signal.SIGTERM)
        async with asyncio.timeout(begin.START_S):
            while begin.alive(str(self._directory)):
                await asyncio.sleep(0.01)

    async def failed(self, problem: str) -> None:
        """Try again for a while: it may just be leaving. Raises EngineDown after that."""
        now = asyncio.get_running_loop().time()
        if now > self._failed_until + begin.START_S:
            self._failed_until = now + begin.START_S  # the first failure in a row
        elif now > self._failed_until:
            raise EngineDown(f"{self._directory}: {problem}; see {begin.LOG} there")
        await asyncio.sleep(0.1)
