"""The SSH engine: the host engine on several machines, each one node of a flavor, each under its own supervisor."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from moyai.agent.clocks import boot_us
from moyai.agent.core.effects import EngineEnd
from moyai.agent.engines.base import Desk
from moyai.agent.engines.host.prepare import signal_number
from moyai.agent.engines.ssh import placed
from moyai.agent.engines.ssh.machine import Machine
from moyai.agent.engines.ssh.reach import check
from moyai.agent.engines.ssh.run import Run
from moyai.agent.engines.ssh.runs import Runner
from moyai.agent.engines.ssh.sending import Sender
from moyai.agent.engines.ssh.slots import Slots
from moyai.agent.laying import CannotPrepare
from moyai.agent.messages import Ended, Forget, Message, Poke, Renew, Renewed, Stop
from moyai.agent.places import Places
from moyai.model.commands import Launch
from moyai.model.engine import SshSettings
from moyai.model.events import Outcome
from moyai.model.ids import AttemptId, FlavorName
from moyai.model.reasons import Code, Reason
from moyai.model.site import Flavor, SiteProfile
from moyai.model.workload import JobText

LOG = logging.getLogger("moyai.agent.ssh")
OPEN_S = 15.0
"""How long the agent's start waits for machines that have neither been reached nor failed yet."""
LOST_AFTER_S = 60.0
"""A machine that can't be reached for that long is no capacity any more."""
TICK_S = 0.5


class SshEngine:
    """Runs attempts on machines that are reached by SSH."""

    def __init__(
        self,
        profile: SiteProfile,
        settings: SshSettings,
        places: Places,
        *,
        head_bytes: int = 4 << 20,
        tail_bytes: int = 12 << 20,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        self._profile = profile
        self._settings = settings
        self._places = places
        self._lost_after_s = lost_after_s
        self._sender = Sender(profile.name, places, head_bytes, tail_bytes)
        self._machines: dict[str, Machine] = {}
        of_flavor: dict[FlavorName, list[str]] = {}
        for host in settings.hosts:
            of_flavor.setdefault(host.flavor, []).append(host.name)
        self._slots = Slots(of_flavor)
        self._memory_limits = False
        self._desk: Desk | None = None
        self._owned: set[str] = set()
        self._runs: dict[str, Run] = {}
        self._runner: Runner | None = None
        self._tasks: set[asyncio.Future[None]] = set()

    @property
    def capabilities(self) -> tuple[str, ...]:
        """ "guard" always, "memory-limit" where every machine of the list was reached and can. No mounts."""
        return ("guard", "memory-limit") if self._memory_limits else ("guard",)

    def capacity(self) -> tuple[Flavor, ...]:
        """The profile's flavors, with as many nodes as there are machines that can be reached."""
        return tuple(replace(f, count=min(f.count, self._slots.count(f.name))) for f in self._profile.flavors)

    async def open(self) -> None:
        """Reach the machines. Those that can't be reached now are tried on. Raises EngineDown."""
        check(self._settings)
        self._places.attempts.mkdir(parents=True, exist_ok=True)
        for host in self._settings.hosts:
            self._machines[host.name] = Machine(host, self._settings, self._take, self._back)
        for machine in self._machines.values():
            if machine.host.jump:
                machine.jump = self._machines[machine.host.jump]
            for work in machine.begin():
                self._own(work)
        tried = [asyncio.create_task(machine.tried.wait()) for machine in self._machines.values()]
        _, late = await asyncio.wait(tried, timeout=OPEN_S)
        for task in late:
            task.cancel()
        machines = self._machines.values()
        self._memory_limits = all(machine.up and machine.state.memory for machine in machines)
        self._slots.update([machine.name for machine in machines if machine.up], ())

    def begin(self, desk: Desk, owned: Sequence[AttemptId]) -> None:
        """Serve `desk`. What runs on the machines and the journal doesn't own is stopped."""
        self._desk = desk
        self._owned = set(owned)
        self._runner = Runner(desk, self._sender, self._machines, self._runs, self.own)
        for machine in self._machines.values():
            self._stop_strangers(machine)
        self._own(self._tick())
        for machine in self._machines.values():
            self._own(self._runner.follow(machine))

    async def close(self) -> None:
        """Leave; what runs goes on."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(machine.close() for machine in self._machines.values()))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what the shell asks for -----------------------------------------------------------------------------------

    def start(self, launch: Launch, text: JobText) -> None:
        """Send it to its machines, unless they have it."""
        assert self._runner is not None
        run = self._runs.get(launch.attempt)
        if run is not None and not run.over:
            return
        self._owned.add(launch.attempt)
        names = [self._slots.machine(launch.flavor, number) for number in launch.nodes]
        self._runner.start(launch, text, names)

    def observe(self, launch: Launch, nonce: str) -> None:
        """Watch a start that was granted before."""
        assert self._runner is not None
        self._owned.add(launch.attempt)
        found = placed.read(self._places.attempt(launch.attempt))
        if found is None or found.nonce != nonce or any(name not in self._machines for name in found.ranks):
            detail = "nobody knows on which machine it ran" if found is None else "its machine is not in the list"
            self._tell_end(launch.attempt, EngineEnd(Outcome.FAILED, Reason(Code.SUPERVISOR_LOST, detail=detail)))
            return
        for name, numbers in found.ranks.items():
            for number in numbers:
                self._slots.seed(launch.flavor, launch.nodes[number], name)
        self._runner.observe(launch, found)

    def stop(self, attempt: AttemptId, grace_us: int, signal_name: str) -> None:
        """End it, wherever it stands."""
        assert self._runner is not None
        run = self._runs.get(attempt)
        message = Stop(attempt, _number(signal_name), grace_us)
        if run is not None and not run.over:
            self._runner.stop(run, message)
            return
        for machine in self._machines.values():
            if attempt in machine.known:
                machine.send(message)
        self._tell_end(attempt, EngineEnd(Outcome.STOPPED, Reason(Code.ENGINE_FORGOT)))

    def checkpoint(self, attempt: AttemptId, signal_name: str) -> None:
        """Signal those of its processes that handle the signal."""
        run = self._runs.get(attempt)
        if run is not None:
            for name in run.parts.open:
                self._machines[name].send(Poke(attempt, _number(signal_name)))

    def forget(self, attempt: AttemptId) -> None:
        """Its end is in the journal: the machines may drop it."""
        run = self._runs.pop(attempt, None)
        self._owned.discard(attempt)
        for machine in self._machines.values():
            if attempt in machine.known or (run is not None and machine.name in run.parts.ranks):
                self._drop(machine, attempt)

    # -- what the machines say -------------------------------------------------------------------------------------

    def _take(self, machine: Machine, message: Message) -> None:
        if self._runner is None or self._desk is None:
            return  # it is said again: what it is about is asked after `begin`
        match message:
            case Renew():
                left, lease_us = self._desk.lease_left_us(message.attempts)
                machine.send(Renewed(message.sent_us, left, lease_us))
            case Ended() if message.attempt not in self._owned:
                self._drop(machine, message.attempt)
            case _:
                self._runner.take(machine, message)

    def _back(self, machine: Machine, same: bool) -> None:
        if self._runner is None:
            return
        self._stop_strangers(machine)
        self._runner.back(machine, same)

    def _stop_strangers(self, machine: Machine) -> None:
        """What runs there and nobody owns is stopped; what ended there is dropped, with its directory."""
        left = machine.about.attempts if machine.about is not None else ()
        for attempt in left:
            if attempt not in self._owned and attempt not in machine.known:
                self._own(Runner.drop(machine, attempt))
        for attempt in list(machine.known):
            if attempt in self._owned:
                continue
            if machine.known[attempt].phase == "ended":
                self._drop(machine, attempt)
            else:
                LOG.warning("%s runs on %s and is not in the journal: it is stopped", attempt, machine.name)
                machine.send(Stop(attempt, signal.SIGTERM, 1_000_000))

    def _drop(self, machine: Machine, attempt: str) -> None:
        assert self._runner is not None
        machine.send(Forget(attempt))
        self._own(self._runner.drop(machine, attempt))

    async def _tick(self) -> None:
        """Leases of machines that are silent run out; machines come into capacity, and fall out of it."""
        assert self._runner is not None
        assert self._desk is not None
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            living = [m.name for m in self._machines.values() if m.up or self._lately(m, now)]
            busy = {name for run in self._runs.values() for name in run.parts.open if not run.over}
            self._slots.update(living, busy)
            self._desk.capacity_changed(self.capacity())  # said on if it has
            self._runner.tick(boot_us())
            await asyncio.sleep(TICK_S)

    def _lately(self, machine: Machine, now: float) -> bool:
        """Whether it was reached not long ago."""
        return machine.reached and now - machine.down_since < self._lost_after_s

    def _tell_end(self, attempt: AttemptId, end: EngineEnd) -> None:
        assert self._desk is not None
        self._own(self._desk.ended(attempt, end, 0))

    def own(self, work: Coroutine[Any, Any, None]) -> "asyncio.Future[None]":
        """Do `work` beside everything else; its failure is the agent's."""
        return self._own(work)

    def _own(self, work: Awaitable[None]) -> "asyncio.Future[None]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Future[None]") -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._desk is None:
            LOG.error("the engine broke before it was used", exc_info=error)
            raise error
        self._desk.fail(error)


def _number(name: str) -> int:
    """The number of a signal; of SIGTERM where there is none of that name, which was refused at the start."""
    try:
        return signal_number(name)
    except CannotPrepare as error:
        LOG.error("%s; SIGTERM is sent", error)
        return signal.SIGTERM
