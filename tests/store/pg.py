"""A PostgreSQL server of its own for tests, on a free port, gone with the tests."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

_SETTINGS = (
    "listen_addresses=127.0.0.1",
    "max_connections=60",
    "shared_buffers=64MB",
    "fsync=on",
    "logging_collector=off",
    "recovery_init_sync_method=syncfs",
    "max_wal_size=64MB",
)


def programs() -> Path | None:
    """Where the server's programs are: Debian puts them outside of PATH."""
    found = shutil.which("initdb")
    if found and shutil.which("pg_ctl"):
        return Path(found).parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return places[-1].parent if places else None


class Postgres:
    """One server and its directory. `url(name)` is the address of a database in it."""

    def __init__(self, root: Path, bins: Path) -> None:
        self.root = root
        self._bins = bins
        self.port = _free_port()
        self._made: list[str] = []
        self._count = 0

    def url(self, name: str, port: int = 0, query: str = "") -> str:
        """The address of a database, perhaps through another port."""
        return f"postgresql://moyai@127.0.0.1:{port or self.port}/{name}{query}"

    def database(self) -> str:
        """The name of a new, empty database."""
        self._count += 1
        name = f"moyai{self._count}"
        self.execute(f"CREATE DATABASE {name}")
        self._made.append(name)
        return name

    def tidy(self) -> None:
        """Drop the databases that were made."""
        while self._made:
            self.execute(f"DROP DATABASE {self._made.pop()} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the server's superuser; its rows."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def make(self) -> None:
        """Make its files."""
        self._run(
            "initdb",
            "-D",
            "data",
            "-A",
            "trust",
            "-U",
            "moyai",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--wal-segsize=4",
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = " ".join(f"-c {s}" for s in (*_SETTINGS, f"port={self.port}", f"unix_socket_directories={self.root}"))
        self._run("pg_ctl", "-D", "data", "-w", "-t", "60", "-l", "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: "fast" in order, "immediate" as a crash would."""
        self._run("pg_ctl", "-D", "data", "-m", mode, "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        as_user = () if os.geteuid() else ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
        command = [*as_user, str(self._bins / program), *arguments]
        # Not through a pipe: the server would keep it open.
        with (self.root / f"{program}.said").open("wb") as said:
            done = subprocess.run(
                command, cwd=self.root, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=90
            )
        if done.returncode:
            log = self.root / "log"
            words = (self.root / f"{program}.said").read_text() + (log.read_text()[-2000:] if log.exists() else "")
            raise RuntimeError(f"{program} failed: {words}")


RUNNING: list[Postgres] = []
"""The servers of this process."""


@contextmanager
def running() -> Iterator[Postgres]:
    """A running server; skips the test where there are no programs for one."""
    bins = programs()
    if bins is None:
        pytest.skip("no PostgreSQL server here (apt-get install postgresql)")
    root = Path(tempfile.mkdtemp(prefix="mypg", dir=_place()))
    made = Postgres(root, bins)
    try:
        if not os.geteuid():
            owner = pwd.getpwnam("postgres")
            os.chown(root, owner.pw_uid, owner.pw_gid)
        made.make()
        made.start()
        RUNNING.append(made)
        yield made
    finally:
        RUNNING.clear()
        if (root / "data" / "postmaster.pid").exists():
            made.stop("immediate")
        shutil.rmtree(root, ignore_errors=True)


def _place() -> str:
    """In memory where there is room: a server writes much when databases come and go."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30:
        return str(memory)
    return "/tmp"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
