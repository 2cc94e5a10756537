"""The figures of the core on this machine: one table, or JSON with --json. Each stands beside a peer of the same run.

Usage: python benchmarks/core.py [--json] [--jobs 1000] [--known 10000]
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent))
from _append import measure_append

from moyai.plan.place import plan
from moyai.twin.bench import run_events

PYTHON = sys.executable
MOYAI = str(Path(PYTHON).with_name("moyai"))


def _site(name: str, jurisdiction: str) -> str:
    return f"""\
  - name: {name}
    engine: host
    jurisdiction: {jurisdiction}
    latitude: 35
    longitude: 135
    price_yen_per_kwh: 21
    carbon_g_per_kwh: 500
    synthetic: true
    flavors: [{{name: slot, count: 1, cpus: 8, memory: 8GiB, idle_w: 100, peak_w: 300}}]
"""


FLEET = (
    "sites:\n"
    + "".join(_site(*s) for s in (("ishikari", "JP-01"), ("tokyo", "JP-13"), ("fukuoka", "JP-40")))
    + """\
links:
  - {between: [ishikari, tokyo], bandwidth: 10Gbit/s, latency: 9ms}
  - {between: [tokyo, fukuoka], bandwidth: 10Gbit/s, latency: 10ms}
  - {between: [ishikari, fukuoka], bandwidth: 4Gbit/s, latency: 19ms}
"""
)


def milliseconds(command: list[str], times: int = 7) -> float:
    """Median wall time of a command that is started from cold."""
    taken: list[float] = []
    for _ in range(times + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(1_000 * (time.perf_counter() - begun))
    return statistics.median(taken[1:])  # the first one reads the disk


class Server:
    """A server of its own with three local sites, in a directory that is deleted at the end."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))
        fleet = self.home / "bench-fleet.yaml"
        fleet.write_text(FLEET, "utf-8")
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [PYTHON, "-m", "moyai.server", "--dir", str(self.home), "--fleet", str(fleet)],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.start_ms = self._await(begun)

    def _await(self, begun: float) -> float:
        """Until the server answers and all three agents have joined; in milliseconds since `begun`."""
        while True:
            try:
                socket = json.loads((self.home / "server.json").read_text("utf-8"))["socket"]
                with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://localhost") as http:
                    health = http.get("/v1/health").json()
                    if health["sites_joined"] == 3:
                        self.socket = socket
                        return 1_000 * (time.perf_counter() - begun)
            except (OSError, ValueError, httpx.TransportError):
                pass
            if self.process.poll() is not None or time.perf_counter() - begun > 30:
                raise SystemExit(f"the server did not come up: see {self.home / 'server.log'}")
            time.sleep(0.005)

    def http(self) -> httpx.AsyncClient:
        """A client with room for many requests at once."""
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self.socket, limits=limits), base_url="http://localhost", timeout=60
        )

    def rss_mb(self) -> float:
        """Resident memory of the control plane's process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1_024

    def close(self) -> None:
        """End the server and what it left at its sites; delete its directory."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        for pid_file in self.home.glob("sites/*/*.pid"):
            try:
                os.kill(int(pid_file.read_text("utf-8").split()[0]), signal.SIGKILL)
            except (ProcessLookupError, ValueError, IndexError):
                continue
        shutil.rmtree(self.home, ignore_errors=True)


async def submit(http: httpx.AsyncClient, name: str, run: str, number: int) -> str:
    """One job; its id."""
    spec = {"name": name, "run": run, "resources": {"cpus": "1"}, "expect": "1s"}
    answer = await http.post("/v1/jobs", json={"spec": spec}, headers={"Idempotency-Key": f"{name}-{number}"})
    answer.raise_for_status()
    return answer.json()["job"]


async def until(holds: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Wait until something holds."""
    deadline = time.perf_counter() + seconds
    while not await holds():
        if time.perf_counter() > deadline:
            raise SystemExit(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.02)


async def latencies(http: httpx.AsyncClient, count: int) -> list[float]:
    """Milliseconds from the submission to the first instruction of the process, stamped inside the job; idle sites."""
    found: list[float] = []
    for number in range(count):
        begun = time.time_ns()
        job = await submit(http, "stamp", "date +%s%N", number)

        async def ended(job: str = job) -> bool:
            return (await http.get(f"/v1/jobs/{job}")).json()["state"] == "succeeded"

        await until(ended, 20, f"{job} ends")
        stamp = int((await http.get(f"/v1/jobs/{job}/output")).content)
        found.append((stamp - begun) / 1e6)
    return found


async def throughput(http: httpx.AsyncClient, count: int) -> float:
    """Jobs per second: `true`, end to end, from the first submission until the last end is durable."""
    begun = time.perf_counter()
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        async with gate:
            await submit(http, "true", "true", number)

    await asyncio.gather(*(one(n) for n in range(count)))

    async def done() -> bool:
        health = (await http.get("/v1/health")).json()
        return health["jobs_pending"] + health["jobs_active"] == 0

    await until(done, 300, f"{count} jobs end")
    return count / (time.perf_counter() - begun)


async def know(http: httpx.AsyncClient, count: int) -> None:
    """Bring the control plane to know `count` jobs more; the sites are drained, so these wait."""
    for site in ("ishikari", "tokyo", "fukuoka"):
        (await http.post(f"/v1/sites/{site}/drain")).raise_for_status()
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        async with gate:
            await submit(http, "known", "true", number)

    await asyncio.gather(*(one(n) for n in range(count)))


def bare_jobs_per_s(count: int) -> float:
    """The peer of the throughput: `true` through a shell, two at a time, with no scheduler at all."""
    begun = time.perf_counter()
    for _ in range(count // 2):
        pair = [subprocess.Popen(["/bin/sh", "-c", "true"]) for _ in range(2)]
        for process in pair:
            process.wait()
    return count / (time.perf_counter() - begun)


async def with_server(jobs: int, known: int) -> dict[str, float]:
    """Everything that needs a server."""
    server = Server()
    try:
        async with server.http() as http:
            taken = sorted(await latencies(http, 60))
            per_s = await throughput(http, jobs)
            await know(http, known - jobs - 60)
            await asyncio.sleep(1)
            rss = server.rss_mb()
        return {
            "start_ms": round(server.start_ms, 1),
            "submit_p50_ms": round(statistics.median(taken), 1),
            "submit_p99_ms": round(taken[int(0.99 * len(taken))], 1),
            "jobs_per_s": round(per_s, 1),
            "control_rss_mb": round(rss, 1),
        }
    finally:
        server.close()


TARGETS = {
    "help_ms": "< 300",
    "start_ms": "< 1500",
    "submit_p50_ms": "< 150",
    "submit_p99_ms": "< 500",
    "jobs_per_s": "≥ 60",
    "append_per_s": "≥ 5000",
    "control_rss_mb": "< 200",
    "twin_events_per_s": "≥ 20000",
}


def main() -> None:
    """Measure, and print one table or one JSON document."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", action="store_true")
    options.add_argument("--jobs", type=int, default=1_000)
    options.add_argument("--known", type=int, default=10_000)
    chosen = options.parse_args()
    figures: dict[str, float] = {"help_ms": round(milliseconds([MOYAI, "--help"]), 1)}
    peers: dict[str, str] = {"help_ms": f"python -c pass: {milliseconds([PYTHON, '-c', 'pass']):.1f}"}
    figures |= asyncio.run(with_server(chosen.jobs, chosen.known))
    peers["jobs_per_s"] = f"sh -c true, two at a time, no scheduler: {bare_jobs_per_s(chosen.jobs):.0f}"
    appended = measure_append(Path(__file__).parent)
    figures["append_per_s"] = round(appended.append_per_s)
    peers["append_per_s"] = f"sqlite3 alone, same bytes and batches: {appended.sqlite3_per_s:.0f}"
    begun = time.process_time()
    twin = run_events(20_000, plan)
    taken = time.process_time() - begun
    figures["twin_events_per_s"] = round(twin.events / taken)
    peers["twin_events_per_s"] = f"{twin.jobs_ended / taken:.0f} jobs/s on one core, the planner's time included"
    figures = {key: figures[key] for key in TARGETS}
    if chosen.json:
        print(json.dumps(figures))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for key, value in figures.items():
        print(f"{key:<18} {value:>10}   target {TARGETS[key]:<8} {peers.get(key, '')}")


if __name__ == "__main__":
    main()
