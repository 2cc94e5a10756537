"""Real processes under random kills: a server, the agents of four sites, and many short jobs.

`python tests/engines/faults/soak.py --jobs 10000 --minutes 10` is the long form; `test_kills.py` runs a short one.
What must hold in the end: every job ended once and well, no attempt ran twice, the log verifies and agrees with the
tables, a replay gives the same state, and `why` of each job can be told.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[2]))

from moyai.control.core import Control, replay
from moyai.control.lease import LeaseTable
from moyai.control.state import State
from moyai.model.ids import JobId, job_of
from moyai.store.log import LOG_FILE, Log
from moyai.twin.invariants import of_jobs, of_log
from server.process import Server

SITES = ("ishikari", "tokyo", "osaka", "fukuoka")
LEASE_S = 6
_SITE = """
  - name: {name}
    jurisdiction: {code}
    latitude: 35
    longitude: 139
    price_yen_per_kwh: {price}
    carbon_g_per_kwh: 440
    synthetic: true
    flavors: [{{name: standard, count: 4, cpus: 16, memory: 16GiB, idle_w: 60, peak_w: 220}}]
"""
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(slots=True)
class Told:
    """What a soak did and found."""

    jobs: int
    seconds: float
    agents_killed: int = 0
    leaders_killed: int = 0
    attempts: int = 0
    events: int = 0
    findings: tuple[str, ...] = ()


def fleet() -> str:
    """Four sites of 64 cores each, every one linked to every other."""
    sites = "".join(
        _SITE.format(name=name, code=f"JP-{code}", price=price)
        for name, code, price in zip(SITES, ("01", "13", "27", "40"), (22, 31, 29, 24), strict=True)
    )
    links = "".join(
        f"  - {{between: [{a}, {b}], bandwidth: 1Gbit/s, latency: 9ms}}\n"
        for i, a in enumerate(SITES)
        for b in SITES[i + 1 :]
    )
    return f"lease: {LEASE_S}s\nsites:{sites}links:\n{links}"


class Soak:
    """One run. `kill_every_s`: the mean pause between two kills."""

    def __init__(self, jobs: int, seconds: float, seed: int, kill_every_s: float, length: float = 1.0) -> None:
        self._rng = random.Random(seed)
        self._jobs = jobs
        self._until = time.monotonic() + seconds
        self._kill_every_s = kill_every_s
        self._length = length  # of the jobs, in units of 1.5 s
        self._next = time.monotonic() + kill_every_s
        self.server = Server(Path(tempfile.mkdtemp(prefix="soak", dir="/tmp")))
        self._marks = self.server.root / "marks"
        self.told = Told(jobs, seconds)

    def run(self) -> Told:
        """Do it all; everything is gone afterwards but what was found."""
        began = time.monotonic()
        try:
            self._marks.mkdir(parents=True)
            (self.server.root / "given.yaml").write_text(fleet())
            self._start("--fleet", str(self.server.root / "given.yaml"))
            names = self._submit_all()
            while time.monotonic() < self._until and self._open(names):
                time.sleep(self._rng.uniform(0.2, 1.8) * self._kill_every_s)
                self._kill()
            self._drain(names)
            self.told.findings = tuple(self._findings(names))
            self.told.seconds = time.monotonic() - began
            return self.told
        finally:
            self.server.destroy()

    def _start(self, *more: str) -> None:
        self.server.start(*more, local=False)

    def _submit_all(self) -> list[str]:
        """Every job adds the name of its attempt to its site's file, in one write, and sleeps a little."""
        names: list[str] = []
        for i in range(self._jobs):
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + self._rng.uniform(0.2, 1.8) * self._kill_every_s
                self._kill()
            span = self._rng.choice((0.1, 0.5, 1, 2, 4)) * self._length
            run = f'echo "$MOYAI_ATTEMPT" >> {self._marks}/$MOYAI_SITE; sleep {span}'
            names.append(self._insist(f"j{i}", run, span))
        return names

    def _insist(self, key: str, run: str, span: float) -> str:
        """Submit under one key until it is taken: a request whose answer is lost may come again."""
        while True:
            try:
                return self.server.submit(run, key, expect=f"{max(span, 1):.0f}s", retries=3)["job"]
            except httpx.TransportError:
                self.server.forget()
            except AssertionError as error:
                if "503" not in str(error):
                    raise
            time.sleep(0.2)

    def _states(self) -> Counter[str]:
        health = self.server.get("/v1/health")
        return Counter(pending=health["jobs_pending"], running=health["attempts_running"])

    def _open(self, names: list[str]) -> bool:
        try:
            return sum(self._states().values()) > 0
        except httpx.TransportError:
            self.server.forget()
            return True

    def _kill(self) -> None:
        """An agent four times of five, else the leader; the server starts dead agents again, we the server."""
        if self._rng.random() < 0.8:
            site = self._rng.choice(SITES)
            pid = _agent(self.server.root / "sites" / site)
            if pid:
                with suppress(ProcessLookupError):  # the next one hasn't come yet
                    os.kill(pid, signal.SIGKILL)
                    self.told.agents_killed += 1
            return
        self.server.kill()
        self.told.leaders_killed += 1
        self._start()

    def _drain(self, names: list[str]) -> None:
        end = time.monotonic() + 120 + len(names) / 10
        while self._open(names):
            if time.monotonic() > end:
                raise AssertionError(f"jobs are left: {self._states()}; {self.server.root}/server.log")
            time.sleep(0.5)

    def _findings(self, names: list[str]) -> Iterator[str]:
        assert self.server.stop() == 0
        with Log.open(self.server.root / LOG_FILE, read_only=True) as log:
            records = list(log.read())
        state = replay(State(), records)
        control = Control(state, 1, LeaseTable(LEASE_S * 1_000_000))
        self.told.events, self.told.attempts = len(records), len(state.attempts)
        yield from of_log(records)
        yield from of_jobs(control, [JobId(name) for name in names])
        ran = Counter(line for file in self._marks.iterdir() for line in file.read_text().split())
        for attempt, times in sorted(ran.items()):
            if times > 1:
                yield f"{attempt} ran {times} times"
        of_job = Counter(job_of(attempt) for attempt in ran)
        for name in names:
            job = state.jobs.get(JobId(name))
            if job is not None and job.state not in ENDED:
                yield f"{name} is {job.state}"
            elif job is not None and job.state == "succeeded" and not of_job[JobId(name)]:
                yield f"{name} succeeded and never ran"
            elif job is not None and job.state != "succeeded":
                yield f"{name} {job.state}: {job.reason}"


def _agent(place: Path) -> int:
    try:
        return int((place / "agent.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def main() -> int:
    """Run one soak and print what it found; 1 where it found anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kill-every", type=float, default=5, metavar="SECONDS")
    chosen = parser.parse_args()
    told = Soak(chosen.jobs, chosen.minutes * 60, chosen.seed, chosen.kill_every, length=10.0).run()
    print(json.dumps(asdict(told), indent=2))
    return 1 if told.findings else 0


if __name__ == "__main__":
    sys.exit(main())
