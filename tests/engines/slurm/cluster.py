"""A real Slurm cluster for tests, by the script that people use: examples/federation/slurm.sh."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "examples/federation/slurm.sh"
PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmrestd", "sbatch")


def missing() -> str:
    """Why no cluster can be started here; "" where one can."""
    if os.geteuid() != 0:
        return "a Slurm cluster of our own needs root"
    gone = [name for name in PROGRAMS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    return f"not installed: {', '.join(gone)}" if gone else ""


def cgroups() -> bool:
    """Whether jobs can be bounded by cgroups of version 1 here."""
    return all(os.access(f"/sys/fs/cgroup/{name}", os.W_OK) for name in ("memory", "freezer"))


class Cluster:
    """Two nodes of four cores and two devices each, on ports of its own."""

    def __init__(self, *, nodes: int = 2, cgroup: bool = False, once: bool = False) -> None:
        self.nodes = nodes
        self.once = once  # it serves one test, and need not be in order after it
        self.name = f"t{os.getpid() % 100_000}{random.randrange(1000)}"
        self.dir = Path(tempfile.mkdtemp(prefix="ms", dir="/tmp"))
        self.dir.chmod(0o755)
        self.port = _ports(12 + nodes)
        self.cgroup = cgroup
        self.env = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        self.env.pop("SLURM_CONF", None)
        if cgroup:
            self.env["CGROUP"] = "1"

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.port + 1}"

    @property
    def config(self) -> Path:
        return self.dir / "slurm.conf"

    def _script(self, what: str) -> None:
        words = [SCRIPT, what, self.name, str(self.port), str(self.nodes), "4", "2", str(self.dir)]
        done = subprocess.run(
            words, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr

    def up(self) -> "Cluster":
        try:
            self._script("up")
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        self._script("down")
        shutil.rmtree(self.dir, ignore_errors=True)

    def say(self, *words: str, ok: bool = True) -> str:
        """A command of Slurm's."""
        env = {**self.env, "SLURM_CONF": str(self.config)}
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 or not ok, done.stderr
        return done.stdout

    def jobs(self, name: str = "") -> list[tuple[str, str, str]]:
        """(number, name, state) of all jobs, or of those of a name."""
        rows = [line.split("|") for line in self.say("squeue", "-a", "-h", "-t", "all", "-o", "%A|%j|%T").splitlines()]
        return [(row[0], row[1], row[2]) for row in rows if not name or row[1] == name]

    def pid(self, daemon: str) -> int:
        return int((self.dir / f"run/{daemon}.pid").read_text())

    def kill(self, daemon: str, number: int = 9) -> None:
        pid = self.pid(daemon)
        os.kill(pid, number)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def keep_state(self) -> Path:
        """A copy of what the controller has on disk now."""
        copy = self.dir / "kept"
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.dir / "state"), str(copy)], check=True)
        return copy

    def forget_since(self, copy: Path) -> None:
        """Kill the controller, and start it with what it had on disk then: as if it had not come to saving more."""
        self.kill("slurmctld")
        shutil.rmtree(self.dir / "state")
        copy.rename(self.dir / "state")
        self.start("slurmctld")

    def start(self, *words: str) -> None:
        """A daemon, which goes to the background by itself."""
        self.say(*words)

    def start_rest(self) -> None:
        env = {**self.env, "SLURM_CONF": str(self.config), "SLURM_JWT": "daemon"}
        words = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "slurmrestd", "-a", "rest_auth/jwt"]
        words += ["-s", "openapi/v0.0.38", "-t", "4", f"127.0.0.1:{self.port + 1}"]
        with (self.dir / "log/slurmrestd.log").open("ab") as log:
            process = subprocess.Popen(
                words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        (self.dir / "run/slurmrestd.pid").write_text(str(process.pid))

    def idle(self, timeout: float = 40) -> None:
        """Wait until no job is left, and all nodes can take new ones."""
        deadline = time.monotonic() + timeout
        while self.say("squeue", "-h", ok=False).strip() or self._idle() < self.nodes:
            assert time.monotonic() < deadline, self.say("sinfo") + self.say("squeue")
            time.sleep(0.1)

    def _idle(self) -> int:
        return len(self.say("sinfo", "-h", "-N", "-p", "batch", "-t", "idle", "-o", "%N", ok=False).splitlines())


def _ports(count: int) -> int:
    """The first of `count + 10` ports side by side that are free now."""
    for _ in range(200):
        base = random.randrange(20_000, 31_000, 40)
        if all(_free(base + i) for i in range(count + 10)):
            return base
    raise AssertionError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
