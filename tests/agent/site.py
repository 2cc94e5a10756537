"""A site for tests: a real agent process in a directory, that can be killed and started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from agent.desk import alive, until
from moyai.model.codec import encode
from moyai.model.commands import Input, Launch
from moyai.model.ids import AttemptId, BlobId, FlavorName, JobId, ManifestId, ProjectName, SiteName, TenantName, TextRef
from moyai.model.site import Flavor, SiteProfile
from moyai.model.workload import CheckpointRule, JobText, Need, OnPartition


def profile(name: str) -> SiteProfile:
    """A site of four small nodes."""
    flavor = Flavor(FlavorName("cpu"), 4, 1, 1 << 30, peak_w=100)
    return SiteProfile(SiteName(name), "host", "JP", 0, 0, (flavor,), 0, 0)


def launch(
    attempt: str,
    *,
    nodes: int = 1,
    limit_us: int = 0,
    grace_us: int = 2_000_000,
    memory_bytes: int = 0,
    on_partition: OnPartition = OnPartition.STOP,
    checkpoint: CheckpointRule | None = None,
    inputs: tuple[Input, ...] = (),
    workdir: BlobId | None = None,
    restore: ManifestId | None = None,
    covered_us: int = 0,
) -> Launch:
    """A launch of a small job."""
    return Launch(
        AttemptId(attempt),
        JobId(attempt.rpartition(".")[0]),
        "job",
        TenantName("acme"),
        ProjectName("p"),
        FlavorName("cpu"),
        tuple(range(nodes)),
        Need(1, memory_bytes),
        100,
        limit_us,
        grace_us,
        on_partition,
        checkpoint,
        inputs,
        workdir,
        restore,
        covered_us,
        TextRef("t"),
    )


def text(run: str, **more: object) -> JobText:
    """The words of a job."""
    return JobText(run, **more)


class Site:
    """One agent's directory and process."""

    def __init__(self, root: Path, name: str, control: str) -> None:
        self.name = name
        self.dir = root / name
        self.dir.mkdir(parents=True, exist_ok=True)
        self.profile = root / f"{name}.json"
        self.profile.write_bytes(encode(profile(name)))
        self.control = control
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> "Site":
        command = [sys.executable, "-m", "moyai.agent", "--dir", str(self.dir), "--profile", str(self.profile)]
        self.process = subprocess.Popen([*command, "--control", self.control, *more], env=dict(os.environ))
        return self

    def kill(self) -> None:
        """kill −9 of the agent alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def supervisor(self) -> int:
        return int((self.dir / "supervisor.pid").read_text())

    def kill_supervisor(self) -> None:
        pid = self.supervisor()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid))

    def output(self, attempt: str, rank: int = 0) -> str:
        path = self.dir / "attempts" / attempt / f"output.{rank}"
        return path.read_text() if path.exists() else ""

    def log(self) -> str:
        return (self.dir / "agent.log").read_text()

    def close(self) -> None:
        """Kill the agent, the supervisor, and with it all that runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        try:
            pid = self.supervisor()
        except (OSError, ValueError):
            return
        if alive(pid) and b"supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
            try:
                until(lambda: not alive(pid), 5)
            except AssertionError:
                os.kill(pid, signal.SIGKILL)
