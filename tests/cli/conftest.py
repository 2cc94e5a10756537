"""The command line in this process, and a real server on a directory of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

Moyai = Callable[..., "Ran"]


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "en")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def moyai(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Moyai:
    """Runs `moyai` with these arguments in this process."""
    from moyai.cli import main

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["moyai", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main.main()
        said = capsys.readouterr()
        code = left.value.code
        return Ran(code if isinstance(code, int) else 0, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A directory with a server and its one local site. All of its processes are gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="moyai-t-", dir="/tmp"))
    server = subprocess.Popen(
        [sys.executable, "-m", "moyai.server", "--dir", str(place)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await_answer(place, server)
        yield place
    finally:
        server.terminate()
        server.wait(20)
        end_sites(place)
        shutil.rmtree(place, ignore_errors=True)


def await_answer(place: Path, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server of `place` answers."""
    from moyai.client.local import address, answers

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = address(place)
        if found is not None and answers(found):
            return
        assert server.poll() is None, f"the server ended with {server.returncode}"
        time.sleep(0.02)
    raise AssertionError("the server did not answer within 30 s")


def end_sites(place: Path) -> None:
    """Kill the agents and supervisors of a directory's local sites, and what they run."""
    for file in sorted(place.glob("sites/*/*.pid")):
        with contextlib.suppress(ValueError, OSError):
            os.kill(int(file.read_text().split()[0]), signal.SIGKILL)
