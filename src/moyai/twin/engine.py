"""A simulated engine with real guards: it queues, starts, forgets, starts late and starts twice, as engines do.

The guards keep the rule of the real one on the site's own boot clock: no start without a claim, none past the lease.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from moyai.agent.core.effects import FOREVER, Claim, EngineEnd
from moyai.model.commands import Launch
from moyai.model.events import Outcome
from moyai.model.ids import AttemptId, JobId, ManifestId, SiteName, ordinal_of
from moyai.model.reasons import Code, Reason
from moyai.model.units import Boot
from moyai.model.workload import OnPartition
from moyai.twin.truth import Run, Truth
from moyai.twin.world import Machine, World


@dataclass(frozen=True, slots=True)
class Work:
    """What a job really does: how long it takes, which of its attempts fail, how often it saves its progress."""

    total_us: int
    failing: int = 0  # its first so many attempts exit with 1
    checkpoint_us: int = 0  # run time between checkpoints; 0: none
    checkpoint_bytes: int = 1_000_000
    files: tuple[tuple[str, int], ...] = ()  # that a workflow's task writes, with their bytes


class AgentDoor(Protocol):
    """What guards and the engine reach of their agent. Everything answers None, or nothing, while no agent lives."""

    def ask_claim(self, attempt: AttemptId, nonce: str, rank: int) -> Claim | None:
        """A rank's start claim."""
        ...

    def ask_lease(self, attempt: AttemptId) -> int | None:
        """How much lease is left, in µs."""
        ...

    def told(self, run: Run) -> None:
        """A start of an attempt runs whole, saved its progress, or ended."""
        ...


class Engine:
    """One site's engine. It outlives the agent; `die` is the end of its machine."""

    def __init__(
        self,
        world: World,
        site: SiteName,
        machine: Machine,
        *,
        door: AgentDoor,
        truth: Truth,
        work: Callable[[JobId], Work],
        keep: Callable[[ManifestId, int], None],
        guarded: bool = True,
    ) -> None:
        self._world = world
        self._site = site
        self._machine = machine
        self._door = door
        self._truth = truth
        self._work = work
        self._keep = keep  # puts a checkpoint on the site's disk
        self.guarded = guarded  # else it starts without asking, and what runs knows no lease
        self._starts = 0
        self.books: dict[AttemptId, list[Run]] = {}
        self.alive: list[Run] = []  # runs whose guards are alive, those that the books lack included
        self.old: list[Launch] = []  # launches it once had, for a start out of the blue
        self.twice_share = 0.0  # of launches that it starts twice at once
        self.start_us: tuple[int, int] = (2_000, 300_000)

    # -- what the agent asks ---------------------------------------------------------------------------------------

    def start(self, launch: Launch) -> None:
        """Queue an attempt; one that is known is not queued again, and its end is said again."""
        runs = self.books.get(launch.attempt)
        if runs:
            for run in runs:
                self._door.told(run)
            return
        self.old = [*self.old[-7:], launch]
        self._queue(launch)
        if self.guarded and self._world.chance(self.twice_share):
            self._queue(launch)

    def stop(self, attempt: AttemptId, grace_us: int) -> bool:
        """End every start of an attempt. False where the books lack it."""
        runs = self.books.get(attempt)
        if not runs:
            return False
        for run in runs:
            if run.runs:
                reason = Reason(Code.SIGNAL, found=15)
                self._world.after(self._world.between(1_000, grace_us), self._finish, run, Outcome.STOPPED, reason)
            else:
                self._finish(run, Outcome.STOPPED, Reason(Code.CANCELLED))
        return True

    def forget(self, attempt: AttemptId) -> None:
        """Drop what the books hold of ended starts."""
        left = [r for r in self.books.get(attempt, ()) if not r.ended]
        if left:
            self.books[attempt] = left
        else:
            self.books.pop(attempt, None)

    # -- faults ----------------------------------------------------------------------------------------------------

    def start_again(self, launch: Launch) -> None:
        """Start an attempt once more, whatever became of it: a requeue, a replayed spool."""
        self._world.say(f"{self._site}: engine starts {launch.attempt} again")
        self._queue(launch)

    def lose(self, attempt: AttemptId, *, kill: bool) -> None:
        """Lose the books of an attempt; its processes die with it, or go on without anybody to tell."""
        self._world.say(f"{self._site}: engine forgets {attempt}, {'dead' if kill else 'alive'}")
        for run in self.books.pop(attempt, ()):
            run.known = False
            if not run.ended and (kill or not run.runs):
                self._end(run)

    def lose_nodes(self, count: int) -> None:
        """Nodes from index `count` on are gone, and what runs on them."""
        for run in list(self.alive):
            if any(node >= count for node in run.launch.nodes):
                self._finish(run, Outcome.FAILED, Reason(Code.SUPERVISOR_LOST, detail="its node is down"))

    def die(self, *, lose_books: bool) -> None:
        """The machine goes down: nothing runs any more."""
        for run in list(self.alive):
            if lose_books:
                run.known = False
            self._finish(run, Outcome.FAILED, Reason(Code.SUPERVISOR_LOST))
        if lose_books:
            self.books.clear()

    # -- a start and its guards ------------------------------------------------------------------------------------

    def _queue(self, launch: Launch) -> None:
        self._starts += 1
        run = Run(self._site, launch, f"{self._site}-{self._starts}")
        self.books.setdefault(launch.attempt, []).append(run)
        self.alive.append(run)
        delay_us = self._world.between(*self.start_us)
        ranks = len(launch.nodes)
        for rank in range(ranks):  # each on its node, in any order
            spread_us = self._world.between(0, 50_000) if ranks > 1 else 0
            self._world.after(delay_us + spread_us, self._ask if self.guarded else self._start_bare, run, rank)

    def _ask(self, run: Run, rank: int) -> None:
        """The guard of a rank asks its agent for leave to start."""
        if run.ended:
            return
        asked = self._machine.boot()
        answer = self._door.ask_claim(run.attempt, run.nonce, rank)
        self._world.after(self._world.between(100, 2_000), self._answered, run, rank, asked, answer)

    def _answered(self, run: Run, rank: int, asked: Boot, answer: Claim | None) -> None:
        if run.ended:
            return
        if answer is None or not answer.granted:
            words = answer.reason if answer and answer.reason else Reason(Code.START_REFUSED, detail="no agent")
            self._finish(run, Outcome.FAILED, words)
            return
        if answer.lease_left_us < FOREVER:
            left = Boot(asked + answer.lease_left_us)
            run.until = max(run.until, left) if run.ranks else left
            if self._machine.boot() >= run.until:
                self._finish(run, Outcome.FAILED, Reason(Code.START_REFUSED, detail="the lease is over"))
                return
        self._rank_begins(run)

    def _start_bare(self, run: Run, _: int) -> None:
        """A rank starts without a guard."""
        if not run.ended:
            self._rank_begins(run)

    def _rank_begins(self, run: Run) -> None:
        run.ranks += 1
        if self.guarded:
            self._truth.granted(run)
        if run.ranks == 1:
            self._truth.begin(run)
            self._world.say(f"{self._site}: {run.attempt} runs ({run.nonce})")
            if run.until < FOREVER:
                self._watch_lease(run)
        if run.ranks == len(run.launch.nodes):
            self._all_began(run)

    def _watch_lease(self, run: Run) -> None:
        """Renew at half of what is left; kill when nothing is."""
        if run.ended:
            return
        now = self._machine.boot()
        if now >= run.until:
            self._finish(run, Outcome.STOPPED, Reason(Code.LEASE_EXPIRED))
            return
        left = self._door.ask_lease(run.attempt)
        if left is not None:
            run.until = max(run.until, Boot(now + left))
        rest = run.until - now
        self._world.after(self._machine.true_us(min(rest, max(rest // 2, 500_000))), self._watch_lease, run)

    def _all_began(self, run: Run) -> None:
        world, launch = self._world, run.launch
        run.all_began = world.now
        work = self._work(launch.job)
        if run.known:
            self._door.told(run)
        rest = max(1_000, work.total_us - launch.covered_us)
        if launch.limit_us and launch.limit_us < rest:
            world.after(
                launch.limit_us, self._finish, run, Outcome.STOPPED, Reason(Code.TIME_LIMIT, wanted=launch.limit_us)
            )
        elif ordinal_of(launch.attempt) <= work.failing:
            world.after(rest // 2, self._finish, run, Outcome.FAILED, Reason(Code.EXIT, found=1))
        else:
            world.after(rest, self._finish, run, Outcome.SUCCEEDED, Reason(Code.EXIT))
        if work.checkpoint_us and launch.checkpoint is not None:
            world.after(work.checkpoint_us, self._save, run, work, 1)

    def _save(self, run: Run, work: Work, number: int) -> None:
        if run.ended:
            return
        name = f"step-{number:04d}"
        manifest = ManifestId(hashlib.sha256(f"{run.attempt}/{name}".encode()).hexdigest())
        self._keep(manifest, work.checkpoint_bytes)
        run.checkpoints.append((name, manifest, work.checkpoint_bytes, number * work.checkpoint_us))
        if run.known:
            self._door.told(run)
        self._world.after(work.checkpoint_us, self._save, run, work, number + 1)

    def _finish(self, run: Run, outcome: Outcome, reason: Reason) -> None:
        if run.ended:
            return
        run_us = self._world.now - run.all_began if run.all_began >= 0 else 0
        run.end = EngineEnd(outcome, reason, run_us=run_us, cpu_us=run_us, nonce=run.nonce)
        self._end(run)
        if run.known:
            self._door.told(run)

    def _end(self, run: Run) -> None:
        if run.runs:
            self._world.say(f"{self._site}: {run.attempt} ends ({run.nonce})")
        self._truth.end(run)
        self.alive.remove(run)


def may_lose_alive(run: Run) -> bool:
    """Whether its guards would end it in time if the engine lost it: one that waits out partitions they would not."""
    return run.launch.on_partition is OnPartition.STOP
