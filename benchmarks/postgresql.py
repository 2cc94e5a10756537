"""The log on SQLite and on PostgreSQL side by side, and how long a fail-over takes.

    python benchmarks/postgresql.py --store postgresql://USER@HOST/ONE --pair postgresql://USER@HOST/TWO --json

Both databases must be empty; they are left with the benchmark's logs in them. Single: one event in each
commit. Grouped: 4,096.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from moyai.model.envelope import Draft, Origin, Record, seal
from moyai.model.events import Signal, SignalChanged
from moyai.model.ids import SiteName
from moyai.model.units import Instant
from moyai.store.chain import Head
from moyai.store.export import verify
from moyai.store.home import place_of
from moyai.store.log import Log
from moyai.store.migrate import migrate

GROUP = 4_096


def main() -> int:
    """Measure, print one table, and JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="an empty PostgreSQL database")
    parser.add_argument("--pair", help="another empty one, for two control planes; without it no fail-over is measured")
    parser.add_argument("--singles", type=int, default=3_000)
    parser.add_argument("--grouped", type=int, default=100_000)
    parser.add_argument("--failovers", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moyai-store-") as place:
        sqlite = Path(place) / "log.db"
        found = {"sqlite": measure(str(sqlite), chosen.singles, chosen.grouped)}
        begun = time.perf_counter()
        moved = migrate(sqlite, place_of(chosen.store))
        found["migrate"] = {"events_per_s": round(moved.events / (time.perf_counter() - begun))}
        found["postgresql"] = measure(chosen.store, chosen.singles, chosen.grouped)
        if chosen.pair:
            found["failover"] = failovers(chosen.pair, Path(place), chosen.failovers)
    found["machine"] = {"cores": os.cpu_count() or 0, "load_1m": round(os.getloadavg()[0], 1)}
    if chosen.json:
        print(json.dumps(found, indent=1))
        return 0
    for name, figures in found.items():
        print(f"{name:12}" + "  ".join(f"{key} {value}" for key, value in figures.items()))
    return 0


def chain(count: int, head: Head, epoch: int) -> list[Record]:
    """The next records of a log."""
    made: list[Record] = []
    seq, prev = head.seq, head.hash
    for _ in range(count):
        seq += 1
        body = SignalChanged(SiteName("tokyo"), Signal.PRICE, 20_000_000 + seq)
        made.append(seal(Draft(body, Origin.OUTSIDE), seq, prev, Instant(1_700_000_000_000_000 + seq), epoch))
        prev = made[-1].hash
    return made


def measure(place: str, singles: int, grouped: int) -> dict[str, float]:
    """Commits and events per second."""
    with Log.open(place) as log:
        epoch = log.take_over()
        records = chain(singles, log.head, epoch)
        took: list[float] = []
        for record in records:
            begun = time.perf_counter()
            log.append(epoch, (record,))
            took.append(time.perf_counter() - begun)
        records = chain(grouped, log.head, epoch)
        begun = time.perf_counter()
        for at in range(0, grouped, GROUP):
            log.append(epoch, records[at : at + GROUP])
        together = grouped / (time.perf_counter() - begun)
        begun = time.perf_counter()
        events = verify(log).events
        read = events / (time.perf_counter() - begun)
    took.sort()
    return {
        "single_commits_per_s": round(singles / sum(took)),
        "single_p50_ms": round(1e3 * took[len(took) // 2], 2),
        "single_p99_ms": round(1e3 * took[len(took) * 99 // 100], 2),
        "grouped_events_per_s": round(together),
        "verified_events_per_s": round(read),
    }


class Server:
    """A control plane of the shared log."""

    def __init__(self, place: Path, store: str, keys: Path) -> None:
        self.place = place
        self._command = [sys.executable, "-m", "moyai.server", "--dir", str(place), "--keys", str(keys)]
        self._env = {**os.environ, "MOYAI_STORE": store}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it says how it stands."""
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self._command, env=self._env, stdout=quiet, stderr=quiet)
        while not self.mode():
            if self.process.poll() is not None:
                raise SystemExit(f"the control plane ended with {self.process.returncode}; see {self.place}/server.log")
            time.sleep(0.05)

    def mode(self) -> str:
        """What it says of itself; "" where it says nothing."""
        transport = httpx.HTTPTransport(uds=str(self.place / "control.sock"))
        with suppress(httpx.HTTPError, ValueError), httpx.Client(transport=transport, timeout=2) as client:
            return client.get("http://control/v1/health").json()["mode"]
        return ""

    def end(self, kill: bool) -> None:
        """End it."""
        assert self.process is not None
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait()


def failovers(store: str, place: Path, rounds: int) -> dict[str, float]:
    """Seconds from kill −9, and from SIGTERM, of the leader until the standby answers as the leader."""
    pair = [Server(place / name, store, place / "keys") for name in ("a", "b")]
    taken: dict[bool, list[float]] = {True: [], False: []}
    for server in pair:
        server.start()
    try:
        for n in range(2 * rounds):
            leader, standby = pair if pair[0].mode() == "writing" else pair[::-1]
            time.sleep(1.0 + 0.37 * (n % 4))  # at different moments of the lease
            begun = time.perf_counter()
            leader.end(kill=n < rounds)
            while standby.mode() != "writing":
                time.sleep(0.02)
            taken[n < rounds].append(time.perf_counter() - begun)
            leader.start()
    finally:
        for server in pair:
            server.end(kill=False)
    return {
        "killed_median_s": _median(taken[True]),
        "killed_max_s": round(max(taken[True]), 2),
        "ended_median_s": _median(taken[False]),
        "ended_max_s": round(max(taken[False]), 2),
    }


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 2)


if __name__ == "__main__":
    sys.exit(main())
