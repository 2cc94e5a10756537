"""The whole planner on a national queue: what comes in as jobs and nodes, and goes out as placements on nodes.

    python benchmarks/national.py --jobs 100000 --sites 20 --nodes 10000 --overload 1.5 --seed 0 --json

One cold cycle, with classes, nodes and prices made from nothing, then warm ones: in each, what ended frees its nodes,
two in a hundred jobs of the queue leave and as many come, and a minute has passed. `seconds` is the mean of the last
warm cycles, class upkeep, prices, bound, whole jobs, nodes and the written placements together. `--lose` takes a site
away before the last of them. Queue and fleet are synthetic: gangs as in Philly, estimates log-normal, a third with
deadlines, projects with data at home and residency.
"""

import argparse
import json
import os
import platform
import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
from _instances import GANGS  # noqa: E402

from moyai.model.ids import (  # noqa: E402
    AttemptId,
    DatasetName,
    FlavorName,
    JobId,
    ManifestId,
    ProjectName,
    SiteName,
    TenantName,
)
from moyai.model.site import Flavor, Link, SiteProfile  # noqa: E402
from moyai.model.units import MICRO_YEN, MICROS_PER_HOUR, Instant  # noqa: E402
from moyai.model.workload import JobOrder, Need  # noqa: E402
from moyai.plan.scale.planner import ScalePlanner  # noqa: E402
from moyai.plan.types import Busy, DataView, Plan, Policy, QueuedJob, SiteView, Snapshot  # noqa: E402

NOW = Instant(1_800_000_000_000_000)
MINUTE = MICROS_PER_HOUR // 60
GPUS = 8
TYPES = ("A100", "H100", "L40S")
PROJECTS = 400
RATES = (125, 625, 1_250, 5_000)
"""MB/s of links."""
WARM = 4
"""Warm cycles; the last two are measured."""
CHURN = 0.02


@dataclass(frozen=True, slots=True)
class Setting:
    """What is drawn."""

    jobs: int
    sites: int
    flavors: int
    nodes: int
    overload: float
    seed: int
    gangs: str


@dataclass(frozen=True, slots=True)
class Project:
    """Whose jobs are alike."""

    name: ProjectName
    tenant: TenantName
    kind: str  # of accelerator
    data: tuple[DataView, ...]
    residency: tuple[str, ...]


def fleet(s: Setting, r: np.random.Generator) -> tuple[tuple[SiteView, ...], dict[tuple[SiteName, SiteName], Link]]:
    """Sites of unlike size, price and mix; every two linked."""
    size = r.lognormal(0, 0.7, s.sites)
    size /= size.sum()
    views: list[SiteView] = []
    for i in range(s.sites):
        mix = r.dirichlet([1.2] * s.flavors)
        flavors = tuple(
            Flavor(
                FlavorName(TYPES[f % 3] + ("" if f < 3 else str(f))),
                max(1, round(s.nodes * size[i] * mix[f])),
                96,
                1 << 40,
                TYPES[f % 3],
                GPUS,
                1_200,
                4_400 + 1_500 * (f % 3),
                price_micro_yen_per_hour=200 * MICRO_YEN,
            )
            for f in range(s.flavors)
        )
        idle = sum(f.count * f.idle_w for f in flavors)
        peak = sum(f.count * f.peak_w for f in flavors)
        pue = int(r.integers(1_100, 1_500))
        cap = round((idle + (peak - idle) * r.uniform(0.6, 0.95)) * pue / 1_000) if r.random() < 0.4 else 0
        code = ("JP-13", "JP-01", "KR")[int(r.choice(3, p=[0.5, 0.35, 0.15]))]
        profile = SiteProfile(
            SiteName(f"site-{i:03d}"), "slurm", code, 0, 0, flavors,
            int(r.uniform(12, 30) * MICRO_YEN), 450_000, pue, cap, synthetic=True,
        )  # fmt: skip
        views.append(SiteView(profile, joined=True))
    names = [v.profile.name for v in views]
    links = {
        (a, b): Link(a, b, int(r.choice(RATES)) * 1_000_000, 8_000, int(r.choice([0, 1, 3])) * MICRO_YEN)
        for a in names
        for b in names
        if a < b
    }  # fmt: skip
    return tuple(views), links


def projects(s: Setting, views: tuple[SiteView, ...], r: np.random.Generator) -> list[Project]:
    """Each has a tenant, the accelerator it was written for, data somewhere, and perhaps a residency."""
    made: list[Project] = []
    for i in range(PROJECTS):
        data: tuple[DataView, ...] = ()
        if r.random() < 0.7:
            home = views[int(r.integers(len(views)))].profile.name
            size = int(r.choice([10, 100, 1_000])) * 10**9
            data = (DataView(f"d{i}@1", ManifestId(f"m{i}"), size, (home,), dataset=DatasetName(f"d{i}")),)
        residency = ((), ("JP",), ("JP-13",))[int(r.choice(3, p=[0.6, 0.25, 0.15]))]
        kind = TYPES[int(r.integers(min(3, s.flavors)))]
        made.append(Project(ProjectName(f"p{i}"), TenantName(f"t{i % 20}"), kind, data, residency))
    return made


def jobs_of(gangs: str, known: list[Project], numbers: range, now: int, r: np.random.Generator) -> list[QueuedJob]:
    """Jobs of these numbers, submitted at `now`."""
    sizes, weights = GANGS[gangs]
    many = len(numbers)
    often = 1 / np.arange(1, len(known) + 1) ** 0.9
    project = r.choice(len(known), many, p=often / often.sum())
    gpus = r.choice(sizes, many, p=np.array(weights) / sum(weights))
    run = np.clip(r.lognormal(0.5, 1.4, many), 0.05, 100.0)
    slack = r.choice([1.5, 3.0, 8.0, 0.0], many, p=[0.1, 0.15, 0.1, 0.65])
    found: list[QueuedJob] = []
    for i in range(many):
        p, n = known[project[i]], int(gpus[i])
        ranks, each = (1, n) if n <= GPUS else (n // GPUS, GPUS)
        run_us = int(run[i] * MICROS_PER_HOUR)
        deadline = Instant(now + int(run_us * slack[i]) + MICROS_PER_HOUR) if slack[i] else None
        need = Need(each * 8, each << 36, p.kind, each)
        order = JobOrder("j", need, nodes=ranks, deadline=deadline, expect_us=run_us, residency=p.residency)
        name = JobId(f"j{numbers[i]:08d}")
        found.append(QueuedJob(name, p.tenant, p.name, order, Instant(now), Instant(0), run_us, p.data))
    return found


class World:
    """A fleet at work, and the queue before it."""

    def __init__(self, s: Setting) -> None:
        self.setting, self.rng = s, np.random.default_rng(s.seed)
        self.sites, self.links = fleet(s, self.rng)
        self.projects = projects(s, self.sites, self.rng)
        self.now = int(NOW)
        self.queue = {j.job: j for j in jobs_of(s.gangs, self.projects, range(s.jobs), self.now, self.rng)}
        self.number = s.jobs
        self.busy: dict[AttemptId, Busy] = {}
        wanted = (
            sum(j.order.nodes * j.order.need.accelerators * j.run_us for j in self.queue.values()) / MICROS_PER_HOUR
        )
        have = sum(f.count * GPUS for v in self.sites for f in v.profile.flavors)
        self._hold(max(0.0, 1 - wanted / s.overload / (have * 26.0)))

    def _hold(self, share: float) -> None:
        """Nodes that are held at first: all but one in eight now, `share` of them for the day to come."""
        for view in self.sites:
            for f in view.profile.flavors:
                for node in range(f.count):
                    if self.rng.random() < 0.12:
                        continue
                    long = self.rng.random() < share
                    left = self.rng.uniform(20, 60) if long else self.rng.exponential(5.0)
                    self._run(f"held-{view.profile.name}-{f.name}-{node}", view, f, (node,), left)

    def _run(self, name: str, view: SiteView, f: Flavor, nodes: tuple[int, ...], left_h: float) -> None:
        power = round((f.peak_w - f.idle_w) * 0.5 * view.profile.pue_milli / 1_000)
        need = Need(64, GPUS << 36, f.accelerator, GPUS)
        end = Instant(self.now + int(left_h * MICROS_PER_HOUR) + 1)
        attempt = AttemptId(f"{name}.1")
        self.busy[attempt] = Busy(
            attempt, JobId(name), TenantName("t0"), view.profile.name, f.name, nodes, need, power, end, 0,
            preemptible=False, unsaved_since=Instant(0),
        )  # fmt: skip

    def snapshot(self) -> Snapshot:
        """The fleet as it stands."""
        return Snapshot(1, self.sites, self.links, tuple(self.busy.values()))

    def after(self, plan: Plan) -> None:
        """A minute passes: what was placed runs, what ended is gone, some leave the queue and as many come."""
        for p in plan.placements:
            job, place = self.queue.pop(p.job), p.placement
            attempt = AttemptId(f"{p.job}.1")
            self.busy[attempt] = Busy(
                attempt, p.job, job.tenant, place.site, place.flavor, place.nodes, job.order.need, place.power_w,
                place.end, 0, preemptible=False, unsaved_since=Instant(0),
            )  # fmt: skip
        self.now += MINUTE
        self.busy = {a: b for a, b in self.busy.items() if b.end > self.now}
        s = self.setting
        names = list(self.queue)
        for i in self.rng.choice(len(names), min(len(names), round(s.jobs * CHURN)), replace=False).tolist():
            del self.queue[names[i]]
        come = s.jobs - len(self.queue)
        for job in jobs_of(s.gangs, self.projects, range(self.number, self.number + come), self.now, self.rng):
            self.queue[job.job] = job
        self.number += come

    def lose(self, index: int) -> None:
        """A site is gone, with what ran there."""
        gone = self.sites[index].profile.name
        self.sites = tuple(replace(v, lost=True) if v.profile.name == gone else v for v in self.sites)
        self.busy = {a: b for a, b in self.busy.items() if b.site != gone}


def checked(world: World, plan: Plan) -> None:
    """Raise AssertionError where a placement overfills a node or a site's cap."""
    took: dict[tuple[str, str, int], int] = {}
    power: dict[str, int] = {}
    for b in world.busy.values():
        for node in b.nodes:
            took[b.site, b.flavor, node] = took.get((b.site, b.flavor, node), 0) + b.need.accelerators
        power[b.site] = power.get(b.site, 0) + b.power_w
    for p in plan.placements:
        job, place = world.queue[p.job], p.placement
        assert len(place.nodes) == job.order.nodes, "a gang is not whole"
        for node in place.nodes:
            key = (place.site, place.flavor, node)
            took[key] = took.get(key, 0) + job.order.need.accelerators
        power[place.site] = power.get(place.site, 0) + place.power_w
    assert max(took.values(), default=0) <= GPUS, "a node holds more than it has"
    for view in world.sites:
        profile = view.profile
        idle = sum(f.count * f.idle_w for f in profile.flavors) * profile.pue_milli // 1_000
        assert not profile.power_cap_w or idle + power.get(profile.name, 0) <= profile.power_cap_w, "a cap is broken"


def measured(s: Setting, lose: int | None) -> dict[str, object]:
    """One seed."""
    world, planner, policy = World(s), ScalePlanner(), Policy()
    seconds: list[float] = []
    cpu: list[float] = []
    gaps: list[float] = []
    placed: list[int] = []
    for cycle in range(1 + WARM + (lose is not None)):
        if cycle == 1 + WARM and lose is not None:
            world.lose(lose)
        snapshot, queue, now = world.snapshot(), tuple(world.queue.values()), Instant(world.now)
        begun, burnt = time.perf_counter(), time.process_time()
        plan = planner(snapshot, queue, now, policy)
        seconds.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - burnt)
        gaps.append(plan.gap)
        placed.append(len(plan.placements))
        checked(world, plan)
        world.after(plan)
    warm = slice(WARM - 1, WARM + 1)
    found: dict[str, object] = {
        "seed": s.seed,
        "seconds": sum(seconds[warm]) / 2,
        "cpu_seconds": sum(cpu[warm]) / 2,
        "gap": max(gaps[warm]),
        "cold_seconds": seconds[0],
        "cold_cpu_seconds": cpu[0],
        "cold_gap": gaps[0],
        "placed": placed[WARM],
        "cold_placed": placed[0],
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
    }
    if lose is not None:
        found |= {"lost_seconds": seconds[-1], "lost_gap": gaps[-1]}
    return found


def main() -> None:
    """Run and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--jobs", type=int, default=10_000)
    ask.add_argument("--sites", type=int, default=8)
    ask.add_argument("--flavors", type=int, default=3)
    ask.add_argument("--nodes", type=int, help="of eight GPUs; a tenth of the jobs")
    ask.add_argument("--overload", type=float, default=1.5, help="GPU-hours wanted by GPU-hours free, about")
    ask.add_argument("--gangs", choices=sorted(GANGS), default="philly")
    ask.add_argument("--seed", type=int, default=0, help="the first one")
    ask.add_argument("--seeds", type=int, default=1, help="how many, from that one on")
    ask.add_argument("--lose", type=int, metavar="SITE", help="one more cycle, with this site lost")
    ask.add_argument("--json", action="store_true")
    ask.add_argument("--out", type=Path, help="write the JSON there too")
    a = ask.parse_args()
    if min(a.jobs, a.sites, a.flavors, a.seeds) < 1 or not a.overload > 0:
        ask.error("--jobs, --sites, --flavors, --seeds and --overload must be above zero")
    if a.lose is not None and not 0 <= a.lose < a.sites:
        ask.error(f"--lose {a.lose}: sites are numbered 0…{a.sites - 1}")
    nodes = a.nodes if a.nodes is not None else max(a.sites * a.flavors, a.jobs // 10)
    rows = [
        measured(Setting(a.jobs, a.sites, a.flavors, nodes, a.overload, a.seed + i, a.gangs), a.lose)
        for i in range(a.seeds)
    ]
    about = {"cpus": os.cpu_count(), "machine": platform.machine(), "numpy": np.__version__, "threads": 1}
    found = {"runs": rows, "on": about} if a.seeds > 1 else rows[0] | {"on": about}
    if a.out is not None:
        a.out.write_text(json.dumps(found, indent=1), "utf-8")
    if a.json:
        print(json.dumps(found))
        return
    for row in rows:
        print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
