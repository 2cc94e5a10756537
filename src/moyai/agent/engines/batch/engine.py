"""The engine of a site whose own scheduler takes scripts: everything but how that scheduler is spoken to.

An attempt's id is the key of its job. So what the scheduler has is the memory of what was handed over, and after any
crash an attempt is looked for before it is handed over. Where it got there twice all the same, the start claim lets
one of them run.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from moyai.agent.clocks import boot_us
from moyai.agent.core.effects import EngineEnd
from moyai.agent.engines.base import Desk
from moyai.agent.engines.batch import files
from moyai.agent.engines.batch.base import Job, Phase, Refused, Scheduler, SchedulerDown
from moyai.agent.engines.batch.listing import Listing
from moyai.agent.engines.batch.order import Site, lay_out, tail
from moyai.agent.engines.batch.run import WORD_US, Run
from moyai.agent.engines.host.mounts import MountRefused
from moyai.agent.engines.host.prepare import CannotPrepare, signal_number
from moyai.agent.guarding import bundle
from moyai.agent.guards import SOCKET, Guards
from moyai.agent.messages import Began, Ended, Over, Poke, Stop
from moyai.agent.places import Places
from moyai.agent.workdir import BadArchive
from moyai.data.io.tree import TreeError
from moyai.data.manifest import BadManifest
from moyai.model.commands import Launch
from moyai.model.engine import GuardSettings
from moyai.model.events import Outcome
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason
from moyai.model.site import Flavor, SiteProfile
from moyai.model.workload import JobText

LOG = logging.getLogger("moyai.agent.batch")
PREPARED_AT_ONCE = 4
SUBMITTED_AT_ONCE = 8
AGAIN_MOST_S = 30.0
"""The longest pause between two tries of a scheduler that is down."""
IDLE_S = 10.0
"""Between two looks where nothing of ours is there."""
MISSING_US = 2_000_000
"""So long a job must be missing before it counts as forgotten."""
SILENT_US = 60_000_000
"""So long no guard of a start may be heard while the scheduler is down."""
KILL_MARGIN_S = 2.0
"""After the grace that guards give, before the scheduler is told to end it."""


class BatchEngine:
    """Runs attempts through a scheduler that takes scripts, each rank under a guard."""

    def __init__(  # noqa: PLR0917 — said once, by each engine
        self,
        profile: SiteProfile,
        places: Places,
        scheduler: Scheduler,
        guard: GuardSettings,
        poll_us: int,
        head_bytes: int = 4 << 20,
        tail_bytes: int = 12 << 20,
    ) -> None:
        self._places = places
        self._scheduler = scheduler
        self._guard = guard
        self._poll_s = poll_us / 1_000_000
        archive, socket = places.root / bundle.NAME, places.root / SOCKET
        self._site = Site(profile.name, places, guard, archive, socket, head_bytes, tail_bytes)
        self._desk: Desk | None = None
        self._guards: Guards | None = None
        self._runs: dict[AttemptId, Run] = {}
        self._owned: set[AttemptId] = set()
        self._listing = Listing(scheduler, profile.flavors)
        self._wake = asyncio.Event()
        self._preparing = asyncio.Semaphore(PREPARED_AT_ONCE)
        self._submitting = asyncio.Semaphore(SUBMITTED_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    # -- the engine's life -----------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Each rank runs under a guard. Nothing is promised about memory: the site's own set-up decides."""
        return ("guard",)

    @property
    def guards_listen(self) -> str:
        """Where guards of other machines come."""
        return self._guard.listen

    def capacity(self) -> tuple[Flavor, ...]:
        """The nodes that were counted last; those of the profile before the first count."""
        return self._listing.flavors

    async def open(self) -> None:
        """Lay out what guards need, and meet the scheduler. Raises EngineDown.

        One that is down for now is no hindrance: what runs needs its agent all the same.
        """
        self._places.attempts.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(bundle.put, self._places.root)
        try:
            await self._scheduler.open()
            await self._listing.count()
        except SchedulerDown as error:
            self._listing.note("look", str(error))

    def begin(self, desk: Desk, owned: Sequence[AttemptId]) -> None:
        """Work for `desk`. What the scheduler has of this site and is not `owned` is ended."""
        self._desk = desk
        self._owned.update(owned)
        self._own(self._watch(), "watch the scheduler")

    async def close(self) -> None:
        """Leave; what runs goes on."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._scheduler.close()

    def meet(self, guards: Guards) -> None:
        """How guards are spoken to."""
        self._guards = guards

    def _tell(self, message: Stop | Poke) -> None:
        if self._guards is not None:
            self._guards.tell(message)

    # -- what the shell asks for -----------------------------------------------------------------------------------

    def start(self, launch: Launch, text: JobText) -> None:
        """Hand it over, unless the scheduler has it already."""
        if launch.attempt in self._runs:
            return
        self._owned.add(launch.attempt)
        run = self._runs[launch.attempt] = Run(launch)
        run.task = self._own(self._hand_over(run, text), f"hand over {launch.attempt}")

    def observe(self, launch: Launch, nonce: str) -> None:
        """Watch a start that was granted before; what its guards left on disk is read first."""
        self._owned.add(launch.attempt)
        if launch.attempt not in self._runs:
            run = self._runs[launch.attempt] = Run(launch, nonce, submitted_us=1)
            self._own(self._read_records(run), f"records of {launch.attempt}")

    def stop(self, attempt: AttemptId, grace_us: int, signal_name: str) -> None:
        """End it, wherever it stands."""
        run = self._runs.get(attempt)
        if run is None:
            self._owned.discard(attempt)  # what the scheduler may have of it is ended at the next look
            self._wake.set()
            self._own(self._say_end(attempt, EngineEnd(Outcome.STOPPED, Reason(Code.ENGINE_FORGOT)), 0), "end")
            return
        run.stopped = True
        if run.task is not None and not run.submitted_us:
            run.task.cancel()
            self._finish(run, EngineEnd(Outcome.STOPPED, Reason(Code.CANCELLED)))
            self._owned.discard(attempt)
            return
        self._ask(run, Stop(attempt, _number(signal_name), grace_us))

    def checkpoint(self, attempt: AttemptId, signal_name: str) -> None:
        """Signal those of its processes that handle the signal."""
        self._tell(Poke(attempt, _number(signal_name)))

    def forget(self, attempt: AttemptId) -> None:
        """Its end is in the journal: what only its guards needed is removed."""
        self._owned.discard(attempt)
        run = self._runs.pop(attempt, None)
        if run is not None:
            run.over.set()
            if run.task is not None:
                run.task.cancel()
        self._own(asyncio.to_thread(files.tidy, self._places.attempt(attempt)), f"tidy {attempt}")

    # -- what guards tell ------------------------------------------------------------------------------------------

    def granted(self, attempt: AttemptId, nonce: str) -> None:
        """A start of it has the claim."""
        if (run := self._runs.get(attempt)) is not None:
            run.nonce = nonce

    def began(self, began: Began) -> None:
        """A rank runs. One whose end is wanted is told so, as it may not have been on a line then."""
        run = self._runs.get(AttemptId(began.attempt))
        if run is None or run.over.is_set():
            return
        self._see(run, began, heard=True)
        if run.stop is not None:
            self._tell(run.stop)

    def rank_over(self, over: Over) -> None:
        """A rank is dead."""
        run = self._runs.get(AttemptId(over.attempt))
        if run is not None and not run.over.is_set():
            self._see(run, over, heard=True)
            self._advance(run)

    def _see(self, run: Run, word: Began | Over, *, heard: bool) -> None:
        assert self._desk is not None
        if not run.see(word, heard=heard):
            return
        if isinstance(word, Over):
            self._rank_over(run, word)
        elif (begun := run.begun()) is not None:
            self._desk.started(run.attempt, run.nonce, begun.at, begun.since_us, begun.nodes)

    def _rank_over(self, run: Run, over: Over) -> None:
        """Where a rank failed the others have nothing to wait for."""
        alone = over.cause == "exit" and over.end.status == 0
        if not alone and run.stop is None and not run.all_over:
            rule = run.launch.checkpoint
            number = _number(rule.stop_signal if rule else "SIGTERM")
            self._ask(run, Stop(run.attempt, number, rule.grace_us if rule else run.launch.grace_us))

    # -- the way to the scheduler ----------------------------------------------------------------------------------

    async def _hand_over(self, run: Run, text: JobText) -> None:
        assert self._desk is not None
        await self._listing.after(0)
        try:
            if run.attempt not in self._listing.jobs:
                await self._submit(run, text)
        except (CannotPrepare, Refused, MountRefused, TreeError, BadManifest, BadArchive, ValueError) as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        else:
            run.job = run.job or self._listing.jobs.get(run.attempt)
            run.submitted_us, run.task = boot_us(), None
            self._wake.set()
            return
        LOG.warning("%s can't be started: %s", run.attempt, problem)
        self._runs.pop(run.attempt, None)
        self._owned.discard(run.attempt)
        self._desk.launch_failed(run.attempt, problem)

    async def _submit(self, run: Run, text: JobText) -> None:
        """Prepare it, and hand it over until it is there. Raises Refused, and what `lay_out` does."""
        if problem := self._scheduler.impossible(run.launch):
            raise Refused(problem)
        async with self._preparing:
            submission = await asyncio.to_thread(lay_out, self._site, run.launch, text)
        pause = self._poll_s
        while run.attempt not in self._listing.jobs:
            try:
                async with self._submitting:
                    number = await self._scheduler.submit(submission)
            except SchedulerDown as error:
                self._listing.note("submit", str(error))
                self._wake.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_MOST_S)
                await self._listing.after(boot_us())  # it may have got there all the same
            else:
                self._listing.note("submit", "")
                run.job = Job(run.attempt, number, Phase.QUEUED)
                return

    def _ask(self, run: Run, stop: Stop) -> None:
        """Signal and grace by the guards, the kill by them and by the scheduler."""
        first = run.stop is None
        run.stop = stop
        self._tell(stop)
        if first:
            self._own(self._end(run), f"stop {run.attempt}")

    async def _end(self, run: Run) -> None:
        """The scheduler ends what its guards do not, or what still waits there. Tried until the end was told."""
        assert run.stop is not None
        if run.nonce:
            await _within(run.over, run.stop.grace_us / 1_000_000 + KILL_MARGIN_S)
        pause = self._poll_s
        while not run.over.is_set():
            if run.job is not None and run.job.phase is not Phase.ENDED:
                await self._listing.cancel(run.job)
            self._wake.set()
            await _within(run.over, pause)
            pause = min(2 * pause, AGAIN_MOST_S)

    # -- what the scheduler says -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look again and again; more seldom where nothing is there, or the scheduler is down."""
        down_s = self._poll_s
        while True:
            up = await self._look()
            down_s = self._poll_s if up else min(2 * down_s, AGAIN_MOST_S)
            pause = down_s if not up else self._poll_s if self._runs else max(self._poll_s, IDLE_S)
            await _within(self._wake, pause)
            if self._wake.is_set():
                await asyncio.sleep(min(pause, 0.1))  # so that many wishes are one look
            self._wake.clear()

    async def _look(self) -> bool:
        """One look, and what follows from it. False where the scheduler is down."""
        assert self._desk is not None
        up = await self._listing.look([a for a, run in self._runs.items() if run.missing_us])
        if up:  # before the ends: what is planned then must not count on nodes that others took
            self._desk.capacity_changed(self._listing.flavors)
        for run in list(self._runs.values()):
            if up:
                self._match(run)
            self._hear(run, up=up)
            self._advance(run)
        if up:
            await self._listing.sweep(self._owned)
        return up

    def _match(self, run: Run) -> None:
        """Take what the listing says about a run, or does not say."""
        asked_us = self._listing.asked_us
        if not run.submitted_us or run.submitted_us >= asked_us:
            return
        job = self._listing.jobs.get(run.attempt)
        if job is not None:
            run.job, run.missing_us = job, 0
        else:
            run.missing_us = run.missing_us or asked_us

    def _hear(self, run: Run, *, up: bool) -> None:
        """Where the scheduler can't be asked and no guard is heard, nobody would ever tell the end: give it up."""
        heard = self._guards is not None and self._guards.count(run.attempt)
        if up or heard or not run.nonce or run.all_over or run.over.is_set():
            run.silent_us = 0
            return
        run.silent_us = run.silent_us or boot_us()
        if boot_us() - run.silent_us > SILENT_US:
            detail = f"{self._scheduler.title} is down, and none of its guards is heard"
            self._lost(run, Reason(Code.ENGINE_FORGOT, detail=detail))

    def _advance(self, run: Run) -> None:
        """See whether it is over, by all that is known of it now."""
        if run.over.is_set():
            return
        now, job = boot_us(), run.job
        job_over = job is not None and job.phase is Phase.ENDED
        if run.nonce and run.all_over:
            end = run.guards_end(now, job_over=job_over)
            if end is not None:
                self._finish(run, end)
            else:
                self._wake.set()
        elif run.missing_us:
            heard = self._guards is not None and self._guards.count(run.attempt)
            if now - run.missing_us > MISSING_US and not heard:
                self._lost(run)
        elif job is not None and job_over:
            run.job_over_us = run.job_over_us or now
            if run.nonce and now - run.job_over_us < WORD_US:
                self._own(self._read_records(run), f"records of {run.attempt}")
            elif run.nonce and job.suspect:
                self._lost(run, job.reason)
            else:
                said = tail(self._places.attempt(run.attempt))
                self._finish(run, run.job_end(job, said, self._scheduler.title))

    def _lost(self, run: Run, reason: Reason | None = None) -> None:
        """The scheduler has forgotten it, or gave it up unseen, and some guard left no word."""
        assert self._desk is not None
        if not run.lost:
            LOG.warning("%s: %s", run.attempt, reason.detail if reason else f"{self._scheduler.title} has forgotten it")
            run.lost = True
        if not run.nonce:
            del self._runs[run.attempt]  # so that it can be handed over again
            run.over.set()
        self._desk.forgotten(run.attempt, reason)

    async def _read_records(self, run: Run) -> None:
        """Take what the guards of the start left on disk."""
        words = await asyncio.to_thread(files.records, self._places.attempt(run.attempt), run.nonce)
        for word in words:
            self._see(run, word, heard=False)
        if run.all_over:
            self._advance(run)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _finish(self, run: Run, end: EngineEnd) -> None:
        """Tell its end, once."""
        run.over.set()
        record = run.record() or files.no_word(run.attempt, run.nonce)
        self._own(self._keep_end(run, end, record), f"end {run.attempt}")

    async def _keep_end(self, run: Run, end: EngineEnd, record: Ended) -> None:
        await asyncio.to_thread(files.keep_end, self._places.attempt(run.attempt), record)
        await self._say_end(run.attempt, end, run.since_us)

    async def _say_end(self, attempt: AttemptId, end: EngineEnd, since: int) -> None:
        assert self._desk is not None
        await self._desk.ended(attempt, end, since)

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Do it beside everything else; its failure is the agent's."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            assert self._desk is not None
            self._desk.fail(error)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait for `event`, but not longer than that."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def _number(name: str) -> int:
    try:
        return signal_number(name)
    except CannotPrepare as error:
        LOG.error("%s; SIGTERM is sent", error)
        return 15
