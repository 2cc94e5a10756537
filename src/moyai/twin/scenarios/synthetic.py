"""Jobs that are made up: Poisson arrivals with a daily swing, lognormal run times, sizes as the scenario says."""

from itertools import accumulate
from math import cos, log, pi
from random import Random

from moyai.model.ids import SiteName, TenantName
from moyai.model.specs.fields import span_us
from moyai.model.specs.scenario_jobs import SyntheticSpec, TenantSpec
from moyai.model.units import MICROS_PER_HOUR, MICROS_PER_SECOND, Instant
from moyai.model.workload import Need
from moyai.twin.traces.trace import ANY_GPU, Trace, TraceJob, gang

BUSIEST_HOUR = 15
DAY_US = 24 * MICROS_PER_HOUR


def generate(
    spec: SyntheticSpec, tenants: tuple[TenantSpec, ...], sites: tuple[SiteName, ...], local: Instant, seed: int
) -> Trace:
    """A trace of made-up jobs. Equal arguments give equal jobs.

    tenants  whose jobs they are, by their shares; where there is none, a tenant "at-SITE" for each of `sites`
    local    what a local clock shows at time 0, for the daily swing
    """
    chance = Random(f"{seed}/synthetic")  # noqa: S311 - chance that can be repeated is the point
    names = [TenantName(tenant.name) for tenant in tenants] or [TenantName(f"at-{site}") for site in sites]
    shares = list(accumulate(float(tenant.share) for tenant in tenants)) or list(range(1, len(names) + 1))
    if not shares[-1]:
        shares = list(range(1, len(names) + 1))
    gangs = list(accumulate(float(g.share) for g in spec.gangs))
    medians = [log(span_us(g.median or spec.median)) for g in spec.gangs]
    needs = {g.gpus: gang(g.gpus) for g in spec.gangs}
    over_us, swing = span_us(spec.over), float(spec.swing)
    most_per_us = spec.jobs * (1 + swing) / over_us
    longest_us = span_us(spec.longest) or over_us * 100
    jobs: list[TraceJob] = []
    at = chance.expovariate(most_per_us)
    while at < over_us:
        rate = 1 + swing * cos(2 * pi * (((local + at) % DAY_US) / MICROS_PER_HOUR - BUSIEST_HOUR) / 24)
        if chance.random() * (1 + swing) < rate:
            which = _pick(chance, gangs)
            tenant = names[_pick(chance, shares)]
            run_us = int(min(chance.lognormvariate(medians[which], float(spec.sigma)), longest_us))
            gpus = spec.gangs[which].gpus
            nodes, each = needs[gpus]
            name = f"synthetic-{len(jobs) + 1}"
            need = Need(accelerator=ANY_GPU, accelerators=each)
            jobs.append(TraceJob(name, tenant, int(at), max(run_us, MICROS_PER_SECOND), need, nodes, gpus * 1000))
        at += chance.expovariate(most_per_us)
    return Trace("synthetic", "made up by this scenario", "none needed", tuple(jobs), ("every job is synthetic",))


def _pick(chance: Random, sums: list[float] | list[int]) -> int:
    """An index, as often as its part of the last of `sums`, which rise."""
    mark = chance.random() * sums[-1]
    return next((i for i, total in enumerate(sums) if mark < total), len(sums) - 1)
