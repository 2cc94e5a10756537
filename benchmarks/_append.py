"""How many events a second the log makes durable, beside plain sqlite3 with the same bytes in the same batches."""

import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from moyai.model.envelope import GENESIS, Draft, Origin, Record, seal
from moyai.model.events import AttemptEnded, Outcome
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant
from moyai.store.log import Log

BATCH = 64
"""Events in one transaction, as group commit makes it under load."""


@dataclass(frozen=True, slots=True)
class AppendFigures:
    """Medians of `rounds` runs, in events per second; each event is some `event_bytes` long."""

    append_per_s: int
    sqlite3_per_s: int  # the peer: one table of bytes, no chain, no epoch, no second copy of anything
    batch: int
    events: int
    rounds: int
    event_bytes: int


def measure_append(disk: Path, events: int = 6_400, rounds: int = 3, batch: int = BATCH) -> AppendFigures:
    """Appends `events` sealed events in batches to a new log on the disk of the directory `disk`, `rounds` times.

    The peer runs in turn with it, on the same disk and with the same settings (WAL, synchronous=FULL).
    Sealing is not counted; the transaction, its checks and the disk are.
    """
    records = _records(events)
    batches = [records[at : at + batch] for at in range(0, events, batch)]
    ours: list[float] = []
    peers: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix=".append-", dir=disk) as place:
            ours.append(events / _log(Path(place) / "log.db", batches))
            peers.append(events / _sqlite3(Path(place) / "peer.db", batches))
    size = sum(len(record.data) for record in records) // events
    return AppendFigures(_median(ours), _median(peers), batch, events, rounds, size)


def _log(path: Path, batches: list[list[Record]]) -> float:
    with Log.open(path) as log:
        epoch = log.take_over()
        start = time.perf_counter()
        for records in batches:
            log.append(epoch, records)
        return time.perf_counter() - start


def _sqlite3(path: Path, batches: list[list[Record]]) -> float:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, hash BLOB, data BLOB)")
        start = time.perf_counter()
        for records in batches:
            connection.execute("BEGIN IMMEDIATE")
            rows = [(record.seq, bytes.fromhex(record.hash), record.data) for record in records]
            connection.executemany("INSERT INTO event VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
        return time.perf_counter() - start


def _records(count: int) -> list[Record]:
    records: list[Record] = []
    prev = GENESIS
    for seq in range(1, count + 1):
        attempt = AttemptId(f"bench-{seq:010x}.1")
        reason = Reason(Code.EXIT, found=0)
        body = AttemptEnded(attempt, Outcome.SUCCEEDED, reason, Instant(seq), Instant(seq), seq, seq, 1, True, seq)
        records.append(seal(Draft(body, Origin.OUTSIDE), seq, prev, Instant(1_767_225_600_000_000 + seq), 1))
        prev = records[-1].hash
    return records


def _median(values: list[float]) -> int:
    return round(sorted(values)[len(values) // 2])


if __name__ == "__main__":
    print(measure_append(Path(__file__).resolve().parent))
