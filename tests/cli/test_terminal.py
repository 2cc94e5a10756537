"""What only a terminal shows: the question, Ctrl-C, and a server that starts by itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from cli.conftest import end_sites
from moyai.client.local import address, answers

WITHIN_S = 30


def spawn(*arguments: str) -> "pexpect.spawn[str]":
    env = {**os.environ, "MOYAI_LANG": "en", "TERM": "xterm", "NO_COLOR": "1"}
    return pexpect.spawn(
        sys.executable,
        ["-m", "moyai.cli.main", *arguments],
        env=env,
        encoding="utf-8",
        dimensions=(24, 80),
        timeout=WITHIN_S,
        cwd="/",
    )


def left(child: "pexpect.spawn[str]") -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory in which nothing runs yet; whatever was started there is gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="moyai-t-", dir="/tmp")) / "home"
    yield place
    found = address(place)
    if found is not None and answers(found):
        os.kill(found.pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while answers(found) and time.monotonic() < deadline:
            time.sleep(0.05)
    end_sites(place)
    shutil.rmtree(place.parent, ignore_errors=True)


def test_the_whole_way_of_a_newcomer(place: Path) -> None:
    home = str(place)

    child = spawn("run", "--dir", home, "--", "echo hello")
    child.expect("No server runs for .* yet: starting one")
    child.expect("✔")
    child.expect(r"Proceed\? \[Y/n\]")
    child.send("\r")
    child.expect("hello")
    assert left(child) == 0

    child = spawn("run", "--dir", home, "--", "echo never")
    child.expect(r"Proceed\?")
    child.send("n\r")
    child.expect("Nothing was submitted")
    assert left(child) == 1

    child = spawn("run", "--dir", home, "--", "echo never")
    child.expect(r"Proceed\?")
    child.sendintr()
    assert left(child) == 130

    child = spawn("run", "-y", "--dir", home, "--name", "long", "--", "echo begun; sleep 60; echo done")
    child.expect("begun")
    child.sendintr()
    child.expect(r"Left (long-\w+) running")
    job = child.match.group(1) if child.match and not isinstance(child.match, type) else ""
    assert left(child) == 0

    child = spawn("ps", "--dir", home, "--json")
    child.expect(pexpect.EOF)
    jobs = {each["job"]: each["state"] for each in json.loads(child.before or "")["jobs"]}
    child.close()
    assert jobs.pop(job) == "active", "it goes on"
    assert list(jobs.values()) == ["succeeded"], "what was declined was not submitted"

    child = spawn("logs", "-f", "--dir", home, job)
    child.expect("begun")
    child.sendintr()
    assert left(child) == 0

    assert left(spawn("cancel", "--dir", home, job)) == 0
    assert left(spawn("down", "--dir", home)) == 0


_AT_IMPORT = """
import builtins, os, signal, sys
from moyai.cli import main
plain = builtins.__import__
def hooked(name, *rest, **more):
    if name == "moyai.cli.app":
        os.kill(os.getpid(), signal.SIGINT)
    return plain(name, *rest, **more)
builtins.__import__ = hooked
main.main()
"""
_AT_WORK = """
import os, signal, sys
from moyai.cli import main
from moyai.client import local
local.address = lambda home: os.kill(os.getpid(), signal.SIGINT)
sys.argv = ["moyai", "ps"]
main.main()
"""


@pytest.mark.parametrize(("code", "left_with"), [(_AT_IMPORT, -signal.SIGINT), (_AT_WORK, 130)])
def test_ctrl_c_leaves_no_stack_trace(code: str, left_with: int) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (left_with, "", "")
