"""What the scheduler was last seen to have, and what is said once where it can't be seen."""

import asyncio
import logging
from collections.abc import Collection, Sequence

from moyai.agent.clocks import boot_us
from moyai.agent.engines.batch.base import Job, Phase, Scheduler, SchedulerDown
from moyai.model.ids import AttemptId
from moyai.model.site import Flavor

LOG = logging.getLogger("moyai.agent.batch")
COUNT_US = 10_000_000
"""Between two looks at the nodes."""
STRAY_US, STRAY_AGAIN_US = 5_000_000, 30_000_000
"""After that a job that is in no journal is ended; and again, where it is still there."""


class Listing:
    """The jobs and nodes of one scheduler, as they were seen last."""

    def __init__(self, scheduler: Scheduler, flavors: tuple[Flavor, ...]) -> None:
        self._scheduler = scheduler
        self.flavors = flavors
        self.jobs: dict[AttemptId, Job] = {}
        self.asked_us = 0  # when what is here was asked for; 0 before the first listing
        self._changed = asyncio.Condition()
        self._counted_us = 0
        self._strays: dict[str, int] = {}  # number of a job that nobody waits for → when its end is due
        self._problems: dict[str, str] = {}  # what fails → how

    async def look(self, wanted: Sequence[AttemptId]) -> bool:
        """Look at the jobs, and now and then at the nodes. False where the scheduler is down."""
        asked = boot_us()
        try:
            jobs = await self._scheduler.look(wanted)
            if self._scheduler.restless or asked - self._counted_us > COUNT_US:
                await self.count()
        except SchedulerDown as error:
            self.note("look", str(error))
            return False
        self.note("look", "")
        if jobs is not None:
            self.jobs = {job.attempt: job for job in jobs}
        async with self._changed:
            self.asked_us = asked
            self._changed.notify_all()
        return True

    async def after(self, at_us: int) -> None:
        """Returns once there is a listing that was asked for after `at_us`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.asked_us > at_us)

    async def count(self) -> None:
        """See which nodes there are now. Raises SchedulerDown."""
        self._counted_us = boot_us()
        flavors = await self._scheduler.capacity()
        if flavors != self.flavors:
            LOG.info("nodes now: %s", ", ".join(f"{flavor.name} {flavor.count}" for flavor in flavors))
            self.flavors = flavors

    async def sweep(self, owned: Collection[AttemptId]) -> None:
        """End what nobody waits for: it is in no journal. Not at once: what has just ended goes by itself."""
        now = boot_us()
        strays = [job for a, job in self.jobs.items() if a not in owned and job.phase is not Phase.ENDED]
        self._strays = {job.number: self._strays.get(job.number, now + STRAY_US) for job in strays}
        for job in strays:
            if now < self._strays[job.number]:
                continue
            LOG.warning("%s (job %s) is not in the journal: it is ended", job.attempt, job.number)
            self._strays[job.number] = now + STRAY_AGAIN_US
            if not await self.cancel(job):
                return

    async def cancel(self, job: Job) -> bool:
        """Have a job ended. False where the scheduler is down."""
        try:
            await self._scheduler.cancel(job)
        except SchedulerDown as error:
            self.note("cancel", str(error))
            return False
        self.note("cancel", "")
        return True

    def note(self, what: str, problem: str) -> None:
        """Say once that something fails with the scheduler, and once that it no longer does. `problem`: "" for that."""
        if problem == self._problems.get(what, ""):
            return
        if problem:
            LOG.warning("%s: %s; what runs goes on, and this is tried again", self._scheduler.title, problem)
        else:
            LOG.info("%s: to %s works again", self._scheduler.title, what)
        self._problems[what] = problem
