"""A Slurm cluster as the batch engine sees it: by slurmrestd, by the commands while that is down, or by them alone."""

import asyncio
import logging
from collections.abc import Sequence

from moyai.agent.engines.batch.base import Job, Phase, Refused, SchedulerDown, Submission
from moyai.agent.engines.slurm import fit, owners
from moyai.agent.engines.slurm.commands import CommandLink
from moyai.agent.engines.slurm.rest import RestLink
from moyai.agent.engines.slurm.states import PHASES, SUSPECT, phase, reason
from moyai.agent.engines.slurm.tokens import Tokens
from moyai.agent.engines.slurm.types import SlurmJob, SlurmLink, SlurmNode
from moyai.agent.places import Places
from moyai.model.commands import Launch
from moyai.model.engine import SlurmFlavor, SlurmSettings
from moyai.model.ids import AttemptId, FlavorName, TenantName
from moyai.model.site import Flavor, SiteProfile

LOG = logging.getLogger("moyai.agent.slurm")
ASKED_AGAIN = 20
"""How many looks apart the accounting is asked of an attempt that Slurm no longer has."""


class SlurmCluster:
    """One cluster. What it has of this site it knows by the directory in which an attempt runs."""

    def __init__(self, profile: SiteProfile, settings: SlurmSettings, places: Places) -> None:
        self._profile = profile
        self._places = places
        self._own = owners.own_name()
        self._listen = settings.guard.listen
        self._user = settings.user or self._own
        self._accounts = dict(settings.accounts)
        self._where = {str(flavor.flavor): flavor for flavor in settings.flavors}
        self._commands = CommandLink(settings.config, self._user, self._own)
        self._links: list[SlurmLink] = [self._commands]
        if settings.rest:
            rest = RestLink(settings.rest, self._user, Tokens(settings.jwt_key, settings.token))
            self._links = [rest, self._commands] if self._commands.there and settings.config else [rest]
        self._link = self._links[0]
        self._nodes: dict[str, list[SlurmNode]] = {}
        self._others: dict[str, int] = {}  # node → cores that jobs of others hold there
        self.restless = False
        self._listed: list[Job] = []
        self._users: dict[str, str] = {}  # number → account, of the jobs that were listed
        self._unknown: set[str] = set()
        self._asked: dict[AttemptId, int] = {}  # looks since the accounting was asked of it
        self._remembered: dict[AttemptId, Job] = {}

    @property
    def title(self) -> str:
        """The way that is used now."""
        return self._link.title

    async def open(self) -> None:
        """Raises EngineDown, SchedulerDown."""
        for user in {self._user, *self._accounts.values()}:
            owners.check(user, self._own, self._listen)
        await self._first().open()

    def user_of(self, tenant: TenantName) -> str:
        """The account under which a tenant's jobs run."""
        return self._accounts.get(tenant, self._user)

    def impossible(self, launch: Launch) -> str:
        """What no node of the cluster has, or not so many of them."""
        flavor = self._profile.flavor(launch.flavor)
        if flavor is None:
            return f"this site has no flavor {launch.flavor!r}"
        user = self.user_of(launch.tenant)
        if user != self._own and launch.inputs:
            return f"its data can't be read by the account {user!r}: only jobs of {self._own!r} get datasets here"
        if not self._nodes:
            return ""  # they were not seen yet
        nodes, ranks = fit.per_node(launch)
        there = self._nodes.get(launch.flavor, [])
        if len(there) < nodes:
            return f"it asks for {nodes} nodes of {launch.flavor}, and the cluster has {len(there)} in all"
        cores = launch.need.cores * ranks
        if all(node.cpus < cores for node in there):
            return f"it asks for {cores} cores of a node, and no node of {launch.flavor} has that many"
        gres = self._place(launch.flavor).gres or "gpu"
        wanted = launch.need.accelerators * ranks
        if wanted and all(fit.gres_count(node.gres, gres) < wanted for node in there):
            return f"it asks for {wanted} of {gres} of a node, and no node of {launch.flavor} has that many"
        return ""

    def _place(self, flavor: str) -> SlurmFlavor:
        return self._where.get(flavor) or SlurmFlavor(FlavorName(flavor))

    async def submit(self, submission: Submission) -> str:
        """Raises Refused, SchedulerDown."""
        launch = submission.launch
        flavor = self._profile.flavor(launch.flavor)
        if flavor is None:
            raise Refused(f"this site has no flavor {launch.flavor!r}")
        user = self.user_of(launch.tenant)
        if user != self._own:
            try:
                await asyncio.to_thread(owners.give, self._places.root, submission.place, user)
            except KeyError:
                raise Refused(f"there is no user {user!r} on this machine any more") from None
        order = fit.order(submission, user, flavor, self._place(launch.flavor), self._signal(launch))
        number = await self._link.submit(order)
        self._users[number] = user
        return number

    def _signal(self, launch: Launch) -> str:
        """The stop signal, its grace before a limit of Slurm's own: the partition's, where the job has none.

        It reaches steps, and a job of one rank has none. To say "the batch script" only the commands have a word.
        """
        rule = launch.checkpoint
        if rule is None:
            return ""
        signal = f"{rule.stop_signal.removeprefix('SIG')}@{min(65_535, rule.grace_us // 1_000_000 + 1)}"
        if len(launch.nodes) > 1:
            return signal
        return f"B:{signal}" if self._link is self._commands else ""

    async def look(self, wanted: Sequence[AttemptId]) -> Sequence[Job] | None:
        """By the first way that works. Raises SchedulerDown where none does."""
        jobs = await self._first_that_works()
        if jobs is not None:
            ours = [job for raw in jobs if (job := self._ours(raw)) is not None]
            self._users = {raw.number: raw.user for raw in jobs if raw.name and raw.user}
            self._listed = _one_each(ours)
            mine = {job.number for job in ours}
            others = fit.foreign([raw for raw in jobs if raw.number not in mine and _holds_nodes(raw)])
            self.restless, self._others = self.restless or others != self._others, others
        missing = set(wanted) - {job.attempt for job in self._listed}
        remembered = await self._from_history(missing)
        if jobs is None and not remembered:
            return None
        return [*self._listed, *remembered]

    async def _first_that_works(self) -> Sequence[SlurmJob] | None:
        problem: SchedulerDown | None = None
        for link in self._links:
            try:
                jobs = await link.jobs()
            except SchedulerDown as error:
                problem = problem or error
                continue
            if link is not self._link:
                LOG.warning("from now on by %s%s", link.title, f", as {problem}" if problem else "")
                self._link = link
            return jobs
        assert problem is not None
        raise problem

    def _first(self) -> SlurmLink:
        return self._links[0]

    def _ours(self, raw: SlurmJob) -> Job | None:
        """The job as ours; None where it is not of this site's directory and accounts."""
        if raw.user != self._user and raw.user not in self._accounts.values():
            return None
        attempt = AttemptId(raw.name)
        try:
            place = self._places.attempt(attempt)
        except ValueError:
            return None
        if raw.directory != str(place / "work"):
            return None
        return self._job(attempt, raw)

    def _job(self, attempt: AttemptId, raw: SlurmJob) -> Job:
        if raw.state not in PHASES and raw.state not in self._unknown and len(self._unknown) < 100:
            self._unknown.add(raw.state)
            LOG.warning("%s: Slurm says %r, which this version does not know: taken as running", attempt, raw.state)
        status = raw.exit_status
        code = None if status < 0 else 128 + (status & 127) if status & 127 else status >> 8
        detail = f"{raw.detail}, {raw.nodes}" if raw.detail and raw.nodes else raw.detail or raw.nodes
        return Job(
            attempt=attempt,
            number=raw.number,
            phase=phase(raw.state),
            state=f"{raw.state} ({raw.detail})" if raw.detail and raw.detail != "None" else raw.state,
            reason=reason(raw.state, detail, preempted=raw.preempted),
            exit_code=code,
            suspect=raw.state in SUSPECT,
            run_us=raw.run_us,
            cpu_us=raw.cpu_us,
        )

    async def _from_history(self, missing: set[AttemptId]) -> list[Job]:
        """What the accounting remembers of attempts that Slurm no longer has. Asked seldom: it may be another's."""
        self._remembered = {a: job for a, job in self._remembered.items() if a in missing}
        self._asked = {a: n + 1 for a, n in self._asked.items() if a in missing}
        due = [a for a in missing if a not in self._remembered and self._asked.get(a, ASKED_AGAIN) >= ASKED_AGAIN]
        if due and self._commands.there and (self._link is self._commands or len(self._links) > 1):
            self._asked |= dict.fromkeys(due, 0)
            for raw in await self._commands.history(due):
                attempt = AttemptId(raw.name)
                here = not raw.directory or raw.directory == str(self._places.attempt(attempt) / "work")
                mine = here and raw.user.partition("(")[0] in {self._user, *self._accounts.values()}
                if mine and phase(raw.state) is Phase.ENDED:
                    self._remembered[attempt] = self._job(attempt, raw)
        return list(self._remembered.values())

    async def cancel(self, job: Job) -> None:
        """Raises SchedulerDown."""
        await self._link.cancel(job.number, self._users.get(job.number, self._user))

    async def capacity(self) -> tuple[Flavor, ...]:
        """Raises SchedulerDown."""
        nodes = await self._link.nodes()
        self._nodes = fit.sort_nodes(nodes, self._profile.flavors, self._where)
        self.restless = False
        return fit.counted(self._profile.flavors, self._nodes, self._others)

    async def close(self) -> None:
        """Let go of it."""
        for link in self._links:
            await link.close()


def _holds_nodes(raw: SlurmJob) -> bool:
    return phase(raw.state) is Phase.RUNNING


def _one_each(jobs: Sequence[Job]) -> list[Job]:
    """Of several jobs of an attempt the one that counts: one that lives, else the newest.

    A second one is left where a controller was killed and forgot, or an answer was lost; the start claim lets one run.
    """
    best: dict[AttemptId, Job] = {}
    for job in jobs:
        other = best.get(job.attempt)
        if other is None or _weight(job) > _weight(other):
            best[job.attempt] = job
    return list(best.values())


def _weight(job: Job) -> tuple[int, int]:
    order = {Phase.ENDED: 0, Phase.QUEUED: 1, Phase.RUNNING: 2}
    return order[job.phase], int(job.number) if job.number.isdecimal() else 0
