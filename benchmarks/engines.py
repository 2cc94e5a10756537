"""What Moyai costs over the bare engines: one table, or JSON with --json. Each figure stands beside the bare engine's.

Usage: python benchmarks/engines.py [--json] [--parts slurm,ray,mix,leader,idle] [--jobs 400]

slurm   submit until acknowledged, until the first instruction in the job, and submits/s: bare slurmrestd, then Moyai
ray     the same with the jobs API of a Ray head (the program in $RAY); every job there costs a process of Ray's own
mix     jobs of 0.2 to 3 s on two Slurm clusters: dealt out in turns by sbatch's REST, then by Moyai
leader  kill −9 of the leader of two control planes on one PostgreSQL: until the other leads; what was lost or run twice
idle    CPU of a control plane with four sites and 10,000 jobs that wait; memory of an agent

It needs root for Slurm and PostgreSQL. A part that can't run here is left out, with a line that says why.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from _clusters import RayHead, SlurmCluster, ray, slurm

from server.process import Server

FIGURES = dict[str, float | int]
_SITE = """
  - name: {name}
    engine: {engine}
    jurisdiction: JP
    latitude: 35
    longitude: 139
    price_yen_per_kwh: {price}
    carbon_g_per_kwh: 440
    synthetic: true
    flavors: [{{name: standard, count: {nodes}, cpus: {cpus}, memory: 15GiB, idle_w: 60, peak_w: 220}}]
"""
_SLURM = """\
    slurm: {{rest: "{rest}", jwt_key: {home}/jwt.key, config: {home}/slurm.conf, user: root, poll: 500ms}}
"""
_RAY = """\
    ray: {{address: "{address}", token: {token}, poll: 500ms}}
"""


def fleet(parts: Sequence[str]) -> str:
    """A fleet of these sites."""
    return "lease: 30s\nsites:" + "".join(parts)


def slurm_site(cluster: SlurmCluster, price: int = 22) -> str:
    """The entry of a Slurm cluster."""
    site = _SITE.format(name=cluster.name, engine="slurm", price=price, nodes=cluster.nodes, cpus=cluster.cpus)
    return site + _SLURM.format(rest=cluster.rest, home=cluster.home)


def ray_site(head: RayHead, cpus: int) -> str:
    """The entry of a Ray head."""
    site = _SITE.format(name="ray", engine="ray", price=22, nodes=1, cpus=cpus).replace("15GiB", "4GiB")
    return site + _RAY.format(address=head.address, token=head.token)


class Moyai:
    """A server with local agents for a fleet."""

    def __init__(self, text: str) -> None:
        self.server = Server(Path(tempfile.mkdtemp(prefix="be", dir="/tmp")))
        self.server.root.chmod(0o755)
        given = self.server.root / "given.yaml"
        given.write_text(text)
        self.server.start("--fleet", str(given), local=False, joined=True)
        self.socket = json.loads((self.server.root / "server.json").read_bytes())["socket"]

    def http(self) -> httpx.AsyncClient:
        """A client with room for many requests at once."""
        transport = httpx.AsyncHTTPTransport(uds=self.socket, limits=httpx.Limits(max_connections=32))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)

    @staticmethod
    async def submit(http: httpx.AsyncClient, name: str, run: str, key: str = "", expect: str = "2s") -> str:
        """One job; its id."""
        spec = {"name": name, "run": run, "resources": {"cpus": 1, "memory": "16MiB"}, "expect": expect}
        headers = {"Idempotency-Key": key} if key else {}
        answer = await http.post("/v1/jobs", json={"spec": spec}, headers=headers)
        answer.raise_for_status()
        return answer.json()["job"]

    async def idle(self, http: httpx.AsyncClient, seconds: float) -> None:
        """Until nothing waits or runs."""
        end = time.perf_counter() + seconds
        while True:
            health = (await http.get("/v1/health")).json()
            if health["jobs_pending"] + health["jobs_active"] == 0:
                return
            if time.perf_counter() > end:
                raise SystemExit(f"jobs are left after {seconds:g} s: {health}; see {self.server.root}")
            await asyncio.sleep(0.1)

    def __enter__(self) -> "Moyai":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.destroy()


def spread(prefix: str, seconds: Sequence[float]) -> FIGURES:
    """Median and 99th percentile in ms."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return {f"{prefix}_p50_ms": 1_000 * statistics.median(ordered), f"{prefix}_p99_ms": 1_000 * p99}


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> float:
    """When something held first, by time.time()."""
    end = time.perf_counter() + seconds
    while not holds():
        if time.perf_counter() > end:
            raise SystemExit("a job did not start in time")
        await asyncio.sleep(0.002)
    return time.time()


async def one_by_one(
    count: int, submit: Callable[[str, str], Awaitable[object]], there: Callable[[str], Awaitable[bool]] | None
) -> tuple[list[float], list[float], list[float]]:
    """(answered, known to the engine, first instruction), each in seconds since the submit was begun."""
    marks = Path(tempfile.mkdtemp(prefix="bm", dir="/tmp"))
    marks.chmod(0o777)
    answered: list[float] = []
    known: list[float] = []
    begun: list[float] = []
    try:
        for number in range(count):
            mark = marks / str(number)
            since = time.time()
            name = await submit(f"stamp-{number}", f"date +%s.%N > {mark}.part; mv {mark}.part {mark}")
            answered.append(time.time() - since)
            while there is not None and not mark.exists() and not await there(str(name)):
                await asyncio.sleep(0.002)
            known.append(time.time() - since)
            await until(mark.exists)
            begun.append(float(mark.read_text()) - since)
            await asyncio.sleep(0.3)
    finally:
        shutil.rmtree(marks, ignore_errors=True)
    return answered, known, begun


async def measure_slurm(jobs: int) -> FIGURES:
    """Overhead and submits over a bare cluster of 1,024 made-up cores. Slow listings of old jobs come last."""
    found: FIGURES = {}
    with slurm("bench", 4, 256) as cluster, Moyai(fleet([slurm_site(cluster)])) as moyai:
        async with cluster.client() as bare, moyai.http() as http:

            async def there(job: str) -> bool:
                answer = await bare.get("/slurm/v0.0.38/jobs")
                return any(str(j["name"]).startswith(job) for j in answer.json()["jobs"])

            async def submit(name: str, run: str) -> str:
                return await Moyai.submit(http, name, run)

            await one_by_one(2, submit, there)  # the planner's imports, the first long poll
            answered, _, begun = await one_by_one(20, lambda name, run: cluster.submit(bare, name, run), None)
            found |= spread("slurm_bare_ack", answered) | spread("slurm_bare_start", begun)
            answered, known, begun = await one_by_one(20, submit, there)
            found |= spread("slurm_moyai_answer", answered) | spread("slurm_moyai_ack", known)
            found |= spread("slurm_moyai_start", begun)
            cluster.say("scontrol", "update", "partitionname=batch", "state=down")  # taken, and not started
            since = time.perf_counter()
            await many(jobs, 8, lambda n: cluster.submit(bare, f"true-{n}", "true"))
            found["slurm_bare_submits_per_s"] = jobs / (time.perf_counter() - since)
            cluster.say("scancel", "--state=pending", "--user=root")
            named = await queued(http, jobs, cluster.name)
            since = time.perf_counter()
            (await http.post(f"/v1/sites/{cluster.name}/resume")).raise_for_status()
            while cluster.busy() < jobs:
                await asyncio.sleep(0.05)
                if time.perf_counter() - since > 120:
                    raise SystemExit(f"{cluster.busy()} of {jobs} jobs are in Slurm after 120 s")
            found["slurm_moyai_submits_per_s"] = jobs / (time.perf_counter() - since)
            await many(jobs, 16, lambda n: http.post(f"/v1/jobs/{named[n]}/cancel"))
            await moyai.idle(http, 120)
            cluster.say("scontrol", "update", "partitionname=batch", "state=up")
            since = time.perf_counter()
            await many(jobs, 8, lambda n: cluster.submit(bare, f"run-{n}", "true"))
            while cluster.busy():
                await asyncio.sleep(0.2)
            found["slurm_bare_jobs_per_s"] = jobs / (time.perf_counter() - since)
            found |= await throughput(moyai, http, jobs, "slurm", cluster.name)
    return found


async def queued(http: httpx.AsyncClient, jobs: int, site: str) -> list[str]:
    """Jobs that wait in Moyai, as their only site takes nothing new; their ids."""
    (await http.post(f"/v1/sites/{site}/drain")).raise_for_status()
    named = [""] * jobs
    tag = f"{time.time_ns()}"

    async def one(number: int) -> None:
        named[number] = await Moyai.submit(http, "true", "true", f"{tag}-{number}")

    await many(jobs, 16, one)
    return named


async def throughput(moyai: Moyai, http: httpx.AsyncClient, jobs: int, what: str, site: str) -> FIGURES:
    """Jobs that wait in Moyai are let go: how fast they were taken, and how fast they end."""
    since = time.perf_counter()
    await queued(http, jobs, site)
    taken = jobs / (time.perf_counter() - since)
    since = time.perf_counter()
    (await http.post(f"/v1/sites/{site}/resume")).raise_for_status()
    await moyai.idle(http, 60 + jobs)
    return {
        f"{what}_moyai_taken_per_s": taken,
        f"{what}_moyai_jobs_per_s": jobs / (time.perf_counter() - since),
    }


async def many(count: int, at_once: int, one: Callable[[int], Awaitable[object]]) -> None:
    """Do `one` so many times, a few at once."""
    gate = asyncio.Semaphore(at_once)

    async def guarded(number: int) -> None:
        async with gate:
            await one(number)

    await asyncio.gather(*(guarded(n) for n in range(count)))


async def measure_ray(jobs: int) -> FIGURES:
    """Overhead and throughput over a bare head. Few jobs: each costs Ray a process of a second's CPU."""
    found: FIGURES = {}
    cpus, count = 64, min(jobs, 24)
    with ray("bench", cpus) as head:
        async with head.client() as bare:

            async def submit(name: str, run: str) -> str:
                body = {"entrypoint": f"sh -c '{run}'", "submission_id": f"{name}-bare", "entrypoint_num_cpus": 1}
                answer = await bare.post("/api/jobs/", json=body)
                answer.raise_for_status()
                return name

            await submit("warm", "true")
            await ray_idle(bare)
            answered, _, begun = await one_by_one(8, submit, None)
            found |= spread("ray_bare_ack", answered) | spread("ray_bare_start", begun)
            await ray_idle(bare)
            since = time.perf_counter()
            await many(count, 8, lambda n: submit(f"true-{n}", "true"))
            await ray_idle(bare)
            found["ray_bare_jobs_per_s"] = count / (time.perf_counter() - since)
            with Moyai(fleet([ray_site(head, cpus)])) as moyai:
                async with moyai.http() as http:
                    answered, _, begun = await one_by_one(8, lambda n, r: Moyai.submit(http, n, r), None)
                    found |= spread("ray_moyai_answer", answered) | spread("ray_moyai_start", begun)
                    found |= await throughput(moyai, http, count, "ray", "ray")
    return found


async def ray_idle(bare: httpx.AsyncClient) -> None:
    """Until no job of the head waits or runs."""
    while any(job["status"] in ("PENDING", "RUNNING") for job in (await bare.get("/api/jobs/")).json()):
        await asyncio.sleep(0.1)


async def measure_mix(jobs: int) -> FIGURES:
    """The same jobs on two clusters of 16 and 8 cores: in turns, as nobody knows better; then by Moyai."""
    chance = random.Random(0)
    spans = [chance.choice((0.2, 0.5, 1, 3)) for _ in range(jobs)]
    found: FIGURES = {"mix_jobs": jobs, "mix_least_s": sum(spans) / 24}
    with slurm("north", 4, 4) as north, slurm("south", 2, 4) as south:
        clusters = (north, south)
        async with north.client() as a, south.client() as b:
            since = time.perf_counter()
            await many(jobs, 8, lambda n: clusters[n % 2].submit((a, b)[n % 2], f"mix-{n}", f"sleep {spans[n]}"))
            while any(cluster.busy() for cluster in clusters):
                await asyncio.sleep(0.2)
            found["mix_turns_s"] = time.perf_counter() - since
        with Moyai(fleet([slurm_site(north), slurm_site(south, 23)])) as moyai:
            async with moyai.http() as http:
                since = time.perf_counter()

                async def one(number: int) -> str:
                    expect = f"{max(1, round(spans[number]))}s"
                    return await Moyai.submit(http, "mix", f"sleep {spans[number]}", f"mix-{number}", expect)

                await many(jobs, 8, one)
                await moyai.idle(http, 60 + jobs)
                found["mix_moyai_s"] = time.perf_counter() - since
    return found


async def measure_leader(_: int) -> FIGURES:
    """Five fail-overs, with jobs that wait, run and end meanwhile."""
    from server.pair import pair_of
    from store.pg import programs, running

    if programs() is None:
        raise FileNotFoundError("PostgreSQL's programs aren't installed")
    took: list[float] = []
    lost = doubled = 0
    marks = Path(tempfile.mkdtemp(prefix="bl", dir="/tmp"))
    try:
        with running() as pg, pair_of(pg, ("tokyo", "osaka"), lease="15s") as pair:
            leader, other = pair.start(0), pair.start(1)
            pair.start_agents(leader)
            keys: list[str] = []
            for turn in range(5):
                keys += [f"{turn}-{n}" for n in range(20)]
                named = [leader.submit(f"echo x >> {marks}/$MOYAI_ATTEMPT; sleep 1", key)["job"] for key in keys[-20:]]
                before = pair.events(leader)
                leader.kill()
                took.append(pair.until_leads(other))
                lost += pair.events(other)[: len(before)] != before
                for job in named:
                    lost += other.ended(job, 90)["state"] != "succeeded"
                leader, other = other, pair.start(pair.servers.index(leader))
            doubled = sum(len(mark.read_text().split()) != 1 for mark in marks.iterdir())
    finally:
        shutil.rmtree(marks, ignore_errors=True)
    return {
        "leader_failover_median_s": statistics.median(took),
        "leader_failover_worst_s": max(took),
        "leader_lost": lost,
        "leader_doubled": doubled,
    }


async def measure_idle(_: int) -> FIGURES:
    """By benchmarks/idle.py."""
    from idle import measure

    figures = await asyncio.to_thread(measure, 10_000, 4, 30.0)
    return {f"idle_{name}": value for name, value in figures.items()}


PARTS = {
    "slurm": measure_slurm,
    "ray": measure_ray,
    "mix": measure_mix,
    "leader": measure_leader,
    "idle": measure_idle,
}


def main() -> None:
    """Measure, and show it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="with commas")
    parser.add_argument("--jobs", type=int, default=400, help="of the throughput and of the mix")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    load = os.getloadavg()[0]
    figures: FIGURES = {}
    for name in chosen.parts.split(","):
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; there are {', '.join(PARTS)}")
        try:
            figures |= asyncio.run(PARTS[name](chosen.jobs))
        except (FileNotFoundError, subprocess.CalledProcessError, ImportError) as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load_before": load}
    if chosen.json:
        print(json.dumps({"machine": machine, **figures}, indent=2))
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):42}{value:>12,.2f}")
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f} before")


if __name__ == "__main__":
    main()
