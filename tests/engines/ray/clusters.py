"""Real Ray clusters for tests, each in a directory and on ports of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "examples/federation/ray.sh"


def find_ray() -> str:
    """The program `ray`: $MOYAI_RAY, else the one that `make ray` installs, else the one on the PATH; "" for none."""
    for path in (os.environ.get("MOYAI_RAY", ""), str(ROOT / ".ray/bin/ray"), shutil.which("ray") or ""):
        if path and os.access(path, os.X_OK):
            return path
    return ""


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free on loopback."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        if first + count < 65_000 and all(_free(port) for port in range(first, first + count)):
            return first
    raise AssertionError("no ports are free")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class RayCluster:
    """A cluster of `nodes` nodes with `cpus` CPUs and `gpus` made-up GPUs each."""

    def __init__(self, nodes: int, cpus: int, gpus: int = 0, resources: dict[str, float] | None = None) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="mr", dir="/tmp"))  # sockets lie in it: short
        self.port = free_ports(10 * nodes)
        self.token = self.dir / "token"
        self.address = f"http://127.0.0.1:{self.port + 1}"
        self._words = ["test", str(self.port), str(cpus), str(gpus), str(self.dir)]
        self._env = dict(os.environ, RAY=find_ray(), NODES=str(nodes), RESOURCES=json.dumps(resources or {}))

    def up(self) -> "RayCluster":
        """Start it."""
        done = subprocess.run([SCRIPT, "up", *self._words], env=self._env, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == self.address
        return self

    def kill(self, index: int = 0) -> None:
        """kill −9 of everything that one node is made of; what it ran is left to itself."""
        leader = int((self.dir / f"pid.{index}").read_text())
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    if os.getsid(int(entry.name)) == leader:
                        os.kill(int(entry.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def close(self) -> None:
        """End it and all it ran."""
        self.down()
        shutil.rmtree(self.dir, ignore_errors=True)

    def down(self) -> None:
        """End it and all it ran; it can be started again, with the same token."""
        subprocess.run([SCRIPT, "down", *self._words], env=self._env, check=True, timeout=120)
