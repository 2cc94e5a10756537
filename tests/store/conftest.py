"""Small true logs for the tests of the store."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moyai.model.envelope import GENESIS, Draft, Origin, Record, seal
from moyai.model.events import Signal, SignalChanged
from moyai.model.ids import SiteName
from moyai.model.units import Instant
from moyai.store.chain import Head
from moyai.store.log import Log

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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log of a test lies."""
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    """A new log at epoch 1."""
    with Log.open(path) as opened:
        assert opened.take_over() == 1
        yield opened
