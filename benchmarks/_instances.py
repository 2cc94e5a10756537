"""Made-up queues and fleets for `plan.py`, from a seed: projects with homes, residency, data and deadlines.

Everything is synthetic but the gang sizes of `philly`: the counts of GPUs per job among the 52,849 jobs of the Philly
trace, September and October 2017 (Microsoft, CC-BY-4.0). `large` is a mix of our own with more wide jobs.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moyai.plan.price.instance import Instance

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

GANGS = {
    "philly": ((1, 2, 4, 8, 12, 16, 24, 32), (50188, 904, 945, 713, 7, 65, 4, 23)),
    "large": ((1, 2, 4, 8, 16, 32, 64, 128), (930, 20, 20, 15, 8, 4, 2, 1)),
    "none": ((1,), (1,)),
}
HORIZON = 48.0  # hours
GPUS_PER_NODE = 8
RUNS = np.array([0.25, 1, 2, 4, 8, 16, 32, 64])  # hours on the slowest flavor
DEADLINES = np.array([2, 6, 14, 26, 48, 1e6])
DATA_GB = np.array([1, 30, 300, 3000, 20000.0])
VALUES = np.array([0.5, 1, 2, 4])
TENANTS = np.array([0.7, 1, 1.4])
YEN_PER_GPU_HOUR = 120.0


@dataclass(frozen=True)
class Setting:
    """What is drawn. `nodes` of eight GPUs in all; the part of them that is free makes demand `overload` × supply."""

    jobs: int = 10_000
    sites: int = 8
    flavors: int = 3
    buckets: int = 6
    nodes: int = 1_000
    overload: float = 1.5
    seed: int = 0
    gangs: str = "philly"
    changed: float = 0.02  # of the queue, from the cycle before to this one


@dataclass(frozen=True)
class Pair:
    """Two cycles of one queue: `now` is to be planned, `before` is what the last prices came from.

    keys    (classes,) int64 what tells a class from another
    job_cls (jobs,) the class of each job of `now`
    """

    before: Instance
    now: Instance
    keys: I64
    job_cls: I64


def bucket_edges(buckets: int) -> F64:
    """Edges in hours: the first bucket is half an hour, each next one longer by the same factor, to the horizon."""
    if buckets == 1:
        return np.array([0.0, HORIZON])
    low, high = 1.0001, 100.0
    for _ in range(80):
        ratio = (low + high) / 2
        if 0.5 * (ratio**buckets - 1) / (ratio - 1) > HORIZON:
            high = ratio
        else:
            low = ratio
    lengths = low ** np.arange(buckets)
    return np.concatenate([[0.0], np.cumsum(lengths)]) * HORIZON / lengths.sum()


def hours_of(edges: F64, speeds: F64) -> F64:
    """(lengths, flavors, buckets, buckets) as in Instance."""
    run = RUNS[:, None] / speeds
    end = edges[:-1] + run[:, :, None]  # (lengths, flavors, start)
    high = np.append(edges[1:-1], 1e9)
    low = np.maximum(edges[:-1][None, :], edges[:-1][:, None])  # (start, bucket)
    used = np.minimum(end[..., None], high) - low
    return np.where(high > edges[:-1][:, None], np.maximum(used, 0), 0)


def make(s: Setting) -> Pair:
    """The two cycles of a setting; the same for the same setting."""
    r = np.random.default_rng(s.seed)
    sites, flavors = s.sites, s.flavors
    edges = bucket_edges(s.buckets)
    lengths_h = np.diff(edges)
    speed = np.geomspace(1.0, 2.4, flavors) if flavors > 1 else np.ones(1)
    kw_gpu = np.geomspace(0.45, 1.0, flavors)
    hours = hours_of(edges, speed)

    # the fleet
    size = r.lognormal(0, 0.7, sites)
    size /= size.sum()
    mix = r.dirichlet([1.2] * flavors, sites)
    mix[r.random((sites, flavors)) < 0.15] = 0
    mix[mix.sum(1) == 0] = 1 / flavors
    mix /= mix.sum(1, keepdims=True)
    gpus = np.maximum(np.floor(size[:, None] * mix * s.nodes), mix > 0) * GPUS_PER_NODE
    pue = r.uniform(1.1, 1.5, sites)
    yen_kwh = r.uniform(12, 30, (sites, 1)) * (1 + 0.15 * np.sin(np.arange(s.buckets)))
    free = np.interp(edges[:-1], [0, 0.5, 2, 6, 14, 26], [0.12, 0.2, 0.4, 0.6, 0.8, 1.0])
    free = free * r.uniform(0.5, 1.5, (sites, flavors, 1)) * r.uniform(0.8, 1.2, (sites, flavors, s.buckets))
    capacity = gpus[:, :, None] * free * lengths_h
    capped, cap_share = r.random((sites, 1)) < 0.4, r.uniform(0.6, 0.95, (sites, 1))
    link = r.choice([1, 5, 10, 40.0], (sites, sites), p=[0.2, 0.3, 0.3, 0.2])  # Gbit/s
    egress = r.choice([0, 0.5, 1, 3.0], (sites, sites), p=[0.4, 0.3, 0.2, 0.1])  # yen per GB
    np.fill_diagonal(link, 1e9)
    np.fill_diagonal(egress, 0)

    # projects, and the jobs of both cycles
    many = int(s.jobs * (1 + s.changed))
    projects = max(60, int(420 * (s.jobs / 100_000) ** 0.5))
    often = 1 / np.arange(1, projects + 1) ** 0.9
    home = r.choice(sites, projects, p=size)
    residency = r.choice(3, projects, p=[0.5, 0.25, 0.25])
    masks = np.array([[True] * flavors, [f > 0 for f in range(flavors)], [f == flavors - 1 for f in range(flavors)]])
    masks[1] |= flavors == 1
    mask = r.choice(3, projects, p=[0.6, 0.28, 0.12])
    data_gb = DATA_GB[r.choice(5, projects, p=[0.3, 0.3, 0.2, 0.15, 0.05])]
    tenant, favourite = r.choice(3, projects), r.choice(4, projects, p=[0.25, 0.45, 0.2, 0.1])
    replica = np.where(r.random(projects) < 0.3, r.integers(0, sites, projects), -1)
    sizes, weights = (np.array(x) for x in GANGS[s.gangs])
    project = r.choice(projects, many, p=often / often.sum())
    gang = r.choice(len(sizes), many, p=weights / weights.sum())
    run = r.choice(8, many, p=[0.25, 0.2, 0.15, 0.12, 0.1, 0.09, 0.06, 0.03])
    wide = sizes[gang]
    run = np.minimum(7, run + (r.random(many) < 0.6) * (wide > 4) + (r.random(many) < 0.4) * (wide > 16))
    slack = r.choice([1.5, 3, 8, 1e6], many, p=[0.15, 0.25, 0.2, 0.4])
    deadline = np.minimum(np.searchsorted(DEADLINES, np.minimum(RUNS[run] * slack + 0.5, 1e6)), 5)
    value = np.where(r.random(many) < 0.85, favourite[project], r.choice(4, many))
    key = (((run * len(sizes) + gang) * projects + project) * 6 + deadline) * 4 + value  # by length first
    keys, job_cls = np.unique(key, return_inverse=True)
    rest, c_value = keys // 4, keys % 4
    rest, c_deadline = rest // 6, rest % 6
    rest, c_project = rest // projects, rest % projects
    c_run, c_gang = rest // len(sizes), sizes[rest % len(sizes)].astype(np.int64)
    before = np.bincount(job_cls[: s.jobs], minlength=len(keys))
    now = np.bincount(job_cls[many - s.jobs :], minlength=len(keys))

    # capacity in proportion to the demand of the queue before
    demand = float((before * c_gang * RUNS[c_run]).sum())
    capacity *= demand / s.overload / float((capacity * speed[:, None]).sum())
    kw = pue[:, None] * kw_gpu
    full = np.einsum("sfb,sf->sb", capacity, kw)
    power = np.where(capped, full * cap_share, np.inf)

    # the value of every option, for one GPU
    c_home, c_replica, c_gb = home[c_project], replica[c_project], data_gb[c_project]
    move_h, move_yen = c_gb[:, None] * 8 / 3600 / link[c_home], c_gb[:, None] * egress[c_home]
    there = np.flatnonzero(c_replica >= 0)
    move_h[there, c_replica[there]] = 0
    move_yen[there, c_replica[there]] = 0
    region = np.arange(sites) % 4
    bound_to = residency[c_project][:, None]
    may = np.where(bound_to == 0, True, region == region[c_home][:, None])
    may = np.where(bound_to == 2, np.arange(sites) == c_home[:, None], may)
    ends = edges[:-1] + 0.5 * np.minimum(lengths_h, 4) + (RUNS[:, None] / speed)[:, :, None]  # (lengths, flavors, b)
    late = np.maximum(0, ends[c_run] - DEADLINES[c_deadline][:, None, None])
    rate = YEN_PER_GPU_HOUR * VALUES[c_value] * TENANTS[tenant[c_project]]
    on_time = np.where(late > 0, 0.4 * np.exp(-late / 24), 1 - 0.15 * edges[:-1] / HORIZON)
    gross = (rate * RUNS[c_run])[:, None, None] * on_time
    energy = np.einsum("tfij,sj,sf->tsfi", hours, yen_kwh, kw)
    table = np.empty((len(keys), sites, flavors, s.buckets), dtype=np.float32)
    for site in range(sites):
        net = gross - energy[c_run, site] - (move_yen[:, site] / c_gang)[:, None, None]
        ok = may[:, site, None, None] & masks[mask[c_project]][:, :, None]
        ok = ok & (move_h[:, site, None, None] <= edges[:-1] + 0.25)
        ok = ok & (c_gang[:, None, None] <= (capacity / lengths_h)[site])
        table[:, site] = np.where(ok & (net > 0), net, -1.0)
    made = Instance(
        value=table.reshape(len(keys), -1),
        jobs=now,
        gang=c_gang,
        length=c_run,
        hours=hours,
        capacity=capacity,
        power=power,
        kw=kw,
    )
    last = replace(made, jobs=before, capacity=capacity * r.uniform(0.99, 1.01, capacity.shape))
    return Pair(last, made, keys, job_cls[many - s.jobs :])


def without_site(instance: Instance, site: int) -> Instance:
    """The same with a site lost."""
    capacity, power = instance.capacity.copy(), instance.power.copy()
    capacity[site], power[site] = 0, 0
    return replace(instance, capacity=capacity, power=power)
