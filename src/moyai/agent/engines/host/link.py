"""The agent's line to the supervisor of its site: starts one where there is none, and notices when it dies."""

import asyncio
import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import moyai.agent.supervisor
from moyai.agent import local
from moyai.agent.engines.base import EngineDown
from moyai.agent.messages import BadMessage, Lines, Message, State, decode, encode

LOG = logging.getLogger("moyai.agent.host")
MAIN = Path(moyai.agent.supervisor.__file__).parent / "__main__.py"
SOCKET = "supervisor.sock"
PID = "supervisor.pid"
START_S = 20.0
"""How long a new supervisor may take to listen."""
START_AGAIN_S = 0.5
"""Between two starts, where a supervisor dies at once."""
STDERR_BYTES = 1 << 20


class Link:
    """One connection at a time. `take` gets each message; `lost` is told the supervisor's death, `back` a new state."""

    def __init__(self, directory: Path, take: Callable[[Message], None], back: Callable[[State, bool], None]) -> None:
        """`back(state, same)`: connected again; where not `same`, the supervisor before it died with all it ran."""
        self._directory = directory
        self._take = take
        self._back = back
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[Message] = []
        self._lines = Lines()
        self._task: asyncio.Task[None] | None = None
        self.state = State(0, "", [])

    async def open(self) -> None:
        """Connect to the supervisor that is there, or to a new one. Raises EngineDown."""
        self.state = await self._connect()

    def begin(self) -> asyncio.Task[None]:
        """Hand on what comes, from what came right after the state."""
        self._task = asyncio.create_task(self._run(), name="supervisor link")
        return self._task

    def send(self, message: Message) -> None:
        """Say something. Lost where the line is down: `back` comes then."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(message))

    async def close(self) -> None:
        """Hang up; the supervisor goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()

    async def _run(self) -> None:
        while True:
            for message in self._early:
                self._take(message)
            self._early = []
            await self._listen()
            LOG.warning("the line to supervisor %d is down", self.state.pid)
            if self._writer is not None:
                self._writer.close()
            before = self.state.pid
            self.state = await self._connect()
            self._back(self.state, self.state.pid == before)

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
        """Connect, starting a supervisor where no living one holds the lock."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_S
        start_at = 0.0
        while True:
            try:
                connection = local.connect(str(self._directory), SOCKET)
                return await self._greet(connection)
            except (OSError, BadMessage, asyncio.IncompleteReadError) as error:
                if loop.time() > deadline:
                    raise EngineDown(f"no supervisor in {self._directory}: {error}; see supervisor.log there") from None
            if loop.time() >= start_at and not self._alive():
                self._start()
                start_at = loop.time() + START_AGAIN_S
            await asyncio.sleep(0.01)

    async def _greet(self, connection: "local.socket.socket") -> State:
        connection.setblocking(False)
        self._reader, self._writer = await asyncio.open_unix_connection(sock=connection, limit=1 << 24)
        state = decode(await asyncio.wait_for(self._reader.readuntil(b"\n"), START_S))
        if not isinstance(state, State):
            raise BadMessage("a supervisor says first what it has")
        self._lines = Lines()
        return state

    def _alive(self) -> bool:
        """Whether a supervisor lives: it holds the lock on its pid file as long as it does."""
        if self._process is not None and self._process.poll() is None:
            return True  # ours; it may not have come to its lock yet
        descriptor = os.open(self._directory / PID, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _start(self) -> None:
        path = self._directory / "supervisor.log"
        with path.open("ab") as log:
            if log.tell() > STDERR_BYTES:
                log.truncate(0)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(MAIN), str(self._directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        LOG.info("supervisor %d started", self._process.pid)
