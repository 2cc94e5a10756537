"""Every policy on the jobs of Philly, placed on the seven sites of the scenario `japan`: deadlines, yen, kWh and waits.

    python benchmarks/philly.py --policies all --seeds 10 --trace philly-2017-09-10.csv.gz --json

The trace is Microsoft's (msr-fiddle/philly-traces, CC BY 4.0): September and October 2017; its jobs come so many times
as fast as the scenario or `--compress` says. Deadlines, links, prices, homes and types are synthetic, drawn from the
seed; every policy of a seed gets the same. `--jobs` takes the first so many of the scenario's window. `moyai-0` is ours
without preemption, which no peer has. `--thin 8` is a small
copy under the same load. Each figure is a mean with the half width of its 95 % interval (Student's t).
"""

import argparse
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

from moyai.model.specs.scenario_jobs import ESTIMATES  # noqa: E402
from moyai.twin.compare.task import Source, Task, run_setup  # noqa: E402
from moyai.twin.compare.workers import each  # noqa: E402
from moyai.twin.policies import NAMES  # noqa: E402
from moyai.twin.replay.figures import Figures, figures, interval  # noqa: E402
from moyai.twin.replay.setup import Setup  # noqa: E402
from moyai.twin.scenarios.make import setup  # noqa: E402
from moyai.twin.scenarios.scenario import Scenario  # noqa: E402
from moyai.twin.traces.trace import Trace  # noqa: E402

OURS, WITHOUT = "moyai", "moyai-0"
SHOWN = (
    "hit_rate", "yen", "kwh", "carbon_kg", "peak_kw", "wan_gb", "mean_completion_s", "p99_completion_s",
    "mean_wait_s", "p99_wait_s", "preemptions", "lost_gpu_h", "allocated_pct", "unfinished", "rejected", "failed",
    "plan_p50_s", "plan_p99_s", "wall_s",
)  # fmt: skip
WITHIN = 0.02
"""Policies whose hit rate is that near to ours must not be cheaper."""


@dataclass(frozen=True, slots=True)
class One:
    """Replays one task. It can be sent to another process."""

    source: Source
    most: int  # jobs; 0: all
    compress: float  # 0: as the scenario says
    thin: int  # one job in so many, and one node in so many

    def __call__(self, task: Task, tell: Callable[[float], None]) -> Figures:
        """The figures of one replay."""
        made = setup_of(self.source, task.estimates, task.seed, most=self.most, compress=self.compress, thin=self.thin)
        policy = task.policy
        if policy == WITHOUT:
            policy, made = OURS, replace(made, policy=replace(made.policy, preemptions_per_cycle=0))
        return figures(run_setup(made, policy, task.seed, tell))


@lru_cache(maxsize=1)
def read_of(source: Source) -> tuple[Scenario, Trace | None]:
    """The scenario and its trace, read once in each process."""
    return source.read()


@lru_cache(maxsize=1)
def setup_of(source: Source, estimates: str, seed: int, *, most: int, compress: float, thin: int) -> Setup:
    """What all policies of a seed start from."""
    scenario, trace = read_of(source)
    changed: dict[str, object] = {"estimates": estimates}
    if compress:
        changed["compress"] = Decimal(str(compress))
    jobs = scenario.spec.jobs.model_copy(update=changed)
    made = setup(replace(scenario, spec=scenario.spec.model_copy(update={"jobs": jobs})), trace, seed)
    if thin > 1:
        made = thinned(made, thin, seed)
    return replace(made, arrivals=made.arrivals[:most] if most else made.arrivals)


def thinned(made: Setup, thin: int, seed: int) -> Setup:
    """A small copy under the same load: a part of the nodes of each flavor, and of the jobs that these can hold."""
    profiles = tuple(
        replace(p, flavors=tuple(replace(f, count=max(1, round(f.count / thin))) for f in p.flavors))
        for p in made.profiles
    )
    most: dict[str, int] = {}
    for p in profiles:
        for f in p.flavors:
            most[f.accelerator] = max(most.get(f.accelerator, 0), f.count * f.accelerators)
    chance = random.Random(f"{seed}/thin")
    kept = tuple(
        a
        for a in made.arrivals
        if chance.random() * thin < 1 and a.order.nodes * a.order.need.accelerators <= most[a.order.need.accelerator]
    )
    return replace(made, profiles=profiles, arrivals=kept)


def summary(runs: list[Figures]) -> dict[str, float]:
    """Means, and `…_ci` beside them where there are several seeds."""
    found: dict[str, float] = {}
    for key in SHOWN:
        values = [float(getattr(run, key)) for run in runs]
        mean, half = interval(values) if len(values) > 1 else (values[0], 0.0)
        found[key] = mean
        if len(values) > 1:
            found[f"{key}_ci"] = half if isfinite(half) else 0.0
    found["jobs"] = runs[0].jobs
    found["jobs_per_s"] = sum(r.jobs for r in runs) / max(sum(r.wall_s for r in runs), 1e-9)
    return found


def verdict(policies: dict[str, dict[str, float]]) -> dict[str, object]:
    """Whether ours keeps the most deadlines, and at no more yen than any policy that comes near it."""
    ours = policies[OURS]
    peers = {n: p for n, p in policies.items() if n not in (OURS, WITHOUT)}
    best = max(peers, key=lambda n: peers[n]["hit_rate"])
    near = {n: p["yen"] for n, p in peers.items() if p["hit_rate"] >= ours["hit_rate"] - WITHIN}
    return {
        "highest_hit_rate": ours["hit_rate"] >= peers[best]["hit_rate"],
        "best_peer": best,
        "cheaper_within_2_points": sorted(n for n, yen in near.items() if yen < ours["yen"]),
    }


def printed(kind: str, policies: dict[str, dict[str, float]]) -> None:
    """One table."""
    print(f"estimates {kind}")
    print(f"{'policy':10}{'on time %':>16}{'million yen':>18}{'MWh':>9}{'mean h':>9}{'p99 h':>9}{'wait h':>8}"
          f"{'peak kW':>9}{'WAN TB':>8}{'stops':>7}{'lost h':>8}{'plan p99 ms':>13}{'jobs/s':>8}")  # fmt: skip
    for name, p in sorted(policies.items(), key=lambda item: -item[1]["hit_rate"]):
        print(
            f"{name:10}{100 * p['hit_rate']:9.2f} ± {100 * p.get('hit_rate_ci', 0):4.2f}"
            f"{p['yen'] / 1e6:11.3f} ± {p.get('yen_ci', 0) / 1e6:4.3f}{p['kwh'] / 1e3:9.1f}"
            f"{p['mean_completion_s'] / 3600:9.2f}{p['p99_completion_s'] / 3600:9.1f}{p['mean_wait_s'] / 3600:8.2f}"
            f"{p['peak_kw']:9.0f}{p['wan_gb'] / 1e3:8.1f}{p['preemptions']:7.0f}{p['lost_gpu_h']:8.0f}"
            f"{1e3 * p['plan_p99_s']:13.1f}{p['jobs_per_s']:8.0f}"
        )


def main() -> None:
    """Run and print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--policies", default="all", help="with commas, or all")
    ask.add_argument("--seeds", type=int, default=10)
    ask.add_argument("--seed", type=int, default=0, help="the first one")
    ask.add_argument("--trace", type=Path, help="Philly's table; without it, the scenario's made-up jobs")
    ask.add_argument("--scenario", default="japan")
    ask.add_argument("--jobs", type=int, default=0, help="the first so many; 0: all")
    ask.add_argument("--compress", type=float, default=0, help="jobs come so many times as fast; 0: as in the scenario")
    ask.add_argument("--thin", type=int, default=1, help="one job in so many, drawn, on one node in so many")
    ask.add_argument("--estimates", default="exact", help=f"with commas: {', '.join(ESTIMATES)}")
    ask.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    ask.add_argument("--json", action="store_true")
    ask.add_argument("--out", type=Path, help="write the JSON there too")
    a = ask.parse_args()
    known = (OURS, WITHOUT, *(n for n in NAMES if n != OURS))
    names = list(known) if a.policies == "all" else a.policies.split(",")
    kinds = a.estimates.split(",")
    if unknown := [n for n in names if n not in known]:
        ask.error(f"--policies {unknown[0]}: choose from {', '.join(known)}")
    if unknown := [k for k in kinds if k not in ESTIMATES]:
        ask.error(f"--estimates {unknown[0]}: choose from {', '.join(ESTIMATES)}")
    if a.trace is not None and not a.trace.is_file():
        ask.error(f"--trace {a.trace}: there is no such file")
    if min(a.seeds, a.workers, a.thin) < 1 or a.jobs < 0 or not a.compress >= 0:
        ask.error("--seeds, --workers and --thin must be above zero, --jobs and --compress not below")
    source = Source(a.scenario, a.trace)
    tasks = [Task(n, k, a.seed + s) for k in kinds for s in range(a.seeds) for n in names]
    done: dict[tuple[str, str], list[Figures]] = {}
    begun = time.monotonic()
    for number, (task, found) in enumerate(each(One(source, a.jobs, a.compress, a.thin), tasks, a.workers), 1):
        done.setdefault((task.estimates, task.policy), []).append(found)
        said = f"{100 * found.hit_rate:.2f} % on time, {found.yen / 1e6:.3f} million yen"
        print(
            f"{number}/{len(tasks)} {task}: {said}, {found.jobs / found.wall_s:.0f} jobs/s, "
            f"{time.monotonic() - begun:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    results = {k: {n: summary(done[k, n]) for n in names} for k in kinds}
    about = {
        "scenario": a.scenario,
        "trace": a.trace.name if a.trace else None,
        "compress": a.compress or float(read_of(source)[0].spec.jobs.compress),
        "thin": a.thin,
        "seeds": [a.seed + s for s in range(a.seeds)],
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "notes": list(setup_of(source, kinds[0], a.seed, most=a.jobs, compress=a.compress, thin=a.thin).notes),
    }
    report: dict[str, object] = {"policies": results[kinds[0]], "estimates": results, "on": about}
    if OURS in names and len(names) > 2:
        report["verdict"] = {k: verdict(results[k]) for k in kinds}
    if a.out is not None:
        a.out.write_text(json.dumps(report, indent=1), "utf-8")
    if a.json:
        print(json.dumps(report))
        return
    for kind in kinds:
        printed(kind, results[kind])
    for note in about["notes"]:
        print(f"  {note}")
    if "verdict" in report:
        print(json.dumps(report["verdict"]))


if __name__ == "__main__":
    main()
