"""Agents of other machines as real processes: they join, work, renew, are upgraded, and are told when they can't."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.desk import alive, until
from server.door import Door
from server.process import Server

SITE = """
name: {name}
jurisdiction: JP-27
latitude: 34.7
longitude: 135.5
price_yen_per_kwh: 25
carbon_g_per_kwh: 430
synthetic: true
flavors: [{{name: standard, count: 4, cpus: {cpus}, memory: 2GiB, idle_w: 60, peak_w: 220}}]
"""


class Machine:
    """Another machine: a directory, a site's file, and the command line."""

    def __init__(self, root: Path, name: str, door: Door) -> None:
        self.root = root / name
        self.root.mkdir()
        self.name, self.door = name, door
        self.file, self.dir = self.root / "site.yaml", self.root / "d"
        self.describe()
        self.process: subprocess.Popen[str] | None = None

    def describe(self, cpus: int = 2) -> None:
        """Write the site's file."""
        self.file.write_text(SITE.format(name=self.name, cpus=cpus))

    def moyai(self, *arguments: str, code: int = 0, **more: str) -> str:
        """Run a command; what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "moyai.cli.main", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "MOYAI_LANG": "en", **more},
            check=False,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def join(self, token: str = "", code: int = 0) -> str:
        """Join by a token."""
        site, place = ("--site", str(self.file)), ("--dir", str(self.dir))
        token = token or self.door.token(self.name)
        return self.moyai("agent", "join", "--control", self.door.address, "--token", token, *site, *place, code=code)

    def start(self, *controls: str) -> "Machine":
        """Start the agent in the foreground of a process of its own."""
        options = [word for address in controls or (self.door.address,) for word in ("--control", address)]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "moyai.cli.main",
                "agent",
                "--site",
                str(self.file),
                "--dir",
                str(self.dir),
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def ready(self) -> "Machine":
        """Wait until control has it."""
        self.door.server.until(lambda: self.status()["state"] == "joined")
        return self

    def status(self) -> dict[str, object]:
        """The site as control shows it."""
        return next(s for s in self.door.server.get("/v1/sites") if s["site"] == self.name)

    @property
    def log(self) -> str:
        """What the agent has to say."""
        path = self.dir / "agent.log"
        return path.read_text() if path.exists() else ""

    def stop(self) -> int:
        """SIGTERM, as systemd does it."""
        assert self.process is not None
        self.process.terminate()
        self.process.communicate(timeout=20)
        return self.process.returncode

    def close(self) -> None:
        """End everything here."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        try:
            pid = int((self.dir / "supervisor.pid").read_text())
        except (OSError, ValueError):
            return
        if alive(pid) and b"supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


Make = Callable[..., Machine]


@pytest.fixture
def server() -> Iterator[Server]:
    """A control plane, not started yet."""
    made = Server()
    yield made
    made.destroy()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Make]:
    """Makes machines; ends what runs on them."""
    made: list[Machine] = []

    def make(name: str, door: Door) -> Machine:
        made.append(Machine(tmp_path, name, door))
        return made[-1]

    yield make
    for one in made:
        one.close()


def submit(door: Door, run: str, **spec: object) -> str:
    return door.server.submit(run, residency=["JP-27"], resources={"cpus": 1}, **spec)["job"]


def test_from_nothing_to_work_that_outlives_an_upgrade(server: Server, machine: Make, tmp_path: Path):
    """The whole way by the command line: CA, token, join, agent; then a new agent and a new profile beside work."""
    door = Door(server, None)  # type: ignore[arg-type] – the command line makes it
    osaka = machine("osaka", door)
    home = ("--dir", str(server.root))
    assert "fingerprint" in osaka.moyai("ca", "init", *home).lower()
    door.open()
    made = json.loads(osaka.moyai("agent", "token", "osaka", "--json", *home))
    assert "renewed by its agent" in osaka.join(made["token"])
    assert "was used already" in machine("other", door).moyai(
        *("agent", "join", "--control", door.address, "--token", made["token"], "--site", str(osaka.file)),
        *("--dir", str(tmp_path / "other-d")),
        code=2,
    )
    osaka.start().ready()
    go = tmp_path / "go"
    job = submit(door, f"echo begun; while [ ! -e {go} ]; do sleep 0.05; done; echo done")
    server.until(lambda: server.get(f"/v1/jobs/{job}")["attempts"][-1:] and server.get(f"/v1/jobs/{job}")["started_at"])
    assert osaka.stop() == 0
    osaka.describe(cpus=4)  # the newer agent knows more of its site
    osaka.start()
    server.until(lambda: osaka.status()["profile"]["flavors"][0]["cores"] == 4)
    go.touch()
    seen = server.ended(job)
    assert (seen["state"], len(seen["attempts"])) == ("succeeded", 1)
    assert "done" in server.client.get(f"/v1/jobs/{job}/output").text
    site = osaka.status()
    assert site["state"] == "joined"
    assert osaka.log.count("joined: term 1,") == 2  # the same term: its lease never ended
    listed = osaka.moyai("ca", "list", *home)
    assert "osaka" in listed
    assert "valid" in listed
    assert "1 certificate" in osaka.moyai("ca", "revoke", "osaka", *home)
    until(lambda: "401 revoked" in osaka.log)
    osaka.join()  # a new token mends it, beside the running agent
    until(lambda: "joined anew" in osaka.log, 30)
    osaka.ready()


def test_a_certificate_is_renewed_without_a_restart_and_no_request_is_lost(server: Server, machine: Make):
    door = Door.make(server).open()
    osaka = machine("osaka", door)
    osaka.join()
    osaka.start().ready()
    identity = osaka.dir / "identity" / "identity.pem"

    def held() -> set[str]:
        return {c["serial"] for c in server.get("/v1/certificates")["certificates"]}

    jobs = []
    for number in (2, 3):
        before = identity.read_bytes()
        about = json.loads(before.partition(b"\n")[0].removeprefix(b"# "))
        assert about["ends_at"] - about["got_at"] > 8 * 86_400_000_000
        aged = f"# {json.dumps(about | {'got_at': 0})}\n".encode()  # as if two thirds of its life were over
        part = identity.with_name("aged")
        part.touch(0o600)
        part.write_bytes(aged + before.partition(b"\n")[2])
        part.replace(identity)
        while len(held()) < number:
            jobs.append(submit(door, "sleep 0.2"))
            server.ended(jobs[-1])
        server.until(lambda: b'"got_at":0' not in identity.read_bytes().replace(b" ", b""))
        assert identity.read_bytes().partition(b"-----BEGIN")[2] != before.partition(b"-----BEGIN")[2]  # a new key
    assert all(len(server.get(f"/v1/jobs/{job}")["attempts"]) == 1 for job in jobs)
    assert {server.get(f"/v1/jobs/{job}")["state"] for job in jobs} == {"succeeded"}
    assert osaka.log.count("joined: term") == 1
    assert "can't be had" not in osaka.log
    assert "did not arrive" not in osaka.log
    assert osaka.process is not None
    assert osaka.process.poll() is None


def test_the_second_address_is_used_where_the_first_is_silent(server: Server, machine: Make):
    door = Door.make(server).open()
    osaka = machine("osaka", door)
    osaka.join()
    osaka.start("https://127.0.0.1:1", door.address).ready()
    assert server.ended(submit(door, "true"))["state"] == "succeeded"


def test_an_agent_that_can_not_run_says_why_and_what_to_do(server: Server, machine: Make, tmp_path: Path):
    door = Door.make(server).open()
    osaka, kyoto = machine("osaka", door), machine("kyoto", door)
    osaka.start()
    said, _ = osaka.process.communicate(timeout=30)
    assert (osaka.process.returncode, "moyai agent join" in said) == (2, True), said
    osaka.join()
    kyoto.dir = osaka.dir
    kyoto.start()
    said, _ = kyoto.process.communicate(timeout=30)
    assert (kyoto.process.returncode, "certificate of osaka" in said) == (2, True), said
    for arguments, words in (
        ((), "--site"),
        (("--site", str(osaka.file)), "--control"),
        (("--site", str(osaka.file), "--control", "http://x:1"), "https://HOST:PORT"),
        (("--site", str(tmp_path / "none.yaml"), "--control", door.address), "none.yaml"),
        (("join", "--token", "x", "--site", str(osaka.file), "--control", door.address), "no join token"),
        (("join", "--token", "x", "--site", str(osaka.file)), "--control"),
        (("token", "osaka", "--lifetime", "soon", "--dir", str(server.root)), "--lifetime"),
        (("token", "Osaka!", "--dir", str(server.root)), "no name for a site"),
    ):
        assert words in osaka.moyai("agent", *arguments, code=2), arguments
    nowhere = ("--control", "https://127.0.0.1:1", "--site", str(osaka.file), "--dir", str(tmp_path / "e"))
    token = door.token("osaka")
    assert "moyai up --agents" in osaka.moyai("agent", "join", "--token", token, *nowhere, code=4)
    assert "already" in osaka.moyai("ca", "init", "--dir", str(server.root), code=2)


def test_a_join_goes_on_after_a_crash_of_the_control_plane(server: Server, machine: Make):
    door = Door.make(server).open()
    osaka = machine("osaka", door)
    token = door.token("osaka")
    port = int(door.address.rsplit(":", 1)[1])
    server.kill()
    door.open(port=port)
    osaka.join(token)
    osaka.start().ready()
    server.kill()
    time.sleep(0.5)
    door.open(port=port)
    osaka.ready()
    assert server.ended(submit(door, "true"))["state"] == "succeeded"
