"""A Ray cluster as a scheduler that takes an attempt as a job. The job's submission id is the attempt's."""

import asyncio
import hashlib
import logging
import shlex
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from moyai.agent.engines.base import EngineDown
from moyai.agent.engines.batch.base import Job, Phase, Refused, SchedulerDown, Submission
from moyai.agent.engines.ray import driver as driver_module
from moyai.agent.engines.ray.nodes import Cluster
from moyai.agent.engines.ray.rest import Entry, RayRest
from moyai.agent.engines.ray.script import PLAN, SCRIPT, gang, lay, plan_of, single
from moyai.agent.engines.ray.states import job_of
from moyai.agent.places import Places
from moyai.model.commands import Launch
from moyai.model.engine import RaySettings
from moyai.model.ids import AttemptId
from moyai.model.site import Flavor, SiteProfile

LOG = logging.getLogger("moyai.agent.ray")
DRIVER = "ray-driver.py"
OWNER = "moyai_site"
"""The entry of a job's metadata that says whose it is: several sites may share a cluster."""
KEPT_S = 60.0
"""How long a job that is over, and wanted no more, stays in Ray's list."""
DROPPED_AT_ONCE = 16
T = TypeVar("T")


class RayCluster:
    """One cluster, by its head."""

    def __init__(self, profile: SiteProfile, settings: RaySettings, places: Places) -> None:
        self._profile = profile
        self._settings = settings
        self._accelerators = dict(settings.accelerators)
        self._places = places
        self._rest = RayRest(settings.address, settings.token)
        self._cluster = Cluster(profile, self._accelerators)
        self._owner = f"{profile.name} {places.root}"
        self._checked = False  # the head's version, since it was out of reach
        self._seen = b""  # a digest of the last list
        self._unwanted: set[str] = set()  # told to stop; Ray keeps one that waits for room until it gets some
        self._over: dict[str, float] = {}  # jobs of ours that are over → when that was seen, by the loop's clock

    @property
    def title(self) -> str:
        """As people call it."""
        return f"Ray at {self._settings.address}"

    @property
    def restless(self) -> bool:
        """Never: what others hold is not seen between two looks at the nodes."""
        return False

    async def open(self) -> None:
        """See which Ray it is; lay the driver where its nodes find it. Raises EngineDown, SchedulerDown, OSError."""
        version = await self._rest.version()
        await self.capacity()  # which the token must allow
        self._places.root.mkdir(parents=True, exist_ok=True)
        lay(self._places.root / DRIVER, Path(driver_module.__file__).read_bytes())
        self._checked, self._seen = True, b""
        LOG.info("%s is Ray %s, session %s", self._settings.address, version.ray_version, version.session_name)

    def impossible(self, launch: Launch) -> str:
        """Why its nodes could never run that, as far as they are known."""
        return self._cluster.impossible(launch)

    async def submit(self, submission: Submission) -> str:
        """Submit the job of an attempt, unless it is there."""
        launch = submission.launch
        amounts = self._cluster.amounts(launch.need, launch.flavor)
        script = submission.place / SCRIPT
        many = len(launch.nodes) > 1
        if many:
            plan = plan_of(submission, amounts, self._cluster.spread(launch))
            lay(submission.place / PLAN, msgspec.json.encode(plan))
            text = gang(submission, self._places.root / DRIVER, self._settings.guard.python)
        else:
            text = single(submission)
        lay(script, text.encode())
        metadata = {OWNER: self._owner, "moyai_job": launch.job, "moyai_name": launch.name}
        entry = Entry(launch.attempt, f"exec sh {shlex.quote(str(script))}", {} if many else amounts, metadata)
        if not await self._asking(self._rest.submit(entry)):
            there = await self._asking(self._rest.job(launch.attempt))
            if there is not None and (there.metadata or {}).get(OWNER) != self._owner:
                raise Refused(f"another has a job {launch.attempt} in Ray already")
        return launch.attempt

    async def look(self, wanted: Sequence[AttemptId]) -> Sequence[Job] | None:
        """The jobs of this site. Those that are over and wanted no more are dropped from Ray's list after a while."""
        if not self._checked:
            await self._reopen()
        listing = await self._asking(self._rest.listing())
        await self._drop(set(wanted))
        seen = hashlib.blake2b(listing).digest()
        if seen == self._seen:
            return None
        ours = [
            (job, AttemptId(job.submission_id))
            for job in self._rest.read_listing(listing)
            if job.submission_id is not None and (job.metadata or {}).get(OWNER) == self._owner
        ]
        self._unwanted.intersection_update(attempt for _, attempt in ours)
        jobs = [job_of(job, attempt, unwanted=attempt in self._unwanted) for job, attempt in ours]
        self._seen = seen
        now = asyncio.get_running_loop().time()
        self._over = {j.attempt: self._over.get(j.attempt, now) for j in jobs if j.phase is Phase.ENDED}
        return jobs

    async def cancel(self, job: Job) -> None:
        """Stop a job: signalled, and killed 3 s after. One that still waits for room is over as far as we go."""
        await self._asking(self._rest.stop(job.number))
        self._unwanted.add(job.number)
        self._seen = b""

    async def capacity(self) -> tuple[Flavor, ...]:
        """What its nodes amount to in flavors."""
        nodes = await self._asking(self._rest.nodes())
        self._cluster = Cluster(self._profile, self._accelerators, nodes)
        return self._cluster.capacity()

    async def close(self) -> None:
        """Hang up."""
        await self._rest.close()

    async def _reopen(self) -> None:
        """The head was out of reach: it may be another by now."""
        try:
            await self.open()
        except EngineDown as error:
            raise SchedulerDown(str(error)) from None
        except OSError as error:
            raise SchedulerDown(f"{error.filename}: {error.strerror or error}") from None

    async def _drop(self, wanted: set[AttemptId]) -> None:
        before = asyncio.get_running_loop().time() - KEPT_S
        old = [name for name, at in self._over.items() if at < before and name not in wanted]
        for name in old[:DROPPED_AT_ONCE]:
            await self._asking(self._rest.delete(name))
            del self._over[name]

    async def _asking(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except SchedulerDown:
            self._checked = False
            raise
