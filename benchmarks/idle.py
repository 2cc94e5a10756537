"""What an idle Moyai costs: the control plane's CPU with thousands of jobs that wait, and the memory of its agents.

Usage: python benchmarks/idle.py [--json] [--jobs 10000] [--sites 4] [--seconds 30]

Every site has one node, which a job holds that sleeps; all others wait for it. The peer of the same run is the same
server before any job came. CPU is user and system time of all threads of the process, as a share of one core.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

TICKS = os.sysconf("SC_CLK_TCK")
SITE = """\
  - name: {name}
    engine: host
    jurisdiction: JP-13
    latitude: 35
    longitude: 139
    price_yen_per_kwh: {price}
    carbon_g_per_kwh: 440
    synthetic: true
    flavors: [{{name: slot, count: 1, cpus: 8, memory: 8GiB, idle_w: 100, peak_w: 300}}]
"""
AT_ONCE = 16
SETTLE_S = 20.0
READY_S = 60.0


class Server:
    """A server with local sites in a directory of its own, which is deleted at the end."""

    def __init__(self, sites: int) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mi-", dir="/tmp"))
        fleet = self.home / "bench-fleet.yaml"
        fleet.write_text(
            "sites:\n" + "".join(SITE.format(name=f"site{i}", price=20 + i) for i in range(sites)), "utf-8"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moyai.server", "--dir", str(self.home), "--fleet", str(fleet)],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + READY_S
        while True:
            try:
                self.socket = json.loads((self.home / "server.json").read_text("utf-8"))["socket"]
                if self.get("/v1/health")["sites_joined"] == sites:
                    return
            except (OSError, ValueError, httpx.TransportError):
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the server did not come up: see {self.home / 'server.log'}")
            time.sleep(0.02)

    def http(self) -> httpx.AsyncClient:
        """A client of its socket."""
        transport = httpx.AsyncHTTPTransport(uds=self.socket)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=120)

    def get(self, path: str) -> dict[str, int]:
        """What a path answers."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=self.socket), base_url="http://localhost") as http:
            return http.get(path, timeout=120).raise_for_status().json()

    def scrape(self) -> tuple[float, int]:
        """How long one scrape of its metrics takes, in ms, and how many bytes it is."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=self.socket), base_url="http://localhost") as http:
            begun = time.perf_counter()
            answer = http.get("/metrics", timeout=120).raise_for_status()
            return 1_000 * (time.perf_counter() - begun), len(answer.content)

    def pids(self, name: str) -> list[int]:
        """The processes whose id lies in a file of that name, one of each site."""
        return [int(file.read_text("utf-8").split()[0]) for file in sorted(self.home.glob(f"sites/*/{name}"))]

    def close(self) -> None:
        """End the server and all that it left at its sites."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        for pid in [*self.pids("agent.pid"), *self.pids("supervisor.pid")]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(self.home, ignore_errors=True)


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text("utf-8").split("VmRSS:")[1].split()[0]) / 1_024


def share_pct(pids: list[int], seconds: float) -> list[float]:
    """CPU that each process takes in the next `seconds`, in percent of a core."""
    before = [cpu_s(pid) for pid in pids]
    begun = time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - begun
    return [100 * (cpu_s(pid) - was) / took for pid, was in zip(pids, before, strict=True)]


async def submit(server: Server, jobs: int, run: str) -> float:
    """Submit `jobs` jobs that each need a whole site; how many of them a second were acknowledged."""
    left = iter(range(jobs))

    async def some(http: httpx.AsyncClient) -> None:
        for number in left:
            spec = {"name": f"idle-{number % 100}", "run": run, "resources": {"cpus": 8, "memory": "1GiB"}}
            (await http.post("/v1/jobs", json={"spec": spec})).raise_for_status()

    begun = time.perf_counter()
    async with server.http() as http:
        await asyncio.gather(*(some(http) for _ in range(AT_ONCE)))
    return jobs / (time.perf_counter() - begun)


def measure(jobs: int, sites: int, seconds: float) -> dict[str, float | int]:
    """Everything, on one server."""
    server = Server(sites)
    try:
        agents = server.pids("agent.pid")
        control = server.process.pid
        time.sleep(SETTLE_S / 2)
        empty = share_pct([control, *agents], seconds)
        asyncio.run(submit(server, sites, f"sleep {int(seconds) * 100}"))
        end = time.monotonic() + READY_S
        while server.get("/v1/health")["attempts_running"] < sites and time.monotonic() < end:
            time.sleep(0.1)
        rate = asyncio.run(submit(server, jobs, "true"))
        health = server.get("/v1/health")
        time.sleep(SETTLE_S)
        full = share_pct([control, *agents], seconds)
        scrapes = sorted(server.scrape() for _ in range(5))
        after = server.get("/v1/health")
        return {
            "jobs": after["jobs_pending"],
            "sites": sites,
            "running": after["attempts_running"],
            "submits_per_s": rate,
            "plans_while_idle": after["plans"] - health["plans"],
            "control_cpu_empty_pct": empty[0],
            "control_cpu_pct": full[0],
            "control_rss_mb": rss_mb(control),
            "agent_cpu_pct": max(full[1:]),
            "agent_rss_mb": max(rss_mb(pid) for pid in agents),
            "supervisor_rss_mb": max(rss_mb(pid) for pid in server.pids("supervisor.pid")),
            "scrape_ms": scrapes[len(scrapes) // 2][0],
            "scrape_bytes": scrapes[0][1],
        }
    finally:
        server.close()


TABLE = (
    ("jobs that wait", "jobs", "", ""),
    ("control plane's CPU, empty", "control_cpu_empty_pct", " %", ""),
    ("control plane's CPU, all waiting", "control_cpu_pct", " %", "< 2 %"),
    ("control plane's memory", "control_rss_mb", " MB", ""),
    ("an agent's CPU, the busiest", "agent_cpu_pct", " %", ""),
    ("an agent's memory, the largest", "agent_rss_mb", " MB", "< 80 MB"),
    ("a supervisor's memory, the largest", "supervisor_rss_mb", " MB", ""),
    ("a scrape of the metrics, median of 5", "scrape_ms", " ms", ""),
    ("its size", "scrape_bytes", " B", ""),
    ("plans made while idle", "plans_while_idle", "", ""),
    ("submissions, one by one", "submits_per_s", " /s", ""),
)


def main() -> None:
    """Measure, and show it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    load = os.getloadavg()[0]
    figures = measure(chosen.jobs, chosen.sites, chosen.seconds)
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load_before": load}
    if chosen.json:
        print(json.dumps({"machine": machine, **figures}, indent=2))
        return
    for label, key, unit, target in TABLE:
        print(f"{label:38} {figures[key]:>12,.1f}{unit:4} {target}")
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f} before")


if __name__ == "__main__":
    main()
