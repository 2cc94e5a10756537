"""Two control planes on one real PostgreSQL, and agents that reach either by TLS: what a fail-over takes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from server.process import Server
from store.pg import Postgres

SITE = """
name: {name}
jurisdiction: JP
latitude: 35
longitude: 139
price_yen_per_kwh: 22
carbon_g_per_kwh: 440
synthetic: true
flavors: [{{name: standard, count: 4, cpus: 4, memory: 4GiB, idle_w: 60, peak_w: 220}}]
"""


class Pair:
    """Servers "a" and "b" with their own directories, the same keys and CA, and the agents of some sites."""

    def __init__(self, pg: Postgres, sites: tuple[str, ...] = (), lease: str = "6s") -> None:
        self.root = Path(tempfile.mkdtemp(prefix="mypair", dir="/tmp"))
        self.url = pg.url(pg.database())
        self.keys, self.ca = self.root / "keys", self.root / "ca"
        self.servers = (Server(), Server())
        self._ports = (_free_port(), _free_port())
        self._agents: list[subprocess.Popen[bytes]] = []
        self._sites = sites
        self.fleet = self.root / "fleet.yaml"
        named = f"sites: []\nremote: [{', '.join(sites)}]\n" if sites else f"sites:\n{_listed('here')}"
        self.fleet.write_text(f"lease: {lease}\n{named}")
        if sites:
            self.moyai("ca", "init", "--ca", str(self.ca))

    def moyai(self, *arguments: str) -> str:
        """What a command prints, which must succeed."""
        command = [sys.executable, "-m", "moyai.cli.main", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def start(self, which: int, *extra: str) -> Server:
        """Start one of them and wait until it answers; it leads or stands by."""
        outside = ("--agents", f"127.0.0.1:{self._ports[which]}", "--ca", str(self.ca)) if self._sites else ()
        return self.servers[which].start(
            "--store", self.url, "--keys", str(self.keys), "--fleet", str(self.fleet), *outside, *extra, local=False
        )

    def start_agents(self, leader: Server) -> None:
        """Let every site join, and start its agent."""
        control = [x for port in self._ports for x in ("--control", f"https://127.0.0.1:{port}")]
        here = self.servers.index(leader)
        for name in self._sites:
            file = self.root / f"{name}.yaml"
            file.write_text(SITE.format(name=name))
            place = ("--site", str(file), "--dir", str(self.root / name))
            token = json.loads(self.moyai("agent", "token", name, "--dir", str(leader.root), "--json"))["token"]
            self.moyai("agent", "join", *control[2 * here : 2 * here + 2], "--token", token, *place)
            with (self.root / f"{name}.said").open("wb") as said:
                command = [sys.executable, "-m", "moyai.cli.main", "agent", *place, *control]
                self._agents.append(subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True))
        leader.until(lambda: leader.get("/v1/health")["sites_joined"] == len(self._sites))

    def mode(self, server: Server) -> str:
        """What a server says of itself; "" where it says nothing."""
        try:
            return server.client.get("/v1/health", timeout=5).json()["mode"]
        except (httpx.HTTPError, OSError, ValueError):
            server.forget()
            return ""

    def until_leads(self, server: Server, seconds: float = 30.0) -> float:
        """How long it took until a server leads, in seconds."""
        begun = time.monotonic()
        while self.mode(server) != "writing":
            if time.monotonic() - begun > seconds:
                raise AssertionError(f"it does not lead: {(server.root / 'server.log').read_text()}")
            time.sleep(0.02)
        return time.monotonic() - begun

    def events(self, server: Server) -> list[dict[str, Any]]:
        """The whole log, as a server tells it."""
        found: list[dict[str, Any]] = []
        while more := server.get("/v1/events", after=len(found), limit=1000)["events"]:
            found.extend(more)
        return found

    def destroy(self) -> None:
        """End everything and delete it."""
        for agent in self._agents:
            with suppress(ProcessLookupError):
                os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()
        for server in self.servers:
            if server.process is not None and server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
            server.destroy()
        for pid in Server(self.root).pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def pair_of(pg: Postgres, sites: tuple[str, ...] = (), lease: str = "6s") -> Iterator[Pair]:
    """Such a pair, gone at the end."""
    made = Pair(pg, sites, lease)
    try:
        yield made
    finally:
        made.destroy()


def wait_for(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)


def _listed(name: str) -> str:
    first, *rest = SITE.format(name=name).strip().splitlines()
    return "".join(f"{line}\n" for line in (f"  - {first}", *(f"    {line}" for line in rest)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
