"""Attempts on their machines, from the order to the end.

sending ──order at every machine──▶ claiming ──one claim for all ranks──▶ running ──every part over──▶ finishing ─▶ over
   └── can't be sent, or a machine is lost before the claim: the launch failed
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from moyai.agent.clocks import boot_us
from moyai.agent.core.effects import EngineEnd
from moyai.agent.engines.base import Desk
from moyai.agent.engines.host.prepare import signal_number
from moyai.agent.engines.ssh import placed
from moyai.agent.engines.ssh.ending import Ending, look
from moyai.agent.engines.ssh.machine import Machine, MachineDown, Unwilling
from moyai.agent.engines.ssh.mirror import Mirror
from moyai.agent.engines.ssh.parts import Parts
from moyai.agent.engines.ssh.placed import Placed
from moyai.agent.engines.ssh.run import Run
from moyai.agent.engines.ssh.sending import Sender, send
from moyai.agent.laying import CannotPrepare
from moyai.agent.messages import Again, BadMessage, Claim, Claimed, Ended, Message, Started, Stop, decode
from moyai.agent.workdir import BadArchive
from moyai.data.io import tree
from moyai.data.manifest import BadManifest
from moyai.model.commands import Launch
from moyai.model.events import Outcome
from moyai.model.ids import NodeName
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant
from moyai.model.workload import JobText, OnPartition

LOG = logging.getLogger("moyai.agent.ssh")
SENT_AT_ONCE = 4
UP_S = 20.0
"""How long a launch waits for a machine that was lost just now."""
LOOK_S = 0.25
"""Between looks at what the jobs of a machine have printed and saved."""
AGAIN_S = 1.0
CLAIM_US = 60_000_000
"""How long an attempt that may not run yet waits for a machine that can't be reached."""
MARGIN_US = 500_000

_CANT = (CannotPrepare, MachineDown, Unwilling, tree.TreeError, BadManifest, BadArchive, ValueError, OSError)


class Runner:
    """Moves attempts on as machines speak. The engine owns `runs`, which are taken out when they are forgotten."""

    def __init__(
        self,
        desk: Desk,
        sender: Sender,
        machines: Mapping[str, Machine],
        runs: dict[str, Run],
        own: Callable[[Coroutine[Any, Any, None]], "asyncio.Future[None]"],
    ) -> None:
        self._desk = desk
        self._places = sender.places
        self._sender = sender
        self._machines = machines
        self._runs = runs
        self._own = own
        self._ending = Ending(desk, sender.places, machines)
        self._sending = asyncio.Semaphore(SENT_AT_ONCE)

    # -- the start -------------------------------------------------------------------------------------------------

    def start(self, launch: Launch, text: JobText, names: Sequence[str | None]) -> None:
        """Send it. `names`: the machine of each rank; None where its node has none now."""
        found = placed.read(self._places.attempt(launch.attempt))
        if found is None or not any(self._has(name, launch.attempt, found.nonce) for name in found.ranks):
            ranks: dict[str, list[int]] = {}
            for rank, name in enumerate(names):
                if name is None:
                    detail = f"node {launch.nodes[rank]} of {launch.flavor} has no machine that can be reached"
                    self._desk.launch_failed(launch.attempt, detail)
                    return
                ranks.setdefault(name, []).append(rank)
            boots = {name: self._machines[name].state.boot for name in ranks}
            found = Placed(os.urandom(16).hex(), ranks, boots, _paths(launch, text))
        run = self._runs[launch.attempt] = Run(launch, found, Parts(found.ranks))
        run.sending = self._own(self._send(run, text))

    def _has(self, name: str, attempt: str, nonce: str) -> bool:
        machine = self._machines.get(name)
        known = machine.known.get(attempt) if machine is not None else None
        return known is not None and known.nonce == nonce

    async def _send(self, run: Run, text: JobText) -> None:
        lacking = [n for n in run.placed.ranks if not self._has(n, run.attempt, run.placed.nonce)]
        try:
            async with self._sending:
                await asyncio.to_thread(self._make_place, run)
                orders = [self._send_to(run, self._machines[name], text) for name in lacking]
                for done in await asyncio.gather(*orders, return_exceptions=True):
                    if isinstance(done, BaseException):
                        raise done
            for name in run.placed.ranks:
                await self._machines[name].wait_up(UP_S)  # its supervisor may be replaced just now
            for name in run.placed.ranks:
                if not self._machines[name].up:
                    raise MachineDown(self._machines[name].problem or f"{name} can't be reached")
        except _CANT as error:
            words = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
            run.sending = None
            self._fail_launch(run, str(words))
            return
        run.sending, run.sent_us = None, boot_us()
        for name in run.placed.ranks:
            if name in lacking:
                self._machines[name].send(run.orders[name])
            else:
                self._settle(run, self._machines[name], same=True)

    def _make_place(self, run: Run) -> None:
        place = self._places.attempt(run.attempt)
        place.mkdir(parents=True, exist_ok=True)
        placed.write(place, run.placed)
        run.mirror = self._mirror(run)

    async def _send_to(self, run: Run, machine: Machine, text: JobText) -> None:
        wanted = {
            name
            for other in self._runs.values()
            if machine.name in other.parts.ranks and not other.over
            for name in (other.launch.workdir, other.launch.restore, *(i.manifest for i in other.launch.inputs))
            if name is not None
        }
        await machine.wait_up(UP_S)
        by_rank = {rank: name for name, numbers in run.placed.ranks.items() for rank in numbers}
        run.orders[machine.name] = await send(
            self._sender,
            machine,
            run.launch,
            text,
            ranks=run.placed.ranks[machine.name],
            nonce=run.placed.nonce,
            hosts=[self._machines[by_rank[rank]].host.address for rank in sorted(by_rank)],
            wanted=wanted,
        )

    def _mirror(self, run: Run) -> Mirror:
        """Blocks. Names of checkpoints that were restored are not to be fetched."""
        restored: tuple[str, ...] = ()
        if run.launch.restore is not None:
            try:
                restored = tree.load(self._places.objects, run.launch.restore).tops()
            except (OSError, BadManifest) as error:
                LOG.warning("%s: what was restored can't be read any more: %s", run.attempt, error)
        return Mirror(run.attempt, self._places.attempt(run.attempt), run.placed.ranks, restored)

    def _fail_launch(self, run: Run, problem: str) -> None:
        LOG.warning("%s can't be started: %s", run.attempt, problem)
        run.over = True
        self._tell_stop(run, Stop(run.attempt, signal_number("SIGKILL"), 0))
        self._desk.launch_failed(run.attempt, problem)

    def observe(self, launch: Launch, found: Placed) -> None:
        """It was granted its start before: watch its parts again."""
        run = self._runs[launch.attempt] = Run(launch, found, Parts(found.ranks), sent_us=boot_us(), claimed=True)
        run.mirror = self._mirror(run)
        for name in found.ranks:
            if self._machines[name].up:
                self._settle(run, self._machines[name], same=False)

    # -- what machines say -----------------------------------------------------------------------------------------

    def take(self, machine: Machine, message: Message) -> None:
        """A supervisor said something about an attempt."""
        match message:
            case Claim():
                self._claims(machine, message)
            case Started():
                run = self._runs.get(message.attempt)
                if run is not None and run.placed.nonce == message.nonce:
                    self._began(run, machine, message)
            case Ended():
                run = self._runs.get(message.attempt)
                if run is not None and run.placed.nonce == message.nonce:
                    self._part_ended(run, machine, message)
            case _:
                LOG.error("%s said %s, which is not its to say", machine.name, type(message).__name__)

    def _claims(self, machine: Machine, claim: Claim) -> None:
        run = self._runs.get(claim.attempt)
        if run is None:
            return  # not known yet: it is asked to claim again when it is, or told to stop
        if run.over or claim.nonce != run.placed.nonce:
            detail = "the attempt is over" if run.over else "another start of this attempt was sent"
            machine.send(Claimed(claim.attempt, claim.nonce, False, 0, 0, detail))
            return
        run.parts.claims.add(machine.name)
        if run.claimed:
            self._own(self._claim_again(run, machine))
        elif not run.claiming and not run.sending and run.parts.claims.issuperset(run.parts.ranks):
            run.claiming = True
            self._own(self._claim(run))

    async def _claim(self, run: Run) -> None:
        """The one claim, for all ranks or none."""
        machines = [self._machines[name] for name in run.parts.ranks]
        if await self._desk.joined():
            run.claiming = False
            run.parts.claims.clear()
            for machine in machines:
                machine.send(Again(run.attempt))  # a lease would count from long ago
            return
        ranks = sorted(rank for numbers in run.parts.ranks.values() for rank in numbers)
        grant = await self._desk.claim(run.attempt, run.placed.nonce, ranks)
        run.claiming, run.claimed = False, grant.granted
        for machine in machines:
            machine.send(
                Claimed(run.attempt, run.placed.nonce, grant.granted, grant.left_us, grant.lease_us, grant.detail)
            )

    async def _claim_again(self, run: Run, machine: Machine) -> None:
        """The answer to a claim that was granted did not arrive."""
        if await self._desk.joined():
            machine.send(Again(run.attempt))
            return
        left, lease_us = self._desk.lease_left_us([run.attempt])
        left_us = left.get(run.attempt, 0)
        detail = "" if left_us > 0 else "the site's lease is over"
        machine.send(Claimed(run.attempt, run.placed.nonce, left_us > 0, left_us, lease_us, detail))

    def _began(self, run: Run, machine: Machine, message: Started) -> None:
        if machine.name not in run.parts.ranks:
            return
        run.parts.started[machine.name] = message
        if run.begun or len(run.parts.started) < len(run.parts.ranks):
            return
        run.begun = True
        by_rank = {rank: name for name, numbers in run.parts.ranks.items() for rank in numbers}
        nodes = tuple(NodeName(by_rank[rank]) for rank in sorted(by_rank))
        at = Instant(max(started.started_wall_us for started in run.parts.started.values()))
        since_us = max(s.started_us + self._machines[n].offset_us for n, s in run.parts.started.items())
        self._desk.started(run.attempt, run.placed.nonce, at, since_us, nodes)

    def _part_ended(self, run: Run, machine: Machine, ended: Ended) -> None:
        if machine.name in run.parts.open:
            run.parts.ended[machine.name] = ended
            self._react(run)

    def _part_lost(self, run: Run, name: str, detail: str) -> None:
        if name in run.parts.open and not run.over:
            LOG.warning("%s: %s", run.attempt, detail)
            run.parts.lost[name] = detail
            self._react(run)

    def _react(self, run: Run) -> None:
        """One part is over: end the attempt where all are, stop the others where it can't succeed any more."""
        if run.over or run.finishing:
            return
        if run.parts.over:
            run.finishing = True
            self._own(self._finish(run))
        elif run.parts.failed and run.stop is None:
            rule = run.launch.checkpoint
            number = signal_number(rule.stop_signal if rule else "SIGTERM")
            run.stop = Stop(run.attempt, number, run.launch.grace_us)
            self._tell_stop(run, run.stop)

    async def _finish(self, run: Run) -> None:
        if run.mirror is None:
            run.mirror = await asyncio.to_thread(self._mirror, run)
        if run.saving is not None:
            await asyncio.gather(run.saving, return_exceptions=True)
        await self._ending.end(run.launch, run.placed, run.parts, run.mirror)
        run.over = True

    def back(self, machine: Machine, same: bool) -> None:
        """A machine's supervisor can be talked to again; where not `same`, the one before it is dead."""
        for run in list(self._runs.values()):
            if machine.name in run.parts.open and not run.over and not run.sending:
                self._settle(run, machine, same=same)

    def _settle(self, run: Run, machine: Machine, *, same: bool) -> None:
        """See how a part stands, by what its machine said last."""
        known = machine.known.get(run.attempt)
        if known is not None and known.nonce == run.placed.nonce:
            if run.stop is not None:
                machine.send(run.stop)
            if known.phase == "running":
                self._began(run, machine, Started(run.attempt, known.nonce, known.started_us, known.started_wall_us))
            elif known.phase == "claiming":
                machine.send(Again(run.attempt))
            elif (ended := machine.ends.get(run.attempt)) is not None:
                self._part_ended(run, machine, ended)
        elif run.claimed or run.claiming:
            self._own(self._gone(run, machine))
        elif same and machine.name in run.orders:
            machine.send(run.orders[machine.name])  # it was lost on the way
        else:
            self._fail_launch(run, f"{machine.name} was lost before the start")

    async def _gone(self, run: Run, machine: Machine) -> None:
        """Its supervisor has died, or the machine was restarted: what is left is killed, and the record counts."""
        try:
            told, _ = await machine.ask({"do": "gone", "attempt": run.attempt, "nonce": run.placed.nonce})
            ended = decode(told["record"].encode()) if told["record"] else None
        except MachineDown:
            return  # asked again when it is back
        except (Unwilling, BadMessage) as error:
            LOG.error("%s: its record can't be read: %s", run.attempt, error)
            ended = None
        if isinstance(ended, Ended) and ended.nonce == run.placed.nonce:
            self._part_ended(run, machine, ended)
        elif run.placed.boots.get(machine.name) != machine.state.boot:
            self._part_lost(run, machine.name, f"node lost: {machine.name} was restarted")
        else:
            self._part_lost(run, machine.name, f"the program that ran it on {machine.name} died")

    # -- its end ---------------------------------------------------------------------------------------------------

    def stop(self, run: Run, message: Stop) -> None:
        """Somebody wants its end."""
        run.stop = message
        if run.sending is not None:
            run.sending.cancel()
            run.over, run.sending = True, None
            self._tell_stop(run, message)
            self._own(self._desk.ended(run.attempt, EngineEnd(Outcome.STOPPED, Reason(Code.CANCELLED)), 0))
            return
        self._tell_stop(run, message)
        if not run.claimed and not run.claiming:
            for name in run.parts.open:
                if not self._machines[name].up:
                    self._part_lost(run, name, f"{name} can't be reached, and nothing was started there")

    def _tell_stop(self, run: Run, message: Stop) -> None:
        for name in run.parts.open:
            self._machines[name].send(message)

    def tick(self, now_us: int) -> None:
        """What is on machines that can't be reached is over once its lease must be."""
        _, lease_us = self._desk.lease_left_us(())
        for run in list(self._runs.values()):
            silent = [name for name in run.parts.open if not self._machines[name].up]
            if not silent or run.over or run.sending or run.claiming:
                continue
            if not run.claimed:
                if now_us > run.sent_us + CLAIM_US:
                    self._fail_launch(run, f"{silent[0]} can't be reached any more")
                continue
            if run.launch.on_partition is OnPartition.WAIT or not lease_us:
                continue  # a lease of it never ends, or it isn't known yet how long one is
            for name in silent:
                if now_us > self._machines[name].answered_us + lease_us + lease_us // 64 + MARGIN_US:
                    problem = self._machines[name].problem or "its line is down"
                    self._part_lost(run, name, f"node lost: {name} can't be reached: {problem}")

    # -- files -----------------------------------------------------------------------------------------------------

    async def follow(self, machine: Machine) -> None:
        """Bring what the jobs of a machine print and save, as long as the agent lives."""
        while True:
            await asyncio.sleep(LOOK_S)
            here = {
                run.attempt: run.mirror
                for run in self._runs.values()
                if run.mirror is not None and machine.name in run.parts.started and not run.finishing and not run.over
            }
            if not here or not machine.up:
                continue
            try:
                found = await look(machine, here)
            except (MachineDown, Unwilling, OSError) as error:
                LOG.warning("what the jobs on %s print can't be had now: %s", machine.name, error)
                await asyncio.sleep(AGAIN_S)
                continue
            for attempt, (names, _) in found.items():
                run = self._runs.get(attempt)
                if names and run is not None and run.saving is None:
                    run.saving = self._own(self._save(run, here[run.attempt], names))

    async def _save(self, run: Run, mirror: Mirror, names: Sequence[str]) -> None:
        try:
            await mirror.checkpoints(self._machines, names)
        finally:
            run.saving = None

    @staticmethod
    async def drop(machine: Machine, attempt: str) -> None:
        """Its end is in the journal: its directory there may go."""
        try:
            await machine.ask({"do": "drop", "attempts": [attempt]})
        except (MachineDown, Unwilling) as error:
            LOG.info("%s is not dropped now: %s", attempt, error)  # it is when the machine is connected again


def _paths(launch: Launch, text: JobText) -> list[str]:
    """Where the files lie that are to be kept."""
    paths = dict(text.files)
    return [paths[file] for file in launch.files if file in paths]
