"""The one writer: requests meet the state in memory at once, their records are committed in groups by a thread.

No answer is given away before everything that it was made from is durable. A commit that fails takes nothing with it:
its requests are told so, the state is loaded anew from the log, and control is read-only until the log can be written
again. A broken invariant makes it read-only until a person has looked. Agents keep their leases all the while.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

from moyai.control.core import Control, Refused
from moyai.control.lease import LeaseTable
from moyai.control.state import State, state_bytes
from moyai.model.envelope import Record
from moyai.model.views import Mode
from moyai.server.clock import boot
from moyai.store.errors import Away, LogError, OutOfStep, StaleEpoch

if TYPE_CHECKING:
    from moyai.store.log import Sealed

T = TypeVar("T")

GROUP_RECORDS = 4_096
"""Records of one commit at most."""
WAITING_RECORDS = 65_536
"""Records that may wait for their commit; a request beyond waits before it is looked at."""
CHECKPOINT_EVERY = 10_000
"""Events between two checkpoints."""
PROBE_S = (1.0, 2.0, 5.0, 10.0)
"""How long a log that can't be written is left alone before it is tried again; the last figure repeats."""
_WAITING_MODES = frozenset({Mode.FULL, Mode.AWAY})

_LOG = logging.getLogger("moyai.server")


class NotStored(Exception):
    """A request that is not in effect: the log could not be written, or control is read-only."""

    def __init__(self, mode: Mode, problem: str) -> None:
        super().__init__(problem)
        self.mode = mode
        self.problem = problem


class Store(Protocol):
    """What the writer needs of a log. Every method is called in the writer's one thread."""

    def append(self, records: Sequence[Record], sealed: "Sequence[Sealed]") -> None:
        """Make the records and texts durable, all or none. Raises LogError."""
        ...

    def checkpoint(self, seq: int, head_hash: str, state: bytes) -> None:
        """Keep the canonical bytes of the state after the event `seq`. Raises LogError."""
        ...

    def load(self) -> State:
        """The state at the log's head. Raises LogError or CorruptRecord."""
        ...


class _Waiting:
    """Records on their way to the disk, and the texts that go with them."""

    __slots__ = ("records", "sealed")

    def __init__(self, records: Sequence[Record], sealed: "Sequence[Sealed]") -> None:
        self.records = records
        self.sealed = sealed


class Writer:
    """Owns the control plane's state. All methods belong to one event loop."""

    def __init__(self, store: Store, control: Control, new_leases: Callable[[], LeaseTable]) -> None:
        self.control = control
        self.mode = Mode.WRITING
        self.problem = ""
        self.durable_seq = control.state.seq
        self.checkpoint_seq = 0  # of the newest checkpoint
        self.on_durable: list[Callable[[Sequence[Record]], None]] = []
        self.on_append: list[Callable[[float], None]] = []  # told how long each commit took, in seconds
        self.on_reload: list[Callable[[], None]] = []
        self.on_fatal: Callable[[str], None] | None = None  # nothing can go on: another control plane has the log
        self._store = store
        self._new_leases = new_leases
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._queue: deque[_Waiting] = deque()
        self._queued = 0  # records in the queue
        self._room = asyncio.Event()
        self._room.set()
        self._wake = asyncio.Event()
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._loaded = asyncio.Event()
        self._loaded.set()
        self._spoilt = False  # the state in memory is not the log's
        self._lost = False  # and the log's could not be loaded
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.get_running_loop().create_task(self._commit_all(), name="commit")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fatal(f"the writer failed: {type(error).__name__}: {error}")

    def _fatal(self, problem: str) -> None:
        _LOG.critical("%s", problem)
        self._become(Mode.BROKEN, problem)
        self._refuse_waiters()
        if self.on_fatal is not None:
            self.on_fatal(problem)

    async def stop(self, checkpoint: bool) -> None:
        """Finish what is queued, keep a checkpoint of the end, and take nothing more."""
        if self.mode is Mode.WRITING:
            self._become(Mode.STOPPING, "the control plane is stopping")
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait((self._task,))
        if self._probe is not None:
            self._probe.cancel()
        if checkpoint and self.mode is Mode.STOPPING and self.durable_seq > self.checkpoint_seq:
            await self._save_checkpoint(self._captured())
        self._thread.shutdown(wait=True)

    # -- requests --------------------------------------------------------------------------------------------------

    async def do(
        self,
        action: Callable[[Control], tuple[Sequence[Record], T]],
        sealed: "Sequence[Sealed]" = (),
    ) -> T:
        """Let `action` change the state, and give its answer once its records are durable.

        Raises Refused as the action does, NotStored where it is not in effect.
        """
        self._check_writing()
        while not self._room.is_set():
            await self._room.wait()
            self._check_writing()
        try:
            records, answer = action(self.control)
        except Refused:
            # Refused for a reason that must hold: what the state says now may not be durable yet.
            await self.durable(self.control.state.seq)
            raise
        except Exception as error:
            self._break(f"{type(error).__name__}: {error}", error)
            raise NotStored(self.mode, self.problem) from error
        if records:
            self._queue.append(_Waiting(records, sealed))
            self._queued += len(records)
            if self._queued >= WAITING_RECORDS:
                self._room.clear()
            self._wake.set()
        await self.durable(self.control.state.seq)
        return answer

    async def read(self, look: Callable[[Control], T]) -> T:
        """What `look` sees, once all of it is durable. Raises NotStored where the state can't be loaded."""
        while True:
            control = await self.loaded()
            seen = look(control)
            try:
                await self.durable(control.state.seq)
            except NotStored:
                if control is self.control and self._loaded.is_set():
                    raise
                continue  # what was seen never came to be: look again when the state is loaded
            return seen

    async def loaded(self) -> Control:
        """The state as it is now, some of it perhaps not durable yet. Raises NotStored where it can't be loaded."""
        await self._loaded.wait()
        if self._lost:
            raise NotStored(self.mode, self.problem)
        return self.control

    async def durable(self, seq: int) -> None:
        """Wait until the event `seq` of the present state is durable. Raises NotStored where it won't be."""
        if seq <= self.durable_seq:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((seq, waiter))
        await waiter

    def deposed(self, problem: str) -> None:
        """Another control plane leads: take nothing more, and end."""
        self._fatal(problem)

    def become_read_only(self, problem: str) -> None:
        """Take no requests any more until a person has looked, for a reason that was found outside of here."""
        _LOG.critical("control is read-only: %s", problem)
        self._become(Mode.BROKEN, problem)

    @property
    def writing(self) -> bool:
        """Whether requests are taken now."""
        return self.mode is Mode.WRITING

    def _check_writing(self) -> None:
        if self.mode is not Mode.WRITING:
            raise NotStored(self.mode, self.problem)

    # -- committing ------------------------------------------------------------------------------------------------

    async def _commit_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._commit_group()
            if self._spoilt:
                await self._reload()
            if self._closing:
                return

    async def _commit_group(self) -> None:
        records: list[Record] = []
        sealed: list[Sealed] = []
        while self._queue and (not records or len(records) + len(self._queue[0].records) <= GROUP_RECORDS):
            waiting = self._queue.popleft()
            records.extend(waiting.records)
            sealed.extend(waiting.sealed)
        self._queued -= len(records)
        # A checkpoint is of a durable head: it is taken when nothing newer is in memory, and kept once this is stored.
        due = records[-1].seq - self.checkpoint_seq >= CHECKPOINT_EVERY
        captured = self._captured() if due and not self._spoilt and self.control.state.seq == records[-1].seq else None
        begun = asyncio.get_running_loop().time()
        try:
            await self._in_thread(lambda: self._store.append(records, sealed))
        except StaleEpoch as error:
            await self._fail(Mode.BROKEN, str(error))
            self._fatal(str(error))
            return
        except OutOfStep as error:
            await self._fail(Mode.BROKEN, str(error))
            return
        except Away as error:
            await self._fail(Mode.AWAY, str(error))
            return
        except LogError as error:
            await self._fail(Mode.FULL, str(error))
            return
        self.durable_seq = records[-1].seq
        while self._waiters and self._waiters[0][0] <= self.durable_seq:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
        if self._queued < WAITING_RECORDS:
            self._room.set()
        took = asyncio.get_running_loop().time() - begun
        for told in self.on_append:
            told(took)
        for listener in self.on_durable:
            listener(records)
        if captured is not None:
            await self._save_checkpoint(captured)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _captured(self) -> tuple[int, str, bytes]:
        state = self.control.state
        return state.seq, state.head_hash, state_bytes(state)

    async def _save_checkpoint(self, captured: tuple[int, str, bytes]) -> bool:
        try:
            await self._in_thread(lambda: self._store.checkpoint(*captured))
        except LogError as error:
            _LOG.warning("no checkpoint at event %d: %s", captured[0], error)
            return False
        self.checkpoint_seq = captured[0]
        return True

    # -- when it fails ---------------------------------------------------------------------------------------------

    def _become(self, mode: Mode, problem: str) -> None:
        self.mode, self.problem = mode, problem

    def _break(self, problem: str, error: Exception) -> None:
        """The state is no longer what the log says: stop taking requests, commit what is sound, load it anew."""
        _LOG.critical("an invariant is broken; control is read-only: %s", problem, exc_info=error)
        self._become(Mode.BROKEN, problem)
        self._loaded.clear()
        self._spoilt = True
        self._wake.set()  # what is queued is sound and is committed first

    async def _fail(self, mode: Mode, problem: str) -> None:
        _LOG.error("the log can't be written; control is read-only: %s", problem)
        if self.mode is not Mode.BROKEN:
            self._become(mode, problem)
        self._loaded.clear()
        self._queue.clear()
        self._queued = 0
        await self._reload()
        self._room.set()
        if self.mode in _WAITING_MODES and not self._closing:
            self._probe = asyncio.get_running_loop().create_task(self._try_again(), name="probe")

    async def _reload(self) -> None:
        """Throw the state away, load the log's, and give every reachable site a whole lease from now."""
        self._refuse_waiters()
        try:
            state = await self._in_thread(self._store.load)
        except Away as error:
            _LOG.error("the state can't be loaded for now: %s", error)
            self._lost = True
            if self.mode is Mode.FULL:
                self._become(Mode.AWAY, str(error))
        except (LogError, ValueError, AssertionError) as error:  # CorruptRecord and DecodeError are ValueErrors
            _LOG.critical("the state can't be loaded: %s", error)
            self._become(Mode.BROKEN, f"{self.problem}; and the log can't be read: {error}")
            self._lost = True
        else:
            leases = self._new_leases()
            for name in sorted(state.sites):
                if (site := state.sites[name]).reachable:
                    leases.answered(name, site.term, boot())
            self.control = Control(state, self.control.epoch, leases)
            self.durable_seq = state.seq
            self._spoilt = self._lost = False
        self._loaded.set()
        for listener in self.on_reload:
            listener()

    def _refuse_waiters(self) -> None:
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(NotStored(self.mode, self.problem))

    async def _try_again(self) -> None:
        """Load the state where that failed, and write a checkpoint of it: then the log is there again."""
        tries = 0
        while self.mode in _WAITING_MODES:
            await asyncio.sleep(PROBE_S[min(tries, len(PROBE_S) - 1)])
            tries += 1
            if self._closing:
                return
            if self._lost:
                await self._reload()
            if self._lost:
                continue
            if self.control.state.seq == 0 or await self._save_checkpoint(self._captured()):
                _LOG.warning("the log can be written again")
                self._become(Mode.WRITING, "")
