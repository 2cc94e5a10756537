"""Small true logs for the tests of the store.

A test that uses `log` or `place` runs on SQLite and on a real PostgreSQL; one that uses `path` too, on SQLite alone.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moyai.model.envelope import GENESIS, Draft, Origin, Record, seal
from moyai.model.events import Signal, SignalChanged
from moyai.model.ids import SiteName
from moyai.model.units import Instant
from moyai.store.chain import Head
from moyai.store.log import Log
from store.pg import RUNNING, Postgres, running

Chain = Callable[..., list[Record]]


def make_chain(count: int, head: Head | None = None, epoch: int = 1, pad: int = 0) -> list[Record]:
    """`count` records after `head`, whose bodies differ and carry `pad` more bytes each."""
    seq, prev = (0, GENESIS) if head is None else (head.seq, head.hash)
    made: list[Record] = []
    for _ in range(count):
        seq += 1
        body = SignalChanged(SiteName("tokyo" + "x" * pad), Signal.PRICE, 20_000_000 + seq)
        made.append(seal(Draft(body, Origin.OUTSIDE), seq, prev, Instant(1_700_000_000_000_000 + seq), epoch))
        prev = made[-1].hash
    return made


@pytest.fixture(scope="session")
def chain() -> Chain:
    """`chain(count, head, epoch, pad)`: the next records after a head."""
    return make_chain


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which databases a test runs on."""
    if "place" in metafunc.fixturenames:
        kinds = ["sqlite"] if "path" in metafunc.fixturenames else ["sqlite", "postgres"]
        metafunc.parametrize("place", kinds, indirect=True)


@pytest.fixture(scope="session")
def pg() -> Iterator[Postgres]:
    """A PostgreSQL server for the tests of this process."""
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def no_databases_left() -> Iterator[None]:
    """What a test made at the server goes with the test."""
    yield
    for server in RUNNING:
        server.tidy()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log of a test lies that is about SQLite's file."""
    return tmp_path / "log.db"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where the log of a test lies: a file, or the address of a new database."""
    if request.param == "sqlite":
        return tmp_path / "log.db"
    server: Postgres = request.getfixturevalue("pg")
    return server.url(server.database())


@pytest.fixture
def log(place: Path | str) -> Iterator[Log]:
    """A new log at epoch 1."""
    with Log.open(place) as opened:
        assert opened.take_over() == 1
        yield opened
