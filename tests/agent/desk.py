"""The agent's side of a supervisor for tests: starts a real one, answers claims and renewals as a test says."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import moyai.agent.supervisor
from moyai.agent import local
from moyai.agent.lease import FOREVER_US
from moyai.agent.messages import (
    Claim,
    Claimed,
    Ended,
    Forget,
    Lines,
    Message,
    Renew,
    Renewed,
    Start,
    Started,
    State,
    Stop,
    encode,
)

MAIN = Path(moyai.agent.supervisor.__file__).parent / "__main__.py"


class Desk:
    """One supervisor in `directory` and one connection to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.left_us = FOREVER_US
        self.lease_us = 0
        self.grant = True
        self.renews = True
        self.got: list[Message] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Desk":
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(MAIN), str(self.directory)], start_new_session=True
        )
        return self.connect()

    def connect(self) -> "Desk":
        deadline = time.monotonic() + 20
        while True:
            try:
                self.socket = local.connect(str(self.directory), "supervisor.sock")
                break
            except OSError:
                assert time.monotonic() < deadline, "no supervisor"
                time.sleep(0.01)
        self.lines = Lines()
        self.got = []
        self.state = self.wait(State)
        return self

    def say(self, message: Message) -> None:
        self.socket.settimeout(None)
        self.socket.sendall(encode(message))

    def order(self, name: str, script: str, **changes: object) -> Start:
        """A start of one rank that runs `script` in bash, in a directory of its own."""
        directory = self.directory / "attempts" / name
        directory.mkdir(parents=True, exist_ok=True)
        env = {"PATH": os.environ["PATH"], "MOYAI_ATTEMPT": name}
        base = Start(
            name,
            1,
            ["/bin/bash", "-c", script],
            env,
            str(directory),
            str(directory),
            2_000_000,
            15,
            0,
            0,
            1 << 20,
            1 << 20,
        )
        return base._replace(**changes)

    def run(self, name: str, script: str, **changes: object) -> Start:
        order = self.order(name, script, **changes)
        self.say(order)
        return order

    def begin(self, name: str, script: str, **changes: object) -> Started:
        """Run it and see it start."""
        self.run(name, script, **changes)
        return self.started(name)

    def pump(self, timeout: float) -> None:
        """Take what comes within `timeout` seconds, and answer it."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            return
        if not data:
            raise ConnectionError("the supervisor hung up")
        for message in self.lines.feed(data):
            self.got.append(message)
            if isinstance(message, Claim):
                self.say(
                    Claimed(
                        message.attempt,
                        message.nonce,
                        self.grant,
                        self.left_us,
                        self.lease_us,
                        "" if self.grant else "no",
                    )
                )
            elif isinstance(message, Renew) and self.renews:
                self.say(Renewed(message.sent_us, dict.fromkeys(message.attempts, self.left_us), self.lease_us))

    def wait(self, kind: type, attempt: str = "", timeout: float = 30) -> Message:
        """The first message of `kind` about `attempt`."""
        deadline = time.monotonic() + timeout
        while True:
            for message in self.got:
                if isinstance(message, kind) and (not attempt or message.attempt == attempt):
                    return message
            assert time.monotonic() < deadline, f"no {kind.__name__} of {attempt}; got {self.got}"
            self.pump(min(0.2, timeout))

    def started(self, attempt: str) -> Started:
        return self.wait(Started, attempt)

    def ended(self, attempt: str, timeout: float = 30) -> Ended:
        return self.wait(Ended, attempt, timeout)

    def output(self, attempt: str, rank: int = 0) -> str:
        return (self.directory / "attempts" / attempt / f"output.{rank}").read_text()

    def stop(self, attempt: str, number: int = signal.SIGTERM, grace_us: int = 2_000_000) -> None:
        self.say(Stop(attempt, number, grace_us))

    def forget(self, attempt: str) -> None:
        self.say(Forget(attempt))

    def close(self) -> None:
        """Let the supervisor end all that runs."""
        self.socket.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def alive(pid: int) -> bool:
    """Whether a process runs, zombies not counted."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def until(condition, timeout: float = 20) -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)
