"""Run real scientific workflows on four linked sites: how long each policy takes, and what it moves between sites.

Usage: python benchmarks/workflows.py [--policies a,b] [--seeds 3] [--megabits 1000] [--nodes 2] [--cores 16]
                                      [--only NAME] [--data FOLDER] [--json]

The graphs, run times and file sizes are those of WfCommons' WfInstances. The fleet, its links and prices, and the
places of the inputs (drawn by seed) are synthetic. Control, agents' cores and our plan are the production ones, on
virtual time; the same setup goes to every policy, and all know the run times. `bound`: the longest chain, all core time
over all cores, and the bytes that must cross over all links, whichever is largest: no schedule is shorter.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

from moyai.twin.policies import NAMES, Knowledge, UnknownPolicy, make
from moyai.twin.traces.read import Format, read
from moyai.twin.traces.trace import TraceError
from moyai.twin.workflows.bound import bound
from moyai.twin.workflows.fleet import NOTE, fleet, homes_of, setup
from moyai.twin.workflows.graph import graph_of
from moyai.twin.workflows.run import Ran, run

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "traces" / "wfinstances"
POLICIES = "moyai,locality,mast,first-fit,random"
"""`first-fit` and `random` look at no data: they are the ones that are blind to where it lies."""


def machine() -> str:
    """Processor and versions, for who compares figures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.processor()}, one core, Python {platform.python_version()}"


def row(many: list[Ran], seconds: list[float]) -> dict[str, object]:
    """Means over the seeds of one policy on one workflow."""
    plans = sorted(s for ran in many for s in ran.outcome.plan_s)
    return {
        "makespan_s": round(statistics.mean(r.makespan_us / 1e6 for r in many), 1),
        "makespan_each_s": [round(r.makespan_us / 1e6, 1) for r in many],
        "moves": round(statistics.mean(r.moves for r in many), 1),
        "wan_gb": round(statistics.mean(r.moved_bytes / 1e9 for r in many), 4),
        "yen": round(statistics.mean(sum(j.cost_micro_yen for j in r.outcome.jobs) / 1e6 for r in many), 2),
        "dropped": round(statistics.mean(r.dropped for r in many), 1),
        "held_gb": round(statistics.mean(r.held_bytes / 1e9 for r in many), 4),
        "left_gb": round(statistics.mean(r.left_bytes / 1e9 for r in many), 4),
        "states": sorted({r.state.value if r.state else "unfinished" for r in many}),
        "plan_p99_s": round(plans[len(plans) * 99 // 100], 3) if plans else 0.0,
        "seconds": round(statistics.mean(seconds), 1),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", default=POLICIES, help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--seeds", type=int, default=1, help="how many; each draws other places for the inputs")
    parser.add_argument("--megabits", type=int, default=1_000, help="of each link, per second")
    parser.add_argument("--nodes", type=int, default=2, help="of each of the four sites")
    parser.add_argument("--cores", type=int, default=16, help="of each node")
    parser.add_argument("--only", default="", help="part of a workflow's name")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of WfFormat files")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if min(args.seeds, args.megabits, args.nodes, args.cores) < 1:
        parser.error("--seeds, --megabits, --nodes and --cores must be at least 1")
    files = sorted(p for p in args.data.glob("*.json*") if args.only in p.name)
    if not files:
        parser.error(f"no WfFormat file in {args.data}" + (f" with {args.only!r} in its name" if args.only else ""))
    names = [name for name in args.policies.split(",") if name]
    try:
        for name in names:
            make(name, Knowledge())
        found = {}
        for path in files:
            name, result = measure(path, names, args)
            found[name] = result
            if not args.json:
                show(name, result)
    except (TraceError, UnknownPolicy, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 2
    if args.json:
        about = {"machine": machine(), "note": NOTE, "seeds": args.seeds, "megabits": args.megabits}
        print(json.dumps({**about, "nodes": args.nodes, "cores": args.cores, "workflows": found}, indent=2))
    else:
        print(f"{NOTE}; {args.seeds} seeds; {machine()}")
    return 0


def measure(path: Path, names: list[str], args: argparse.Namespace) -> tuple[str, dict[str, object]]:
    """One workflow under every policy."""
    trace, _ = read(path, Format.WFFORMAT)
    graph = graph_of(trace)
    profiles, links = fleet(args.nodes, args.cores, args.megabits)
    least = []
    runs: dict[str, list[Ran]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(args.seeds):
        homes = homes_of(graph, profiles, seed)
        least.append(bound(graph, profiles, links, homes))
        whole = setup(graph, profiles, links, homes)
        for name in names:
            began = time.process_time()
            runs[name].append(run(whole, make(name, Knowledge(homes=whole.homes, seed=seed)), name, seed))
            seconds[name].append(time.process_time() - began)
    return graph.name, {
        "tasks": len(graph.tasks),
        "files": sum(b.files for b in graph.bundles),
        "bundles": len(graph.bundles),
        "input_gb": round(sum(b.size_bytes for b in graph.outside) / 1e9, 4),
        "bound_s": round(statistics.mean(b.us / 1e6 for b in least), 1),
        "path_s": round(statistics.mean(b.path_us / 1e6 for b in least), 1),
        "work_s": round(statistics.mean(b.work_us / 1e6 for b in least), 1),
        "bytes_s": round(statistics.mean(b.bytes_us / 1e6 for b in least), 1),
        "bound_gb": round(statistics.mean(b.moved_bytes / 1e9 for b in least), 4),
        "policies": {name: row(runs[name], seconds[name]) for name in names},
    }


def show(name: str, result: dict[str, object]) -> None:
    """The table of one workflow."""
    print(f"{name}: {result['tasks']} tasks, {result['files']} files in {result['bundles']} bundles")
    print(f"  bound {result['bound_s']} s (chain {result['path_s']}, work {result['work_s']}, ", end="")
    print(f"bytes {result['bytes_s']}); at least {result['bound_gb']} of {result['input_gb']} GB of inputs must move")
    heads = (
        ("policy", "<10"),
        ("makespan s", ">11"),
        ("/ bound", ">9"),
        ("moves", ">8"),
        ("WAN GB", ">10"),
        ("yen", ">9"),
    )
    more = (("most GB", ">9"), ("left GB", ">9"), ("plan p99 s", ">12"), ("CPU s", ">7"))
    print("  " + "".join(f"{head:{width}}" for head, width in (*heads, *more)))
    for policy, found in result["policies"].items():  # type: ignore[attr-defined]
        over = found["makespan_s"] / result["bound_s"] if result["bound_s"] else float("nan")
        states = "" if found["states"] == ["succeeded"] else f"  {', '.join(found['states'])}"
        print(
            f"  {policy:<10}{found['makespan_s']:>11,}{over:>9.2f}{found['moves']:>8,.0f}{found['wan_gb']:>10,.3f}",
            end="",
        )
        print(f"{found['yen']:>9,.1f}{found['held_gb']:>9,.3f}{found['left_gb']:>9,.3f}", end="")
        print(f"{found['plan_p99_s']:>12}{found['seconds']:>7}{states}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
