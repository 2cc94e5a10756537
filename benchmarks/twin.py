"""How fast the twin replays a trace: the whole event path, hashing included, beside a bare simulator of the same queue.

Usage: python benchmarks/twin.py [--jobs 5000] [--planned 1000] [--trace FILE] [--seed 0] [--json]

`path`    many one-core jobs through control and the agents' cores, a trivial planner whose own time is left out: what
          an event costs
`replay`  the trace under a first-come planner: `jobs_per_s`, `events_per_s`
`planned` its first jobs under Moyai's own planner, plans included
`simpy`   the peer: SimPy runs the same jobs through the same first-come queue on the same nodes, with its scheduler
          woken at most as often; it writes no event, hashes nothing, knows no agent and no link
All are CPU seconds of one thread, in this one process. `sia` is not run here: the simulator of Sia's artifact took
73.8 s for 160 jobs with Gavel's policy on such a machine, a policy's own time included.

Without --trace the jobs are made up from the seed, in the shapes of Philly's.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import simpy

from moyai.model.ids import FlavorName, ProjectName, SiteName, TenantName
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.units import Instant
from moyai.model.workload import JobOrder, Need
from moyai.plan.types import Plan, Planner, Policy, QueuedJob, Snapshot
from moyai.twin.bench import run_events
from moyai.twin.engine import Work
from moyai.twin.policies import Knowledge, make
from moyai.twin.replay.first import first_come
from moyai.twin.replay.run import replay
from moyai.twin.replay.setup import Arrival, Setup
from moyai.twin.traces.read import read

SITES = (("ishikari", 60, 18), ("kansai", 100, 21), ("tokyo", 140, 24))  # nodes of 8 GPUs; yen per kWh
GPUS = 8
PLAN_EVERY_S = 60
SIA_SECONDS, SIA_JOBS = 73.8, 160


@dataclass(frozen=True, slots=True)
class Rate:
    """One run."""

    jobs: int
    cpu_s: float
    jobs_per_s: float
    events: int = 0
    events_per_s: float = 0.0
    plans: int = 0
    mean_wait_s: float = 0.0


def rate(jobs: int, cpu_s: float, events: int = 0, plans: int = 0, mean_wait_s: float = 0.0) -> Rate:
    """The rates of a run."""
    each = round(jobs / cpu_s, 1), round(events / cpu_s, 1)
    return Rate(jobs, round(cpu_s, 3), each[0], events, each[1], plans, round(mean_wait_s, 2))


def made_up(count: int, seed: int) -> list[Arrival]:
    """Jobs in Philly's shapes: most of one GPU, gangs up to 64, run times over five orders of magnitude."""
    draw = random.Random(seed)
    jobs: list[Arrival] = []
    at_us = 0
    for n in range(count):
        at_us += round(draw.expovariate(1 / 90) * 1e6)
        gpus = draw.choices((1, 2, 4, 8, 16, 32, 64), (70, 6, 8, 10, 4, 1.5, 0.5))[0]
        run_us = round(min(60 * 86_400.0, draw.lognormvariate(7.5, 2.3)) * 1e6) + 1_000_000
        jobs.append(arrival(at_us, run_us, f"made-{n}", f"vc{draw.randrange(14)}", gpus))
    return jobs


def arrival(at_us: int, run_us: int, key: str, tenant: str, gpus: int) -> Arrival:
    """A job that says how long it takes: a part of one node, or whole nodes."""
    need = Need(0, 0, "V100", min(gpus, GPUS))
    order = JobOrder("train", need, max(1, gpus // GPUS), expect_us=run_us)
    return Arrival(at_us, TenantName(tenant), ProjectName("bench"), key, order, Work(run_us))


def traced(path: Path, count: int) -> list[Arrival]:
    """The first jobs of a trace, on V100s. Says how many rows couldn't be read."""
    trace, bad = read(path)
    if bad:
        print(f"{path.name}: {len(bad)} rows left out", file=sys.stderr)
    return [
        arrival(j.submitted_us, j.run_us or 1, j.name, j.tenant, j.nodes * j.need.accelerators)
        for j in trace.jobs[:count]
    ]


def setup_of(arrivals: list[Arrival]) -> Setup:
    """The jobs on the three sites."""
    profiles = tuple(
        SiteProfile(
            SiteName(name),
            "host",
            "JP",
            0,
            0,
            (Flavor(FlavorName("v100"), nodes, 64, 512 << 30, "V100", GPUS, 700, 3_500),),
            yen * 1_000_000,
            400_000,
            synthetic=True,
        )
        for name, nodes, yen in SITES
    )
    names = [p.name for p in profiles]
    links = tuple(Link(a, b, 1_250_000_000, 9_000) for a in names for b in names if a < b)
    return Setup(
        "bench",
        profiles,
        links,
        tuple(arrivals),
        policy=Policy(exact_below_cells=0),
        plan_every_us=PLAN_EVERY_S * 1_000_000,
    )


def replayed(setup: Setup, planner: Planner, policy: str) -> Rate:
    """A replay, timed. Raises SystemExit where jobs are left over: the figure would mean nothing."""
    begun = time.process_time()
    outcome = replay(setup, planner, policy=policy)
    taken = time.process_time() - begun
    if not all(row.succeeded for row in outcome.jobs):
        raise SystemExit(f"{policy}: {sum(not row.succeeded for row in outcome.jobs)} jobs did not end well")
    waits = [(row.started_us or 0) - row.submitted_us for row in outcome.jobs]
    return rate(len(outcome.jobs), taken, outcome.events, len(outcome.plan_s), statistics.fmean(waits) / 1e6)


class Peer:
    """A first-come queue in SimPy: whoever came first starts first, on the first nodes of the first site with room."""

    def __init__(self, arrivals: list[Arrival]) -> None:
        self.env = simpy.Environment()
        self.free = [[GPUS] * nodes for _, nodes, _ in SITES]
        self.queue: list[Arrival] = []
        self.waits: list[float] = []
        self.wake = self.env.event()
        self.arrivals = arrivals
        self.env.process(self.come())
        self.env.process(self.schedule())

    def run(self) -> None:
        """Until every job is over."""
        self.env.run()

    def come(self) -> Generator[simpy.Event, None, None]:
        """Jobs come."""
        for job in self.arrivals:
            yield self.env.timeout(job.at_us / 1e6 - self.env.now)
            self.queue.append(job)
            self.stir()

    def stir(self) -> None:
        """Something changed."""
        if not self.wake.triggered:
            self.wake.succeed()

    def schedule(self) -> Generator[simpy.Event, None, None]:
        """Start from the head of the queue what fits, at most once a minute."""
        while True:
            yield self.wake
            self.wake = self.env.event()
            while self.queue and (place := self.fit(self.queue[0].order)) is not None:
                self.env.process(self.work(self.queue.pop(0), *place))
            yield self.env.timeout(PLAN_EVERY_S)

    def fit(self, order: JobOrder) -> tuple[list[int], list[int]] | None:
        """The nodes of the first site with room for the whole gang."""
        each = order.need.accelerators
        for nodes in self.free:
            found: list[int] = []
            for node, free in enumerate(nodes):
                found += [node] * min(order.nodes - len(found), free // each)
                if len(found) == order.nodes:
                    for taken in found:
                        nodes[taken] -= each
                    return nodes, found
        return None

    def work(self, job: Arrival, nodes: list[int], taken: list[int]) -> Generator[simpy.Event, None, None]:
        """A job runs and gives its nodes back."""
        self.waits.append(self.env.now - job.at_us / 1e6)
        yield self.env.timeout(job.work.total_us / 1e6)
        for node in taken:
            nodes[node] += job.order.need.accelerators
        self.stir()


def peer(arrivals: list[Arrival]) -> Rate:
    """The peer, timed."""
    queue = Peer(arrivals)
    begun = time.process_time()
    queue.run()
    taken = time.process_time() - begun
    if len(queue.waits) != len(arrivals):
        raise SystemExit("simpy: jobs are left over")
    return rate(len(arrivals), taken, mean_wait_s=statistics.fmean(queue.waits))


def path(jobs: int = 20_000) -> Rate:
    """The event path alone."""
    planning = 0.0

    def planner(snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy) -> Plan:
        nonlocal planning
        begun = time.process_time()
        made = first_come(snapshot, queue, now, policy)
        planning += time.process_time() - begun
        return made

    begun = time.process_time()
    ran = run_events(jobs, planner)
    return rate(ran.jobs_ended, time.process_time() - begun - planning, ran.events)


def main() -> None:
    """Measure, and print one table or one JSON document."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true")
    options.add_argument("--jobs", type=int, default=5_000)
    options.add_argument("--planned", type=int, default=1_000)
    options.add_argument("--trace", type=Path)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    arrivals = traced(chosen.trace, chosen.jobs) if chosen.trace else made_up(chosen.jobs, chosen.seed)
    if not arrivals or not 0 < chosen.planned <= len(arrivals):
        raise SystemExit(
            f"--planned {chosen.planned}: write a number from 1 to {len(arrivals)}, the jobs that there are"
        )
    setup = setup_of(arrivals)
    ours = make("moyai", Knowledge({}, {}, chosen.seed))
    rates = {
        "path": path(),
        "replay": replayed(setup, first_come, "first-come"),
        "planned": replayed(replace(setup, arrivals=setup.arrivals[: chosen.planned]), ours, "moyai"),
        "simpy": peer(arrivals),
        "sia": Rate(SIA_JOBS, SIA_SECONDS, round(SIA_JOBS / SIA_SECONDS, 1)),
    }
    source = chosen.trace.name if chosen.trace else f"made up, seed {chosen.seed}"
    if chosen.json:
        print(json.dumps({"trace": source} | {name: asdict(one) for name, one in rates.items()}))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, SimPy {simpy.__version__}"
    )
    print(f"jobs: {source}")
    print(f"{'':<8}{'jobs':>8}{'CPU s':>10}{'jobs/s':>12}{'events/s':>12}{'plans':>8}{'wait s':>10}")
    for name, one in rates.items():
        print(
            f"{name:<8}{one.jobs:>8}{one.cpu_s:>10.2f}{one.jobs_per_s:>12,.0f}{one.events_per_s:>12,.0f}"
            f"{one.plans:>8}{one.mean_wait_s:>10.1f}"
        )
    print("sia: measured elsewhere, not run here; target of path: 100,000 events/s; of planned: 1,000 jobs/s")


if __name__ == "__main__":
    main()
