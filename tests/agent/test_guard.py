"""The guard with real processes, against a fake agent's socket and a real agent."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.desk import alive, until
from agent.fake_control import FakeControl
from agent.site import Site, launch, text
from moyai.agent import local
from moyai.agent.guard import LEASE_OVER, REFUSED
from moyai.agent.messages import Claim, Claimed, Lines, Renewed, encode
from moyai.model.events import AttemptStarted, CapacityReported


class FakeAgent:
    """Answers guards from a thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.left_us = self.lease_us = 30_000_000
        self.grant = True
        self.renews = True
        self.claims: list[Claim] = []
        self.renewals = 0
        self.listen()

    def listen(self) -> None:
        self.server = local.listen(str(self.directory), "guard.sock")
        self.connections: list = []
        threading.Thread(target=self._accept, args=(self.server,), daemon=True).start()

    def _accept(self, server) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection) -> None:
        lines = Lines()
        try:
            while data := connection.recv(65536):
                for message in lines.feed(data):
                    if isinstance(message, Claim):
                        self.claims.append(message)
                        answer = Claimed(message.attempt, message.nonce, self.grant, self.left_us, self.lease_us, "no")
                        connection.sendall(encode(answer))
                    elif self.renews:
                        self.renewals += 1
                        left = dict.fromkeys(message.attempts, self.left_us)
                        connection.sendall(encode(Renewed(message.sent_us, left, self.lease_us)))
        except OSError:
            return

    def die(self) -> None:
        self.server.shutdown(2)
        self.server.close()
        for connection in self.connections:
            connection.shutdown(2)
            connection.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path)
    yield fake
    fake.die()


def guard(directory: Path, script: str, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "moyai.agent.guard", "--socket", str(directory / "guard.sock"), "--attempt", "a.1"]
    command += ["--rank", "0", "--nonce", "n", "--patience-us", "300000", *more, "--", "bash", "-c", script]
    return subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def pid_in(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().strip())
    return int(path.read_text())


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("exit 3", 3), ("kill -9 $$", 137), ("nosuch", 127)])
def test_a_granted_start_runs_and_its_exit_is_handed_on(agent: FakeAgent, script: str, code: int) -> None:
    done = guard(agent.directory, script)
    done.communicate(timeout=30)
    assert done.returncode == code
    assert agent.claims == [Claim("a.1", "n", [0])]


def test_a_refused_start_runs_nothing(agent: FakeAgent) -> None:
    agent.grant = False
    done = guard(agent.directory, "touch ran")
    _, said = done.communicate(timeout=30)
    assert done.returncode == REFUSED
    assert b"does not start: no" in said
    assert not (agent.directory / "ran").exists()


def test_without_an_agent_nothing_runs(tmp_path: Path) -> None:
    done = guard(tmp_path, "touch ran")
    _, said = done.communicate(timeout=30)
    assert done.returncode == REFUSED
    assert b"can't be reached" in said
    assert not (tmp_path / "ran").exists()


def test_when_the_lease_is_over_all_is_dead(agent: FakeAgent) -> None:
    agent.left_us = agent.lease_us = 1_500_000
    agent.renews = False
    done = guard(
        agent.directory,
        "trap '' TERM; setsid bash -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done' & while :; do sleep 0.1; done",
    )
    pid = pid_in(agent.directory / "pid")
    _, said = done.communicate(timeout=30)
    assert done.returncode == LEASE_OVER
    assert b"the lease of a.1 is over" in said
    assert not alive(pid)


def test_the_agents_restart_in_between_is_survived(agent: FakeAgent) -> None:
    agent.left_us = agent.lease_us = 3_000_000
    done = guard(agent.directory, "echo $$ > pid; for i in $(seq 45); do sleep 0.1; done; exit 8")
    pid_in(agent.directory / "pid")
    until(lambda: agent.renewals > 0)
    agent.die()
    before = agent.renewals
    agent.listen()
    done.communicate(timeout=30)
    assert done.returncode == 8
    assert agent.renewals > before
    assert len(agent.claims) == 1


def test_signals_are_handed_on(agent: FakeAgent) -> None:
    done = guard(agent.directory, "trap 'echo got; exit 4' USR1; echo $$ > pid; while :; do sleep 0.05; done")
    pid_in(agent.directory / "pid")
    done.send_signal(10)
    out, _ = done.communicate(timeout=30)
    assert (done.returncode, b"got" in out) == (4, True)


def test_what_a_rank_leaves_behind_is_killed(agent: FakeAgent) -> None:
    done = guard(
        agent.directory,
        "setsid -f env -i bash -c 'echo $$ > pid; exec sleep 1000'; while [ ! -s pid ]; do sleep 0.05; done; exit 0",
    )
    done.communicate(timeout=30)
    assert done.returncode == 0
    assert not alive(int((agent.directory / "pid").read_text()))


def test_a_killed_guard_takes_its_rank_along(agent: FakeAgent) -> None:
    done = guard(agent.directory, "echo $$ > pid; exec sleep 1000")
    pid = pid_in(agent.directory / "pid")
    done.kill()
    done.communicate(timeout=30)
    until(lambda: not alive(pid))


async def test_two_guards_of_one_attempt_at_a_real_agent(sites: Callable[..., Site], tmp_path: Path) -> None:
    """The host engine has the claim of a.1 already: a guard that wants it too leaves."""
    async with FakeControl() as control:
        site = sites("tokyo", control.address).start()
        await control.report("tokyo", CapacityReported)
        await control.command("tokyo", launch("a.1"), text("sleep 1000"))
        await control.report("tokyo", AttemptStarted)
        import asyncio

        done = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "moyai.agent.guard", "--socket", str(site.dir / "guard.sock"), "--attempt", "a.1",
            "--rank", "0", "--nonce", "other", "--", "touch", str(tmp_path / "ran"),
            stderr=asyncio.subprocess.PIPE, env=dict(os.environ),
        )  # fmt: skip
        _, said = await done.communicate()
        assert done.returncode == REFUSED
        assert b"another start of this attempt has the claim" in said
        assert not (tmp_path / "ran").exists()
