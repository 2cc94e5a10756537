"""Machines for tests: a real sshd each, with its own host key, port and home, on loopback.

Where root: in a PID and a mount namespace of its own, so that nothing but its own processes is there, all of it dies at
once as at a power cut, and it has a boot id of its own, new after each start. Without root it is sshd in a session.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import pytest

SSHD = "/usr/sbin/sshd"
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin yes
SetEnv HOME={home} PATH={path}
Subsystem sftp internal-sftp
LogLevel VERBOSE
"""


def can_isolate() -> bool:
    """Whether a machine can have namespaces of its own here."""
    words = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "true"]
    return os.geteuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0


def need_sshd() -> None:
    """Skip where there is no sshd."""
    if not os.access(SSHD, os.X_OK):
        pytest.skip("no /usr/sbin/sshd here: install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it, and a container may lack it


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def keygen(path: Path) -> str:
    """A new key at `path`; returns its public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return Path(f"{path}.pub").read_text()


class TestMachine:
    """One machine."""

    __test__ = False

    def __init__(self, root: Path, name: str, public: str, isolated: bool) -> None:
        self.name = name
        self.home = root / name
        self.home.mkdir()
        self.isolated = isolated
        self.port = free_port()
        self.host_key = keygen(self.home / "host_key")
        (self.home / "authorized_keys").write_text(public)
        text = CONFIG.format(port=self.port, home=self.home, path=os.environ["PATH"])
        (self.home / "sshd.conf").write_text(text)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def site(self) -> Path:
        """What the agent has there."""
        return self.home / ".moyai-site"

    def known(self, port: int = 0) -> str:
        """Its line in a file of known hosts, reached at `port` (its own if left out)."""
        return f"[127.0.0.1]:{port or self.port} {self.host_key}"

    def start(self) -> "TestMachine":
        """Boot it."""
        boot = self.home / "boot_id"
        boot.write_text(f"{uuid.uuid4()}\n")
        sshd = f"exec {SSHD} -D -E {self.home}/sshd.log -f {self.home}/sshd.conf"
        if self.isolated:
            words = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "/bin/sh", "-c"]
            words.append(f"mount --bind {boot} /proc/sys/kernel/random/boot_id && {sshd}")
        else:
            words = ["/bin/sh", "-c", sshd]
        self.process = subprocess.Popen(words, start_new_session=True, cwd="/")
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert time.monotonic() < deadline, (self.home / "sshd.log").read_text()
                time.sleep(0.02)

    def processes(self) -> list[int]:
        """What runs there on behalf of the site, as seen from outside."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    seen = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                except OSError:
                    continue
                if str(self.home).encode() in seen:
                    found.append(int(entry.name))
        return found

    def power_off(self) -> None:
        """Everything there is dead at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)

    def close(self) -> None:
        """End it and remove it."""
        self.power_off()
        shutil.rmtree(self.home, ignore_errors=True)
