"""Machines by SSH, on a real sshd of loopback: let in, refused, unknown, gone, without Python."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from moyai.agent.doctor.check import Check, Verdict
from moyai.agent.doctor.ssh import check_ssh
from moyai.model.engine import SshHost, SshSettings
from moyai.model.ids import FlavorName

pytest.importorskip("asyncssh", reason="asyncssh is not installed")
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin:/bin")
pytestmark = pytest.mark.skipif(SSHD is None, reason="no sshd: apt-get install openssh-server")


@dataclass(frozen=True)
class Sshd:
    """A real sshd and the files around it."""

    place: Path
    port: int

    def settings(self, **changed: str) -> SshSettings:
        """A site of this one machine. `host`, `key`, `port`: other than they should be."""
        host = SshHost(
            "node-1",
            "127.0.0.1",
            FlavorName("cpu"),
            int(changed.get("port", self.port)),
            pwd.getpwuid(os.geteuid()).pw_name,
            str(self.place / changed.get("key", "id")),
        )
        known = str(self.place / changed.get("known", "known_hosts"))
        return SshSettings((host,), known, python=changed.get("python", "python3"))


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    place = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
    for name in ("host", "other-host", "id", "stranger"):
        _key(place / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (place / "authorized").write_bytes((place / "id.pub").read_bytes())
    for known, key in (("known_hosts", "host"), ("other_hosts", "other-host")):
        (place / known).write_text(f"[127.0.0.1]:{port} {(place / f'{key}.pub').read_text()}")
    (place / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/authorized\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        f"UsePAM no\nStrictModes no\nPidFile {place}/pid\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([str(SSHD), "-D", "-f", str(place / "config"), "-E", str(place / "log")])
    try:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (place / "log").read_text()
                assert time.monotonic() < end, "sshd did not listen"
                time.sleep(0.05)
        yield Sshd(place, port)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(place, ignore_errors=True)


def look(settings: SshSettings) -> Check:
    (found,) = check_ssh(settings)
    assert found.name == "ssh:node-1"
    assert bool(found.mend) is (found.verdict is not Verdict.OK)
    return found


def test_a_machine_that_lets_us_in(sshd: Sshd) -> None:
    found = look(sshd.settings())
    assert (found.verdict, found.what.startswith("node-1 lets us in; Python 3.")) == (Verdict.OK, True)


def test_a_key_that_is_not_let_in(sshd: Sshd) -> None:
    assert "lets nobody in as" in look(sshd.settings(key="stranger")).what


def test_a_host_key_that_is_another(sshd: Sshd) -> None:
    assert "has CHANGED" in look(sshd.settings(known="other_hosts")).what


def test_nobody_at_that_port(sshd: Sshd) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert f"127.0.0.1:{port} can't be reached" in look(sshd.settings(port=str(port))).what


def test_no_such_key_file(sshd: Sshd) -> None:
    assert "can't be reached" in look(sshd.settings(key="nowhere")).what


def test_no_python_there(sshd: Sshd) -> None:
    assert "has no python9" in look(sshd.settings(python="python9")).what
    old = sshd.place / "old-python"
    old.write_text("#!/bin/sh\necho 3 9 2\n")
    old.chmod(0o755)
    assert look(sshd.settings(python=str(old))).what == "Python 3.9.2 on node-1 is too old"


def test_through_itself(sshd: Sshd) -> None:
    inner = sshd.settings().hosts[0]
    behind = SshHost("node-2", "127.0.0.1", inner.flavor, inner.port, inner.user, inner.key, "node-1")
    found = check_ssh(SshSettings((inner, behind), str(sshd.place / "known_hosts")))
    assert [(check.name, check.verdict) for check in found] == [("ssh:node-1", "ok"), ("ssh:node-2", "ok")]
