"""The plan at scale on a made-up queue: time, certified gap and memory, with HiGHS on the same instance beside it.

Usage: python benchmarks/plan.py [--jobs 10000] [--sites 8] [--flavors 3] [--buckets 6] [--nodes N] [--overload 1.5]
       [--gangs philly|none|large] [--seed 0] [--seeds 1] [--lose SITE] [--peer auto|always|never] [--json] [--out FILE]
       python benchmarks/plan.py --curve [--sites 20] [--most 1000000] [--out docs/plan-curve.json]

`seconds`, `gap` and `value` are those of a warm plan: prices after four cycles of a queue of which 2 % then change.
The `cold_` ones start from nothing. Both are wall seconds of one thread, expansion to jobs included, with the seconds
of the processor in `cpu_seconds` beside them, which a busy machine disturbs less; nodes are not packed, and making the
arrays is not in it. `rss_mb` is the peak of the process before the peer runs, or since the peer of the seed before; the
peer solves the linear relaxation alone (`highs_value`: no whole jobs), by the interior point
method of HiGHS without crossover, on one thread; `auto` asks it for up to 10,000 jobs.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is loaded: one thread, as the peer has

import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from _instances import GANGS, Setting, make, without_site  # noqa: E402

from moyai.plan.price.expand import to_jobs  # noqa: E402
from moyai.plan.price.instance import Instance, Prices, excess  # noqa: E402
from moyai.plan.price.solve import Answer, solve  # noqa: E402

PEER_SECONDS = 600.0
CURVE = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
CYCLES = 4
"""Plans of the queue before, each from the prices of the last: a control plane plans every few seconds, from the first
cold start on."""


def planned(instance: Instance, warm: Prices | None, job_cls: np.ndarray) -> tuple[float, float, Answer]:
    """Wall and processor seconds of a plan down to jobs, and the plan."""
    begun, spent = time.perf_counter(), time.process_time()
    answer = solve(instance, warm)
    chosen = to_jobs(answer.columns, job_cls)
    taken, spent = time.perf_counter() - begun, time.process_time() - spent
    assert int((chosen >= 0).sum()) == int(answer.columns.count.sum())
    return taken, spent, answer


def relaxed_by_highs(instance: Instance) -> tuple[float, float, str]:
    """Seconds, value in yen and status of the linear relaxation by HiGHS; the model's making is not in the seconds."""
    import highspy

    sites, flavors, buckets = instance.shape
    cls, option = np.nonzero(instance.value > 0)
    site, flavor, bucket = option // (flavors * buckets), option // buckets % flavors, option % buckets
    own = instance.hours[instance.length[cls], flavor, bucket] * instance.gang[cls][:, None]
    power = own * instance.kw[site, flavor][:, None]
    each = np.arange(buckets)
    index = np.concatenate(
        [
            cls[:, None],
            instance.classes + ((site * flavors + flavor) * buckets)[:, None] + each,
            instance.classes + instance.options + (site * buckets)[:, None] + each,
        ],
        axis=1,
    )
    weight = np.concatenate([np.ones((len(cls), 1)), own, power], axis=1)
    used = weight > 0
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(cls), instance.classes + instance.options + sites * buckets
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = instance.value[cls, option].astype(np.float64) * instance.gang[cls] / 1_000
    model.col_lower_, model.col_upper_ = np.zeros(len(cls)), instance.jobs[cls].astype(np.float64)
    model.row_lower_ = np.full(model.num_row_, -highspy.kHighsInf)
    model.row_upper_ = np.concatenate([instance.jobs.astype(np.float64), instance.limits])
    matrix = model.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kColwise
    matrix.start_ = np.concatenate([[0], np.cumsum(used.sum(1))]).astype(np.int32)
    matrix.index_, matrix.value_ = index[used].astype(np.int32), weight[used]
    highs = highspy.Highs.__mro__[1]()
    for name, setting in (
        ("output_flag", False),
        ("threads", 1),
        ("solver", "ipm"),
        ("run_crossover", "off"),
        ("time_limit", PEER_SECONDS),
    ):
        highs.setOptionValue(name, setting)
    highs.passModel(model)
    begun = time.perf_counter()
    highs.run()
    taken = time.perf_counter() - begun
    status = highs.modelStatusToString(highs.getModelStatus())
    return taken, float(highs.getInfo().objective_function_value) * 1_000, status


def measured(s: Setting, lose: int | None, peer: bool) -> dict[str, object]:
    """All figures of one seed."""
    pair = make(s)
    last = solve(pair.before)
    for _ in range(CYCLES - 1):
        last = solve(pair.before, last.prices)
    cold_s, cold_cpu, cold = planned(pair.now, None, pair.job_cls)
    warm_s, warm_cpu, warm = planned(pair.now, last.prices, pair.job_cls)
    found: dict[str, object] = {
        "seed": s.seed,
        "seconds": warm_s,
        "cpu_seconds": warm_cpu,
        "gap": warm.gap,
        "feasible": not excess(pair.now, warm.columns) and not excess(pair.now, cold.columns),
        "value": warm.value,
        "bound": warm.bound,
        "steps": warm.steps,
        "cold_seconds": cold_s,
        "cold_cpu_seconds": cold_cpu,
        "cold_gap": cold.gap,
        "cold_value": cold.value,
        "classes": pair.now.classes,
        "table_mb": pair.now.value.nbytes / 2**20,
        "options": pair.now.options,
        "jobs_placed": int(warm.columns.count.sum()),
    }
    if lose is not None:
        broken = without_site(pair.now, lose)
        lost_s, lost_cpu, lost = planned(broken, last.prices, pair.job_cls)
        found |= {
            "lost_seconds": lost_s,
            "lost_cpu_seconds": lost_cpu,
            "lost_gap": lost.gap,
            "lost_feasible": not excess(broken, lost.columns),
        }
    found["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found |= {"highs_seconds": None, "highs_value": None, "highs_status": "not asked"}
    if peer:
        highs_s, highs_value, status = relaxed_by_highs(pair.now)
        found |= {"highs_seconds": highs_s, "highs_value": highs_value, "highs_status": status}
    return found


def curve(a: argparse.Namespace) -> None:
    """Time and memory against the length of the queue, each in a process of its own; JSON, and an SVG beside it."""
    rows: list[dict[str, object]] = []
    for jobs in (j for j in CURVE if j <= a.most):
        asked = [sys.executable, __file__, "--jobs", str(jobs), "--sites", str(a.sites), "--peer", "never", "--json"]
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        rows.append({"jobs": jobs, **json.loads(done.stdout)})
        row = rows[-1]
        shown = f"warm {row['cpu_seconds']:.2f} s, cold {row['cold_cpu_seconds']:.2f} s, gap {row['gap']:.2%}"
        print(f"{jobs:>8} jobs: {shown}, peak {row['rss_mb']:.0f} MB", flush=True)
    a.out.write_text(json.dumps({"runs": rows}, indent=1), "utf-8")
    drawn(rows, a.out.with_suffix(".svg"))


def drawn(rows: list[dict[str, object]], path: Path) -> None:
    """The curve as a picture."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "plan"
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    jobs = [row["jobs"] for row in rows]
    for name, label in (("cold_cpu_seconds", "cold"), ("cpu_seconds", "warm")):
        left.loglog(jobs, [row[name] for row in rows], "o-", label=label)
    right.loglog(jobs, [row["rss_mb"] for row in rows], "o-", label="peak, queue generator included")
    right.loglog(jobs, [row["table_mb"] for row in rows], "o-", label="the table of values alone")
    left.set(xlabel="jobs in the queue", ylabel="processor seconds of a plan")
    right.set(xlabel="jobs in the queue", ylabel="MB")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def table(rows: list[dict[str, object]]) -> str:
    """One line per seed, and the mean and the largest of each figure."""
    names = ["seconds", "cpu_seconds", "gap", "cold_seconds", "cold_cpu_seconds", "cold_gap", "rss_mb", "highs_seconds"]
    names += ["lost_seconds", "lost_gap"] if "lost_gap" in rows[0] else []

    def shown(name: str, value: object) -> str:
        if not isinstance(value, float):
            return f"{'–':>17}"
        return f"{value:>16.3%} " if name.endswith("gap") else f"{value:>17.3f}"

    lines = ["seed".ljust(6) + "".join(n.rjust(17) for n in names) + "  feasible"]
    for row in rows:
        cells = "".join(shown(n, row[n]) for n in names)
        lines += [f"{row['seed']:<6}{cells}  {row['feasible']}"]
    for label, of in (("mean", np.mean), ("max", np.max)):
        columns = {n: [r[n] for r in rows if isinstance(r[n], float)] for n in names}
        lines.append(label.ljust(6) + "".join(shown(n, float(of(c)) if c else None) for n, c in columns.items()))
    return "\n".join(lines)


def main() -> None:
    """Read the arguments, measure, print."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--jobs", type=int, default=10_000)
    ask.add_argument("--sites", type=int, default=8)
    ask.add_argument("--flavors", type=int, default=3)
    ask.add_argument("--buckets", type=int, default=6)
    ask.add_argument("--nodes", type=int, help="of eight GPUs; a tenth of the jobs")
    ask.add_argument("--overload", type=float, default=1.5, help="GPU-hours wanted by GPU-hours free")
    ask.add_argument("--gangs", choices=sorted(GANGS), default="philly")
    ask.add_argument("--seed", type=int, default=0, help="the first one")
    ask.add_argument("--seeds", type=int, default=1, help="how many, from that one on")
    ask.add_argument(
        "--lose", type=int, metavar="SITE", help="also plan with this site lost, from the same last prices"
    )
    ask.add_argument("--peer", choices=("auto", "always", "never"), default="auto")
    ask.add_argument("--json", action="store_true")
    ask.add_argument("--out", type=Path, help="write the JSON there too")
    ask.add_argument("--curve", action="store_true", help="draw time and memory against the length of the queue")
    ask.add_argument("--most", type=int, default=CURVE[-1], help="longest queue of the curve")
    a = ask.parse_args()
    if a.curve:
        a.out = a.out or Path("docs/plan-curve.json")
        curve(a)
        return
    if min(a.jobs, a.sites, a.flavors, a.buckets, a.seeds) < 1 or not a.overload > 0:
        ask.error("--jobs, --sites, --flavors, --buckets, --seeds and --overload must be above zero")
    if a.nodes is not None and a.nodes < a.sites:
        ask.error(f"--nodes {a.nodes}: fewer than one for each of {a.sites} sites")
    if a.lose is not None and not 0 <= a.lose < a.sites:
        ask.error(f"--lose {a.lose}: sites are numbered 0…{a.sites - 1}")
    nodes = a.nodes if a.nodes is not None else max(a.sites, a.jobs // 10)
    first = Setting(a.jobs, a.sites, a.flavors, a.buckets, nodes, a.overload, a.seed, a.gangs)
    peer = a.peer == "always" or (a.peer == "auto" and a.jobs <= 10_000)
    settings = [Setting(**(asdict(first) | {"seed": a.seed + i})) for i in range(a.seeds)]
    rows = [measured(s, a.lose, peer) for s in settings]
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "numpy": np.__version__, "threads": 1}
    about = {"setting": asdict(first), "on": machine}
    found = rows[0] | about if a.seeds == 1 else {"runs": rows} | about
    if a.out is not None:
        a.out.write_text(json.dumps(found, indent=1), "utf-8")
    if a.json:
        print(json.dumps(found))
    else:
        print(f"{a.jobs} jobs × {a.sites} sites × {a.flavors} flavors × {a.buckets} buckets, gangs {a.gangs}")
        print(table(rows))


if __name__ == "__main__":
    main()
