"""A real server process on a short directory, and ways to speak to it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

READY_S = 40.0

SITE = """
  - name: {name}
    jurisdiction: {code}
    latitude: 35
    longitude: 139
    price_yen_per_kwh: {price}
    carbon_g_per_kwh: 440
    synthetic: true
    flavors: [{{name: standard, count: 4, cpus: 4, memory: 4GiB, idle_w: 60, peak_w: 220}}]
"""
THREE_SITES = (
    "lease: 4s\nsites:"
    + SITE.format(name="ishikari", code="JP-01", price=22)
    + SITE.format(name="tokyo", code="JP-13", price=31)
    + SITE.format(name="fukuoka", code="JP-40", price=24)
    + "links:\n"
    + "".join(
        f"  - {{between: [{a}, {b}], bandwidth: 1Gbit/s, latency: 9ms, egress_yen_per_gb: 1}}\n"
        for a, b in (("tokyo", "fukuoka"), ("tokyo", "ishikari"), ("fukuoka", "ishikari"))
    )
)


class Server:
    """One server and its directory; usable after `start`."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(tempfile.mkdtemp(prefix="my", dir="/tmp"))
        self.process: subprocess.Popen[str] | None = None
        self._client: httpx.Client | None = None

    def start(self, *extra: str, local: bool = True, joined: bool = False) -> "Server":
        """Start it and wait until it answers; where `joined`, until every site is there."""
        self.spawn(*(("--local",) if local else ()), *extra)
        self.until(lambda: (self.root / "server.json").exists() and self.answers())
        if joined:
            self.until(lambda: (h := self.get("/v1/health"))["sites_joined"] == h["sites"])
        return self

    def spawn(self, *extra: str) -> subprocess.Popen[str]:
        """Start the process alone."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moyai.server", "--dir", str(self.root), *extra],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def fails(self, *extra: str) -> tuple[int, str]:
        """Start it where it can't start: its exit code and what it said."""
        process = self.spawn(*extra)
        _, said = process.communicate(timeout=READY_S)
        return process.returncode, said

    def until(self, holds: Callable[[], object], seconds: float = READY_S) -> None:
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not holds():
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.process.communicate()}")
            if time.monotonic() > end:
                log = self.root / "server.log"
                raise AssertionError(f"it did not come to be; {log.read_text() if log.exists() else ''}")
            time.sleep(0.02)

    @property
    def client(self) -> httpx.Client:
        """A client of its Unix socket."""
        if self._client is None:
            said = json.loads((self.root / "server.json").read_bytes())
            transport = httpx.HTTPTransport(uds=said["socket"])
            self._client = httpx.Client(transport=transport, base_url="http://localhost", timeout=40, trust_env=False)
        return self._client

    @property
    def url(self) -> str:
        """Where browsers come."""
        return json.loads((self.root / "server.json").read_bytes())["url"].rstrip("/")

    def answers(self) -> bool:
        """Whether it answers now."""
        try:
            return self.client.get("/v1/health").status_code == 200
        except httpx.TransportError:
            self.forget()
            return False

    def forget(self) -> None:
        """Drop the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def get(self, path: str, **params: Any) -> Any:
        """What a path answers, which must be a success."""
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object = None, key: str = "", status: int = 200) -> Any:
        """What a POST answers, with the status that is expected."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.client.post(path, json={} if body is None else body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def submit(self, run: str = "true", key: str = "", status: int = 200, **spec: Any) -> Any:
        """Submit a job."""
        return self.post("/v1/jobs", {"spec": {"name": "test", "run": run, **spec}}, key, status)

    def ended(self, job: str, seconds: float = READY_S) -> Any:
        """The job's view, once it is over."""
        self.until(lambda: self.get(f"/v1/jobs/{job}")["state"] in ("succeeded", "failed", "cancelled"), seconds)
        return self.get(f"/v1/jobs/{job}")

    def stop(self) -> int:
        """End it in order; its exit code."""
        self.forget()
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=READY_S)
        return self.process.returncode

    def kill(self) -> None:
        """kill −9, the server alone."""
        self.forget()
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=READY_S)

    def pids(self) -> list[int]:
        """Every process that works in its directory."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if os.fsencode(self.root) + b"/" in line or line.rstrip(b"\0").endswith(os.fsencode(self.root)):
                    found.append(int(entry.name))
        return found

    def destroy(self) -> None:
        """End everything that it left, and delete its directory."""
        self.forget()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        for _ in range(3):
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
        shutil.rmtree(self.root, ignore_errors=True)
