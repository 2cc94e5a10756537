"""What no public trace says, drawn by chance: types of accelerator, deadlines, estimates, checkpoints, failures, data.

Each has a source of chance of its own, and every job draws from all of them: to switch one off, or to ask for other
estimates, changes nothing else.
"""

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate
from math import exp
from random import Random

from moyai.model.ids import SiteName, TenantName
from moyai.model.specs.fields import span_us
from moyai.model.specs.quantity import Amount
from moyai.model.specs.scenario_jobs import WorkSpec
from moyai.model.units import MICROS_PER_SECOND, Instant
from moyai.model.workload import CheckpointRule, DataUse, JobOrder, Need
from moyai.twin.engine import Work
from moyai.twin.replay.setup import Placed
from moyai.twin.scenarios.fits import Room
from moyai.twin.traces.trace import ANY_GPU, TraceJob

LEAST_RUN_US = MICROS_PER_SECOND
NOISE = (0.5, 1.5)
PURPOSES = ("kind", "deadline", "estimate", "checkpoint", "failure", "data")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A job with all that was drawn for it."""

    order: JobOrder
    work: Work


class Draw:
    """Draws for the jobs of one seed, one after another. Equal seeds and jobs give equal draws."""

    def __init__(
        self, spec: WorkSpec, room: Room, homes: dict[TenantName, SiteName], seed: int, data: list[tuple[Placed, float]]
    ) -> None:
        """`data`: the datasets, each with the share of jobs that read it."""
        deadlines, keeps, failures = spec.deadlines, spec.checkpoints, spec.failures
        self._deadline_share = float(deadlines.share) if deadlines else 0.0
        self._slack = (float(deadlines.slack), float(deadlines.sigma)) if deadlines else (0.0, 0.0)
        self._keep_share = float(keeps.share) if keeps else 0.0
        self._keep_longer_us = span_us(keeps.longer_than) if keeps else 0
        self._fail_share = float(failures.share) if failures else 0.0
        self._usable: dict[tuple[TenantName, Need, int, tuple[str, ...]], tuple[list[Need], list[float]]] = {}
        self._spec = spec
        self._room = room
        self._homes = homes
        self._data = data
        self._chance = {p: Random(f"{seed}/{p}") for p in PURPOSES}  # noqa: S311 - to be repeated is the point
        self._kinds = [(kind.kind, kind.gpus, float(kind.share)) for kind in spec.accelerators] or [
            (kind, Amount(1, None), float(count)) for kind, count in sorted(room.accelerators.items())
        ]

    def job(self, job: TraceJob, name: str, at: Instant) -> Drawn:
        """What the trace says of a job, and what is drawn beside it. `at` is its submission."""
        spec, chance = self._spec, self._chance
        need = self._need(job)
        run_us = max(job.run_us or 0, LEAST_RUN_US)
        keeps = spec.checkpoints
        saves = chance["checkpoint"].random() < self._keep_share and run_us >= self._keep_longer_us
        fails = chance["failure"].random() < self._fail_share
        failing = spec.failures.attempts if spec.failures and fails else 0
        order = JobOrder(
            name=name,
            need=need,
            nodes=job.nodes,
            deadline=self._deadline(run_us, at),
            expect_us=self._estimate(run_us),
            retries=spec.failures.retries if spec.failures else 0,
            data=self._reads(job.tenant, self._room.sites(need, job.nodes)),
            checkpoint=CheckpointRule() if saves else None,
        )
        gpus = max(1, need.accelerators * job.nodes)
        work = Work(
            run_us,
            failing,
            checkpoint_us=span_us(keeps.every) if keeps and saves else 0,
            checkpoint_bytes=keeps.per_gpu.low * gpus if keeps and saves else 0,
        )
        return Drawn(order, work)

    def _need(self, job: TraceJob) -> Need:
        """What one node must have, with a type in place of ANY_GPU: one that the tenant's home has, else any site."""
        mark = self._chance["kind"].random()
        if not job.need.accelerators:
            return job.need
        key = (job.tenant, job.need, job.nodes if job.cpu_milli else -job.nodes, job.models)
        found = self._usable.get(key)
        if found is None:
            found = self._usable[key] = self._ways(job)
        needs, sums = found
        return needs[0] if len(needs) == 1 else needs[min(bisect_right(sums, mark * sums[-1]), len(needs) - 1)]

    def _ways(self, job: TraceJob) -> tuple[list[Need], list[float]]:
        """The needs that a job may get, and the running sums of their shares."""
        spec, need = self._spec, job.need
        if not job.cpu_milli:
            need = replace(need, cores=spec.cpus_per_gpu * need.accelerators)
        if not need.memory_bytes and spec.memory_per_gpu:
            need = replace(need, memory_bytes=spec.memory_per_gpu.low * need.accelerators)
        if need.accelerator != ANY_GPU:
            return [replace(need, accelerator=need.accelerator.upper())], [1.0]
        if job.models:
            wanted = [(model.upper(), 1.0) for model in job.models]
        else:
            wanted = [(kind, share) for kind, gpus, share in self._kinds if share and _holds(gpus, need.accelerators)]
        home = self._homes.get(job.tenant)
        able = [(way, share, self._room.sites(way, job.nodes)) for kind, share in wanted
                for way in (replace(need, accelerator=kind),)]  # fmt: skip
        usable = [a for a in able if home in a[2]] or [a for a in able if a[2]] or able or [(need, 1.0, frozenset())]
        return [way for way, _, _ in usable], list(accumulate(share for _, share, _ in usable))

    def _deadline(self, run_us: int, at: Instant) -> Instant | None:
        chance = self._chance["deadline"]
        mark, spread = chance.random(), chance.gauss(0, 1)
        spec = self._spec.deadlines
        if spec is None or mark >= self._deadline_share:
            return None
        median, sigma = self._slack
        slack = median * exp(sigma * spread)
        return Instant(at + max(span_us(spec.least), round(run_us * (1 + min(slack, 1_000.0)))))

    def _estimate(self, run_us: int) -> int:
        factor = self._chance["estimate"].uniform(*NOISE)
        if self._spec.estimates == "absent":
            return 0
        return max(1, round(run_us * factor)) if self._spec.estimates == "noisy" else run_us

    def _reads(self, tenant: TenantName, sites: frozenset[SiteName]) -> tuple[DataUse, ...]:
        """The dataset of a job: one that may be where the job can run, and at its tenant's home."""
        mark = self._chance["data"].random()
        for placed, share in self._data:
            if mark < share:
                profile = placed.profile
                allowed = self._room.within(profile.residency)
                both = sites & allowed and (not profile.residency or self._homes.get(tenant) in allowed)
                return (DataUse(profile.name, profile.version),) if both else ()
            mark -= share
        return ()


def _holds(amount: Amount, count: int) -> bool:
    return amount.low <= count and (amount.high is None or count <= amount.high)
