"""`moyai store` and `moyai log --store`, on a real PostgreSQL."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moyai.store.log import Log
from store.pg import Postgres, running


@pytest.fixture(scope="module")
def pg() -> Iterator[Postgres]:
    """A PostgreSQL server of its own."""
    with running() as server:
        yield server


def moyai(*arguments: str, **more: str) -> tuple[int, str, str]:
    """A command's exit code, and what it said."""
    env = {k: v for k, v in os.environ.items() if k != "MOYAI_STORE"} | {"MOYAI_LANG": "en"} | more
    command = [sys.executable, "-m", "moyai.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    return done.returncode, done.stdout, done.stderr


def test_a_log_is_moved_looked_at_and_verified(pg: Postgres, tmp_path: Path):
    with Log.open(tmp_path / "log.db") as log:
        log.take_over()
    url = pg.url(pg.database())
    code, said, wrong = moyai("store", "migrate", str(tmp_path), url)
    assert (code, wrong) == (0, "")
    assert "Copied 0 events" in said
    code, said, _ = moyai("store", "check", url)
    assert code == 0
    assert "PostgreSQL" in said
    assert "no server leads" in said
    code, said, _ = moyai("store", "check", str(tmp_path), "--json")
    assert json.loads(said)["database"].startswith("SQLite")
    for more in ({"MOYAI_STORE": url}, {}):
        arguments = ["log", "verify", "--json", *(() if more else ("--store", url))]
        code, said, _ = moyai(*arguments, **more)
        assert json.loads(said)["intact"]
        assert json.loads(said)["path"] == url
    code, _, wrong = moyai("store", "migrate", str(tmp_path), url)
    assert code == 2
    assert "there is a log in it already" in wrong


def test_what_can_not_be_is_said_in_a_line(tmp_path: Path):
    secret = "postgresql://moyai:secret@127.0.0.1:1/x"
    for arguments in (("store", "check", secret), ("log", "verify", "--store", secret)):
        code, said, wrong = moyai(*arguments)
        assert code == 2
        assert "can't be reached" in wrong
        assert "secret" not in wrong + said
        assert "Traceback" not in wrong
    code, _, wrong = moyai("store", "check", "mysql://h/d", MOYAI_LANG="ja")
    assert code == 2
    assert "no such store" in wrong
    assert moyai("store", "check", str(tmp_path / "none"))[0] == 2
