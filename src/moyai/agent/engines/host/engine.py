"""The host engine: one machine, run by the supervisor of its site."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moyai.agent import laying, left
from moyai.agent.core.effects import EngineEnd
from moyai.agent.engines.base import Desk
from moyai.agent.engines.host import mounts
from moyai.agent.engines.host.ends import engine_end, supervisor_lost
from moyai.agent.engines.host.link import Link, LocalDial
from moyai.agent.engines.host.prepare import Host, prepare, signal_number
from moyai.agent.laying import CannotPrepare
from moyai.agent.messages import (
    Again,
    BadMessage,
    Claim,
    Claimed,
    Ended,
    Forget,
    Message,
    Poke,
    Renew,
    Renewed,
    Start,
    Started,
    State,
    Stop,
)
from moyai.agent.places import Places
from moyai.agent.supervisor.record import NAME as RECORD
from moyai.agent.workdir import BadArchive
from moyai.data.io.tree import TreeError
from moyai.data.manifest import BadManifest
from moyai.model.commands import Launch
from moyai.model.events import Outcome
from moyai.model.ids import AttemptId, NodeName
from moyai.model.reasons import Code, Reason
from moyai.model.site import Flavor, SiteProfile
from moyai.model.units import Instant
from moyai.model.workload import JobText

LOG = logging.getLogger("moyai.agent.host")
PREPARED_AT_ONCE = 4


@dataclass(slots=True)
class _Run:
    """An attempt as the engine knows it. `order` is None where another agent's life sent it."""

    launch: Launch
    nonce: str = ""
    order: Start | None = None
    task: asyncio.Task[None] | None = None  # its preparation
    stop: Stop | None = None
    over: bool = False  # its end was told


class HostEngine:
    """Runs attempts on this machine."""

    def __init__(
        self,
        profile: SiteProfile,
        places: Places,
        head_bytes: int = 4 << 20,
        tail_bytes: int = 12 << 20,
        bwrap: str | None = None,
    ) -> None:
        """`bwrap`: the program to try instead of the system's; "" for none."""
        self._profile = profile
        self._places = places
        self._head_bytes, self._tail_bytes = head_bytes, tail_bytes
        self._bwrap = mounts.find() if bwrap is None else bwrap
        self._host: Host | None = None
        self._desk: Desk | None = None
        self._runs: dict[str, _Run] = {}
        self._known: set[str] = set()  # attempts that the supervisor had when it was last asked
        self._link = Link(LocalDial(places.root), self._take, self._back)
        self._preparing = asyncio.Semaphore(PREPARED_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What was proven here: "guard" always, "mounts" and "memory-limit" where they were tried and worked."""
        can = ["guard"]
        if self._link.state.memory:
            can.append("memory-limit")
        if self._host is not None and self._host.bwrap:
            can.append("mounts")
        return tuple(can)

    def capacity(self) -> tuple[Flavor, ...]:
        """The nodes of the profile: this machine has no drains of its own."""
        return self._profile.flavors

    async def open(self) -> None:
        """Connect to the supervisor, try the mounts. Raises EngineDown, OSError."""
        self._places.attempts.mkdir(parents=True, exist_ok=True)
        works, _ = await asyncio.gather(asyncio.to_thread(mounts.works, self._bwrap), self._link.open())
        self._host = Host(
            self._profile.name,
            self._places,
            self._bwrap if works else "",
            laying.shell(),
            self._head_bytes,
            self._tail_bytes,
        )
        self._known = {known.attempt for known in self._link.state.known}

    def begin(self, desk: Desk, owned: Sequence[AttemptId]) -> None:
        """Serve `desk`. What the supervisor runs and the journal doesn't own is stopped."""
        self._desk = desk
        self._own(self._link.begin())
        for known in self._link.state.known:
            if known.attempt not in owned and known.phase != "ended":
                LOG.warning("%s runs here and is not in the journal: it is stopped", known.attempt)
                self._link.send(Stop(known.attempt, signal.SIGTERM, 1_000_000))

    async def close(self) -> None:
        """Leave; what runs goes on."""
        await self._link.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what the shell asks for -----------------------------------------------------------------------------------

    def start(self, launch: Launch, text: JobText) -> None:
        """Prepare it and hand it to the supervisor, unless that has it already."""
        run = self._runs.get(launch.attempt)
        if run is not None and not run.over:
            return
        run = self._runs[launch.attempt] = _Run(launch)
        if launch.attempt not in self._known:
            run.task = self._own(asyncio.create_task(self._prepare(run, text), name=f"prepare {launch.attempt}"))

    def observe(self, launch: Launch, nonce: str) -> None:
        """Watch a start that was granted before; tell its end where it left a record, or its loss."""
        known = next((k for k in self._link.state.known if k.attempt == launch.attempt and k.nonce == nonce), None)
        if known is None:
            self._own(asyncio.create_task(self._gone(_Run(launch, nonce)), name=f"gone {launch.attempt}"))
            return
        self._runs[launch.attempt] = _Run(launch, nonce)
        if known.phase == "running":
            self._started(Started(known.attempt, nonce, known.started_us, known.started_wall_us))

    def stop(self, attempt: AttemptId, grace_us: int, signal_name: str) -> None:
        """End it, wherever it stands."""
        run = self._runs.get(attempt)
        if run is None and attempt not in self._known:
            end = EngineEnd(Outcome.STOPPED, Reason(Code.ENGINE_FORGOT))
            self._tell_end(attempt, end)
            return
        if run is not None and run.order is None and run.task is not None:
            run.over = True
            run.task.cancel()
            del self._runs[attempt]
            self._tell_end(attempt, EngineEnd(Outcome.STOPPED, Reason(Code.CANCELLED)))
            return
        message = Stop(attempt, _number(signal_name), grace_us)
        if run is not None:
            run.stop = message
        self._link.send(message)

    def checkpoint(self, attempt: AttemptId, signal_name: str) -> None:
        """Signal those of its processes that handle the signal."""
        self._link.send(Poke(attempt, _number(signal_name)))

    def forget(self, attempt: AttemptId) -> None:
        """Its end is in the journal: the supervisor may drop it."""
        self._runs.pop(attempt, None)
        self._known.discard(attempt)
        self._link.send(Forget(attempt))
        if not self._runs and not self._known:
            self._link.idle()

    # -- preparation -----------------------------------------------------------------------------------------------

    async def _prepare(self, run: _Run, text: JobText) -> None:
        assert self._host is not None
        assert self._desk is not None
        try:
            async with self._preparing:
                order = await asyncio.to_thread(prepare, self._host, run.launch, text)
            await self._link.steady.wait()
        except (CannotPrepare, mounts.MountRefused, TreeError, BadManifest, BadArchive, ValueError) as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        else:
            run.order, run.task = order, None
            self._known.add(run.launch.attempt)
            self._link.send(order)
            return
        LOG.warning("%s can't be started: %s", run.launch.attempt, problem)
        run.over = True
        self._runs.pop(run.launch.attempt, None)
        self._desk.launch_failed(run.launch.attempt, problem)

    # -- what the supervisor says ----------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        assert self._desk is not None
        match message:
            case Claim():
                self._own(asyncio.create_task(self._claim(message), name=f"claim {message.attempt}"))
            case Renew():
                left, lease_us = self._desk.lease_left_us(message.attempts)
                self._link.send(Renewed(message.sent_us, left, lease_us))
            case Started():
                self._started(message)
            case Ended():
                run = self._runs.get(message.attempt)
                launch = run.launch if run is not None else None
                end = engine_end(
                    message,
                    launch.limit_us if launch is not None else 0,
                    launch.need.memory_bytes if launch is not None else 0,
                )
                self._tell_end(AttemptId(message.attempt), end, message.started_us)
            case _:
                LOG.error("the supervisor said %s, which is not its to say", type(message).__name__)

    async def _claim(self, claim: Claim) -> None:
        assert self._desk is not None
        if await self._desk.joined():
            self._link.send(Again(claim.attempt))  # its lease would count from long ago
            return
        grant = await self._desk.claim(AttemptId(claim.attempt), claim.nonce, claim.ranks)
        run = self._runs.get(claim.attempt)
        if run is not None and grant.granted:
            run.nonce = claim.nonce
        self._link.send(Claimed(claim.attempt, claim.nonce, grant.granted, grant.left_us, grant.lease_us, grant.detail))

    def _started(self, message: Started) -> None:
        assert self._desk is not None
        run = self._runs.get(message.attempt)
        if run is None:
            return
        run.nonce = message.nonce
        flavor = run.launch.flavor
        nodes = tuple(NodeName(f"{flavor}-{index}") for index in run.launch.nodes)
        at = Instant(message.started_wall_us)
        self._desk.started(AttemptId(message.attempt), message.nonce, at, message.started_us, nodes)

    def _back(self, state: State, same: bool) -> None:
        """The line is up again. Where the supervisor died, so did what it ran, or it is killed now."""
        self._known = {known.attempt for known in state.known}
        for run in list(self._runs.values()):
            attempt = run.launch.attempt
            if run.over or run.task is not None:
                continue
            if attempt in self._known:
                if run.stop is not None:
                    self._link.send(run.stop)
            elif same and run.order is not None and not run.nonce:
                self._known.add(attempt)
                self._link.send(run.order)  # it was lost on the way
            else:
                self._own(asyncio.create_task(self._gone(run), name=f"gone {attempt}"))
        for known in state.known:
            if known.phase == "running":
                self._started(Started(known.attempt, known.nonce, known.started_us, known.started_wall_us))

    async def _gone(self, run: _Run) -> None:
        """Its supervisor is dead: kill what is left, then tell the end that was recorded, or the loss."""
        launch = run.launch
        if run.nonce:
            killed = await asyncio.to_thread(left.kill_left, launch.attempt, run.nonce)
            if killed:
                LOG.warning("%s: %d processes outlived their supervisor and were killed", launch.attempt, killed)
        recorded = _recorded(self._places.attempt(launch.attempt) / RECORD)
        if recorded is not None and recorded.nonce == run.nonce:
            end = engine_end(recorded, launch.limit_us, launch.need.memory_bytes)
            self._tell_end(launch.attempt, end, recorded.started_us)
        else:
            self._tell_end(launch.attempt, supervisor_lost(run.nonce, "the program that ran it died"))

    def _tell_end(self, attempt: AttemptId, end: EngineEnd, started_us: int = 0) -> None:
        assert self._desk is not None
        run = self._runs.get(attempt)
        if run is not None:
            run.over = True
        self._own(asyncio.create_task(self._desk.ended(attempt, end, started_us), name=f"end {attempt}"))

    def _own(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Keep a task until it is done; its failure is the agent's."""
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            assert self._desk is not None
            self._desk.fail(error)


def _number(name: str) -> int:
    """The number of a signal; of SIGTERM where there is none of that name, which was refused at the start."""
    try:
        return signal_number(name)
    except CannotPrepare as error:
        LOG.error("%s; SIGTERM is sent", error)
        return signal.SIGTERM


def _recorded(path: Path) -> Ended | None:
    try:
        return left.recorded(path)
    except (OSError, BadMessage) as error:
        LOG.error("the record %s can't be read: %s", path, error)
        return None
