"""SkyPilot's own optimizer against ours: where each task of a workflow runs, on chains and graphs, ten sites.

Usage: python benchmarks/sky.py [--tasks 20,50] [--shapes chain,dag] [--seeds 3] [--first-seed 0] [--mip S] [--json]

Both get the same prices, in one invocation; SkyPilot in an environment of its own under .cache, which is made on the
first run (its pins aren't Moyai's), with catalogues written from the same sites. Each answer is judged by one function
in three worlds: SkyPilot's own (what leaves a public cloud costs, what leaves an own site doesn't, no site is ever
full); with the sites' own lines priced; and with those and a finite number of GPU-hours at each site. With --mip, HiGHS
gets S seconds for each of the last.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from _sky_mip import best_of
from _sky_world import (
    SITES,
    Settled,
    Workflow,
    World,
    capacity_of,
    demand_of,
    move_cost,
    run_cost,
    settle,
    workflow_of,
    world_of,
)

from moyai.plan.dag import Dag, DagPlan, place_dag

ROOT = Path(__file__).resolve().parents[1]
VERSION = "0.14.1"
PEER = ROOT / ".cache" / f"skypilot-{VERSION}"
WORLDS = ("own", "lines", "finite")
SAYS = {
    "own": "SkyPilot's own model: an own site's data leaves for nothing, no site is ever full",
    "lines": "the sites' own lines cost 0.01 to 0.06 dollars a GB",
    "finite": "that, and each site has a finite number of GPU-hours; a task that finds its site full goes elsewhere",
}
IGNORES = (
    "SkyPilot's optimizer has no capacity, no queue and no price of a line between own sites (such a move counts 0),"
    " so that its answer is one and the same in all three worlds. Within its own model it is exact."
)


TIMES = ("sky_wall_s", "sky_cpu_s", "wall_s", "cpu_s")
"""Columns of which the table gives the median over the seeds: another process may take the core for a while."""
MEANS = ("sky_dollars", "dollars", "sky_moved", "moved", "sky_sites", "sites")
"""Columns of which it gives the mean."""


@dataclass(frozen=True, slots=True)
class Took:
    """Time of one answer, seconds."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One workflow in one world."""

    seed: int
    shape: str
    tasks: int
    edges: int
    world: str
    sky_dollars: float
    sky_moved: int
    sky_sites: int  # how many different sites its tasks were given
    sky_wall_s: float
    sky_cpu_s: float
    dollars: float
    moved: int
    sites: int
    wall_s: float
    cpu_s: float
    bound_dollars: float
    gap: float
    mip_dollars: float | None  # HiGHS's best; None where it wasn't asked or had none
    mip_bound_dollars: float | None
    mip_wall_s: float | None


class NoPeer(Exception):
    """SkyPilot can't be run here."""


def peer_python() -> Path:
    """The interpreter of SkyPilot's environment, made if it isn't there. Raises NoPeer."""
    python = PEER / "bin" / "python"
    if (PEER / "made").is_file():
        return python
    print(f"sky.py: makes {PEER.relative_to(ROOT)} with skypilot {VERSION} in it, once", file=sys.stderr)
    shutil.rmtree(PEER, ignore_errors=True)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if uv is None:
        raise NoPeer("no `uv` beside this Python nor on the path; run `make install` first")
    for command in (
        [uv, "venv", "-q", "--python", sys.executable, str(PEER)],
        [uv, "pip", "install", "-q", "--python", str(python), f"skypilot=={VERSION}"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NoPeer(f"{' '.join(command)}: {done.stderr.strip()}")
    (PEER / "made").touch()
    return python


def ask_peer(worlds: dict[int, World], workflows: list[tuple[int, Workflow]]) -> dict[int, dict]:
    """seed → what SkyPilot answered for that seed's workflows, in their order. Raises NoPeer."""
    python = peer_python()
    answers: dict[int, dict] = {}
    for seed, world in worlds.items():
        with tempfile.TemporaryDirectory(prefix="moyai-sky-") as home:
            question, answer = Path(home) / "question.json", Path(home) / "answer.json"
            mine = [asdict(w) for s, w in workflows if s == seed]
            question.write_text(json.dumps({"offers": world.offers, "workflows": mine}))
            keep = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
            done = subprocess.run(
                [str(python), "-P", str(Path(__file__).with_name("_sky_peer.py")), str(question), str(answer)],
                env={**keep, "HOME": home, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
                capture_output=True,
                text=True,
            )
            if done.returncode or not answer.is_file():
                raise NoPeer(f"SkyPilot ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
            answers[seed] = json.loads(answer.read_text())
            check_prices(world, answers[seed]["offered"])
    return answers


def check_prices(world: World, offered: dict[str, dict[str, dict[str, float]]]) -> None:
    """Raises NoPeer where SkyPilot doesn't see every site's machines at the prices that we count with."""
    machines = {(name, count) for prices in offered.values() for name, counts in prices.items() for count in counts}
    for site, (name, count) in ((s, m) for s in SITES for m in sorted(machines)):
        theirs, ours = offered[site].get(name, {}).get(count), world.offers[site][name][int(count)]
        if theirs is None or abs(theirs - ours) > 1e-6:
            raise NoPeer(f"SkyPilot has {count} {name} at {site} for {theirs} dollars an hour, not {ours}")


def placed(dag: Dag) -> tuple[DagPlan, Took]:
    """Our answer and its time."""
    wall, cpu = time.perf_counter(), time.process_time()
    plan = place_dag(dag)
    return plan, Took(time.perf_counter() - wall, time.process_time() - cpu)


def solved(dag: Dag, seconds: float) -> tuple[float | None, float | None, float | None]:
    """HiGHS's cost, bound and time; nothing where it gets no time."""
    if not seconds:
        return None, None, None
    wall = time.perf_counter()
    cost, bound = best_of(dag, seconds)
    return (cost if cost < float("inf") else None), bound, time.perf_counter() - wall


def compared(seed: int, world: World, workflow: Workflow, answer: dict, egress: dict, *, mip_s: float) -> list[Row]:
    """One workflow in the three worlds."""
    run, demand = run_cost(world, workflow), demand_of(workflow)
    edges = np.array(workflow.edges, np.int64)
    theirs = np.array([SITES.index(name) for name in answer["sites"]], np.int64)
    rows: list[Row] = []
    for name in WORLDS:
        move = move_cost(world, workflow, egress, lines=name != "own")
        capacity = capacity_of(seed, workflow) if name == "finite" else np.full(len(SITES), np.inf)
        dag = Dag(run, edges, move, demand, capacity)
        plan, took = placed(dag)
        ours: Settled = settle(dag, np.array(plan.sites, np.int64))
        sky: Settled = settle(dag, theirs)
        rows.append(
            Row(
                seed,
                workflow.shape,
                len(workflow.tasks),
                len(workflow.edges),
                name,
                sky.dollars,
                sky.moved,
                len(set(answer["sites"])),
                answer["wall_s"],
                answer["cpu_s"],
                ours.dollars,
                ours.moved,
                len(set(plan.sites)),
                took.wall_s,
                took.cpu_s,
                plan.bound,
                plan.gap,
                *solved(dag, mip_s if name == "finite" else 0.0),
            )
        )
    return rows


def machine() -> str:
    """Processor and versions, for who compares figures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), platform.processor())
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}"


def main() -> int:
    """Ask both, judge both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="20,50", help="sizes with commas between")
    parser.add_argument("--shapes", default="chain,dag", help="of chain, dag")
    parser.add_argument("--seeds", type=int, default=3, help="how many; they are --first-seed and those after it")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--mip", type=float, default=0.0, metavar="S", help="seconds of HiGHS for each finite world")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    sizes, shapes = args.tasks.split(","), args.shapes.split(",")
    if (
        not all(size.isdigit() and int(size) > 1 for size in sizes)
        or args.seeds < 1
        or min(args.first_seed, args.mip) < 0
    ):
        parser.error("--tasks must be numbers from 2, --seeds at least 1, --first-seed and --mip from 0")
    if set(shapes) - {"chain", "dag"}:
        parser.error(f"no shape {', '.join(sorted(set(shapes) - {'chain', 'dag'}))}; there are: chain, dag")
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    worlds = {seed: world_of(seed) for seed in seeds}
    workflows = [(seed, workflow_of(seed, shape, int(n))) for seed in seeds for shape in shapes for n in sizes]
    try:
        answers = ask_peer(worlds, workflows)
    except NoPeer as problem:
        print(problem, file=sys.stderr)
        return 2
    rows: list[Row] = []
    for seed in seeds:
        mine = [w for s, w in workflows if s == seed]
        egress = {site: dict(sent) for site, sent in answers[seed]["egress"].items()}
        for workflow, answer in zip(mine, answers[seed]["answers"], strict=True):
            rows += compared(seed, worlds[seed], workflow, answer, egress, mip_s=args.mip)
    report(rows, answers, list(seeds), as_json=args.json)
    return 0


def report(rows: list[Row], answers: dict[int, dict], seeds: list[int], *, as_json: bool) -> None:
    """One table, or one JSON object with every row."""
    table = []
    for shape, size in dict.fromkeys((r.shape, r.tasks) for r in rows):
        for world in WORLDS:
            mine = [r for r in rows if (r.shape, r.tasks, r.world) == (shape, size, world)]
            mean = {f: statistics.mean(getattr(r, f) for r in mine) for f in MEANS}
            mean |= {f: statistics.median(getattr(r, f) for r in mine) for f in TIMES}
            mips = [(r.dollars / r.mip_dollars - 1, r.mip_wall_s) for r in mine if r.mip_dollars and r.mip_wall_s]
            table.append(
                {
                    "shape": shape,
                    "tasks": size,
                    "world": world,
                    "sky_wall_s": round(mean["sky_wall_s"], 3),
                    "sky_cpu_s": round(mean["sky_cpu_s"], 3),
                    "wall_s": round(mean["wall_s"], 4),
                    "cpu_s": round(mean["cpu_s"], 4),
                    "times_faster_wall": round(mean["sky_wall_s"] / mean["wall_s"], 1),
                    "times_faster_cpu": round(mean["sky_cpu_s"] / mean["cpu_s"], 1),
                    "sky_dollars": round(mean["sky_dollars"], 2),
                    "dollars": round(mean["dollars"], 2),
                    "dearer_pct": round(100 * (mean["sky_dollars"] / mean["dollars"] - 1), 2),
                    "sky_moved": round(mean["sky_moved"], 1),
                    "moved": round(mean["moved"], 1),
                    "sky_sites": round(mean["sky_sites"], 1),
                    "sites": round(mean["sites"], 1),
                    "gap_max": round(max(r.gap for r in mine), 4),
                    "dearer_than_mip_pct": round(100 * statistics.mean(m for m, _ in mips), 2) if mips else None,
                    "mip_wall_s": round(statistics.mean(t for _, t in mips), 2) if mips else None,
                }
            )
    peer = next(iter(answers.values()))
    if as_json:
        print(
            json.dumps(
                {
                    "peer": f"skypilot {peer['version']}, Optimizer.optimize, minimize=COST",
                    "machine": machine(),
                    "seeds": seeds,
                    "sites": list(SITES),
                    "worlds": SAYS,
                    "ignores": IGNORES,
                    "data": "synthetic prices, lines, capacities and workflows, drawn from the seed",
                    "sky_import_s": round(statistics.mean(a["import_s"] for a in answers.values()), 2),
                    "sky_first_call_s": round(statistics.mean(a["first_s"] for a in answers.values()), 2),
                    "table": table,
                    "rows": [asdict(r) for r in rows],
                },
                indent=2,
            )
        )
        return
    print(f"skypilot {peer['version']} (without import and first call) and ours; {len(SITES)} sites; seeds", *seeds)
    print(f"{machine()}; medians of times, means of costs")
    head = f"{'':<10}{'world':<8}{'SkyPilot s':>11}{'CPU s':>8}{'ours s':>9}{'CPU s':>8}{'× wall':>8}{'× CPU':>7}"
    print(head + f"{'SkyPilot $':>12}{'moved':>7}{'ours $':>10}{'dearer %':>10}{'gap ≤ %':>9}")
    for row in table:
        left = f"{row['shape'] + ' ' + str(row['tasks']):<10}{row['world']:<8}"
        left += f"{row['sky_wall_s']:>11.2f}{row['sky_cpu_s']:>8.2f}"
        time_ = (
            f"{row['wall_s']:>9.3f}{row['cpu_s']:>8.3f}{row['times_faster_wall']:>8.0f}{row['times_faster_cpu']:>7.0f}"
        )
        cost = f"{row['sky_dollars']:>12,.0f}{row['sky_moved']:>7.1f}{row['dollars']:>10,.0f}{row['dearer_pct']:>10.1f}"
        print(left + time_ + cost + f"{100 * row['gap_max']:>9.2f}")
        if row["mip_wall_s"] is not None:
            print(
                f"{'':<18}HiGHS in {row['mip_wall_s']:.1f} s; ours is {row['dearer_than_mip_pct']:+.2f} % of its cost"
            )
    for name, says in SAYS.items():
        print(f"  {name}: {says}")
    print(f"  {IGNORES}")


if __name__ == "__main__":
    sys.exit(main())
