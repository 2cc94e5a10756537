"""Real clusters for the benchmarks of engines, by the scripts of examples/federation, and bare ways to use them."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from moyai.agent.engines.slurm.shapes import V0038
from moyai.agent.engines.slurm.tokens import mint
from moyai.agent.engines.slurm.types import SlurmOrder

SCRIPTS = Path(__file__).parents[1] / "examples" / "federation"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free now."""
    while True:
        first = random.randrange(20_000, 30_000)
        sockets: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                one = socket.socket()
                sockets.append(one)
                one.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
        return first


@dataclass(frozen=True, slots=True)
class SlurmCluster:
    """A cluster of `nodes` nodes of `cpus` made-up cores."""

    name: str
    home: Path
    port: int
    nodes: int
    cpus: int

    @property
    def rest(self) -> str:
        """slurmrestd's address."""
        return f"http://127.0.0.1:{self.port + 1}"

    @property
    def env(self) -> dict[str, str]:
        """In which Slurm's commands speak to it."""
        return {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.home / "slurm.conf")}

    def say(self, *words: str) -> str:
        """What a command of Slurm's says."""
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout

    def client(self) -> httpx.AsyncClient:
        """A client of its REST that may do all."""
        token = mint((self.home / "jwt.key").read_bytes(), "root", int(time.time()))
        headers = {"X-SLURM-USER-NAME": "root", "X-SLURM-USER-TOKEN": token}
        return httpx.AsyncClient(base_url=self.rest, headers=headers, timeout=60, trust_env=False)

    def body(self, name: str, run: str) -> dict[str, object]:
        """A submit of a job of one core, as bare as can be."""
        return V0038().submit(
            SlurmOrder(
                name=name, user="root", script=f"#!/bin/sh\n{run}\n", directory="/tmp", output="/dev/null",
                nodes=1, tasks=1, tasks_per_node=1, cpus_per_task=1, memory_mib=10, gres="", limit_minutes=0,
                partition="", constraint="", signal="", environment=(("PATH", PATH),),
            )
        )  # fmt: skip

    async def submit(self, client: httpx.AsyncClient, name: str, run: str) -> int:
        """Submit bare; its number."""
        answer = await client.post("/slurm/v0.0.38/job/submit", json=self.body(name, run))
        answer.raise_for_status()
        return answer.json()["job_id"]

    def busy(self) -> int:
        """Jobs that wait or run."""
        return len(self.say("squeue", "-h", "-o", "%A").split())


@contextmanager
def slurm(name: str, nodes: int, cpus: int, accounting: int = 0) -> Iterator[SlurmCluster]:
    """A cluster of its own, gone at the end. `accounting`: the port of a MariaDB for slurmdbd, 0 for none."""
    home = Path(tempfile.mkdtemp(prefix="bs", dir="/tmp"))
    home.chmod(0o755)
    port = free_ports(nodes + 12)
    words = [name, str(port), str(nodes), str(cpus), "0", str(home)]
    env = {**os.environ, "PATH": PATH} | ({"ACCOUNTING": str(accounting)} if accounting else {})
    subprocess.run([SCRIPTS / "slurm.sh", "up", *words], check=True, stdout=subprocess.DEVNULL, env=env)
    try:
        yield SlurmCluster(name, home, port, nodes, cpus)
    finally:
        subprocess.run([SCRIPTS / "slurm.sh", "down", *words], check=False, stdout=subprocess.DEVNULL, env=env)
        shutil.rmtree(home, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class RayHead:
    """A head with made-up CPUs."""

    address: str
    token: Path

    def client(self) -> httpx.AsyncClient:
        """A client of its jobs API."""
        headers = {"Authorization": f"Bearer {self.token.read_text().strip()}"}
        return httpx.AsyncClient(base_url=self.address, headers=headers, timeout=120, trust_env=False)


@contextmanager
def ray(name: str, cpus: int) -> Iterator[RayHead]:
    """A head of its own, gone at the end. Raises FileNotFoundError without the program ($RAY)."""
    if not (os.environ.get("RAY") or shutil.which("ray")):
        raise FileNotFoundError("there is no program 'ray'; set RAY")
    home = Path(tempfile.mkdtemp(prefix="br", dir="/tmp"))
    port = free_ports(20)
    words = [name, str(port), str(cpus), "0", str(home)]
    up = subprocess.run([SCRIPTS / "ray.sh", "up", *words], check=True, capture_output=True, text=True)
    try:
        yield RayHead(up.stdout.strip().splitlines()[-1], home / "token")
    finally:
        subprocess.run([SCRIPTS / "ray.sh", "down", *words], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(home, ignore_errors=True)
