"""What a real log tells: what came from outside, what jobs really took, and the figures of how it went."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from moyai.control.apply import apply
from moyai.control.state import Attempt, Indexes, Job, State
from moyai.model import events as e
from moyai.model.envelope import Origin, Record
from moyai.model.ids import AttemptId, JobId, SiteName
from moyai.model.lifecycle import JOB_ENDED, AttemptState, JobState
from moyai.model.reasons import Code
from moyai.model.site import SiteProfile
from moyai.model.units import MICROS_PER_SECOND, Instant
from moyai.model.workload import Need
from moyai.twin.engine import Work
from moyai.twin.replay.meter import Meter
from moyai.twin.replay.outcome import Outcome
from moyai.twin.replay.rows import job_rows
from moyai.twin.replay.setup import Setup
from moyai.twin.whatif.reading import NoLog

ALWAYS = 1_000_000
"""Attempts that fail of a job that never ended well."""
SAMPLES = 400


@dataclass(slots=True)
class Told:
    """A whole log: its outside events in order, and the state at its end."""

    began: Instant
    ended: Instant
    state: State
    outside: list[Record] = field(default_factory=list[Record])
    checkpoints: dict[JobId, list[int]] = field(default_factory=dict[JobId, list[int]])  # run time that each covers
    saved_bytes: dict[JobId, int] = field(default_factory=dict[JobId, int])  # of the newest
    files: dict[tuple[JobId, str], int] = field(default_factory=dict[tuple[JobId, str], int])  # bytes

    @property
    def sample_every_us(self) -> int:
        """A step that makes about SAMPLES of the whole log."""
        return max(MICROS_PER_SECOND // 10, (self.ended - self.began) // SAMPLES)


def told(records: Iterable[Record]) -> Told:
    """Everything that a log tells. Raises NoLog where nothing is in it, BrokenInvariant where it can't be."""
    state = State()
    indexes = Indexes(state)
    found: Told | None = None
    for record in records:
        if found is None:
            found = Told(record.recorded_at, record.recorded_at, state)
        apply(state, indexes, record)
        found.ended = record.recorded_at
        if record.origin is Origin.OUTSIDE:
            found.outside.append(record)
        match record.body:
            case e.CheckpointCompleted():
                job = state.attempts[record.body.attempt].job
                found.checkpoints.setdefault(job, []).append(record.body.covered_us)
                found.saved_bytes[job] = record.body.size_bytes
            case e.FileStored():
                job = state.attempts[record.body.attempt].job
                found.files[job, record.body.file] = record.body.size_bytes
            case _:
                pass
    if found is None:
        raise NoLog("the log is empty: there is nothing to replay")
    return found


def tries_of(state: State) -> dict[JobId, list[Attempt]]:
    """The attempts of each job, the first one first."""
    tries: dict[JobId, list[Attempt]] = {}
    for attempt in sorted(state.attempts.values(), key=lambda attempt: attempt.ordinal):
        tries.setdefault(attempt.job, []).append(attempt)
    return tries


def work_of(found: Told, job: Job, tries: list[Attempt], usual_us: int) -> tuple[Work, bool]:
    """What a job really does, as far as the log shows it; and whether its run time was seen to its end.

    Where it wasn't, it is what its user expected, else `usual_us`, but no less than twice what it ran.
    """
    covered = found.checkpoints.get(job.job, [])
    steps = [b - a for a, b in zip([0, *covered], covered, strict=False) if b > a]
    every_us = int(statistics.median(steps)) if steps else 0
    size = found.saved_bytes.get(job.job, 0)
    files = tuple((file, size_bytes) for (owner, file), size_bytes in found.files.items() if owner == job.job)

    def work(total_us: int, failing: int = 0) -> Work:
        return Work(max(total_us, 1_000), failing, every_us, size, files)

    failed = [a for a in tries if a.state is AttemptState.FAILED and _own(a)]
    won = next((a for a in tries if a.state is AttemptState.SUCCEEDED), None)
    if won is not None:
        # Attempts that failed by themselves will do so again, the first ones: by which ordinal is all that is known.
        return work(won.covered_us + won.run_us, len(failed)), True
    over = next((a for a in tries if a.reason is not None and a.reason.code is Code.TIME_LIMIT), None)
    if over is not None:
        return work(2 * max(job.order.limit_us, over.run_us)), True
    if job.state is JobState.FAILED and failed:
        last = failed[-1]
        return work(last.covered_us + 2 * last.run_us, ALWAYS), True  # a failing run ends half-way
    ran = max((a.covered_us + _ran_us(found, a) for a in tries), default=0)
    # It was cut short: of how much, nothing is known but that what ran long runs on long.
    return work(max(job.order.expect_us or usual_us, 2 * ran)), False


def _own(attempt: Attempt) -> bool:
    return attempt.reason is None or attempt.reason.code not in e.INFRASTRUCTURE


def _ran_us(found: Told, attempt: Attempt) -> int:
    if attempt.run_us or not attempt.started_at:
        return attempt.run_us
    return (attempt.ended_at or found.ended) - attempt.started_at


def usual_us(state: State) -> int:
    """The median run time of the attempts that ended well; a minute where none did."""
    runs = [a.run_us for a in state.attempts.values() if a.state is AttemptState.SUCCEEDED]
    return int(statistics.median(runs)) if runs else 60 * MICROS_PER_SECOND


def recorded(found: Told, setup: Setup, records: Iterable[Record]) -> Outcome:
    """How it really went, in the figures of a replay. `setup` is the one that was made of the same log, unchanged.

    Times of plans and gaps aren't in a log. Power is modelled, as in a replay.
    """
    return _Tape(found, setup).play(records)


class _Tape:
    """A log that is read again, to see what was held and drawn at each moment."""

    def __init__(self, found: Told, setup: Setup) -> None:
        self.found, self.setup = found, setup
        began = setup.began
        due = sorted((a.order.deadline - began, a.job) for a in setup.arrivals if a.order.deadline is not None)
        self.state = State()
        self.indexes = Indexes(self.state)
        last_us = max((arrival.at_us for arrival in setup.arrivals), default=0)
        self.meter = Meter(setup.profiles, last_us, setup.sample_every_us, lambda: len(self.indexes.pending), due)
        self.known = {profile.name for profile in setup.profiles}
        self.up: set[SiteName] = set()
        self.held: dict[AttemptId, tuple[SiteName, Need, int]] = {}
        self.runs: dict[AttemptId, tuple[SiteName, int]] = {}
        self.wan_bytes = 0
        for name in self.known:
            self.meter.lost(name)

    def play(self, records: Iterable[Record]) -> Outcome:
        """Everything, from the first record to the last."""
        setup, meter = self.setup, self.meter
        events = 0
        for record in records:
            meter.advance(max(meter.total.at_us, record.recorded_at - setup.began))
            apply(self.state, self.indexes, record)
            self._see(record.body)
            events += 1
        kept = meter.kept
        return Outcome(
            setup=setup.name,
            policy="recorded",
            seed=0,
            jobs=job_rows(setup, self.state, ()),
            samples=tuple(s for s in meter.samples if s.at_us <= kept.at_us),
            plan_s=(),
            gaps=(),
            wall_s=0.0,
            events=events,
            head=self.state.head_hash,
            peak_w=meter.peak_w,
            wan_bytes=self.wan_bytes,
            span_us=kept.at_us,
            feed_energy_j=kept.energy_j,
            idle_energy_j=kept.idle_j,
            idle_micro_yen=kept.idle_micro_yen,
            idle_carbon_mg=kept.idle_carbon_mg,
            held_us=kept.held_us,
            units_us=kept.units_us,
        )

    def _see(self, body: e.EventBody) -> None:
        meter = self.meter
        match body:
            case e.SiteJoined():
                if body.site in self.known and body.site not in self.up:
                    self.up.add(body.site)
                    meter.back(body.site)
            case e.SiteLost():
                if body.site in self.up:
                    self.up.discard(body.site)
                    meter.lost(body.site)
            case e.SignalChanged():
                if body.site in self.known:
                    meter.change(body.site, body.signal, body.value)
            case e.AttemptIssued():
                place = body.placement
                need = self.state.jobs[self.state.attempts[body.attempt].job].order.need
                if place.site in self.known:
                    self.held[body.attempt] = (place.site, need, len(place.nodes))
                    meter.hold(place.site, need, len(place.nodes))
            case e.AttemptStarted():
                held = self.held.get(body.attempt)
                if held is not None and body.attempt not in self.runs:
                    power_w = self.state.attempts[body.attempt].placement.power_w
                    self.runs[body.attempt] = (held[0], power_w)
                    meter.run(held[0], power_w)
            case e.AttemptEnded() | e.AttemptLost():
                self._leave(body.attempt)
            case e.TransferEnded():
                self.wan_bytes += body.moved_bytes
            case e.JobSubmitted():
                meter.keep()
            case e.JobEnded():
                job = self.state.jobs[body.job]
                if body.state is JobState.SUCCEEDED and job.order.deadline and job.ended_at <= job.order.deadline:
                    meter.on_time(body.job)
                meter.keep()
            case _:
                pass

    def _leave(self, attempt: AttemptId) -> None:
        run = self.runs.pop(attempt, None)
        if run is not None:
            self.meter.run(run[0], run[1], -1)
        held = self.held.pop(attempt, None)
        if held is not None:
            self.meter.hold(held[0], held[1], -held[2])


def last_profiles(found: Told) -> dict[SiteName, SiteProfile]:
    """Each site that ever joined, with its nodes as last reported, and its prices and carbon as first declared."""
    first: dict[SiteName, SiteProfile] = {}
    for record in found.outside:
        if isinstance(record.body, e.SiteDeclared):
            first.setdefault(record.body.profile.name, record.body.profile)
    joined = [(name, site.profile) for name, site in sorted(found.state.sites.items()) if site.term]
    return {
        name: replace(
            last,
            price_micro_yen_per_kwh=first[name].price_micro_yen_per_kwh,
            carbon_mg_per_kwh=first[name].carbon_mg_per_kwh,
            power_cap_w=first[name].power_cap_w,
        )
        for name, last in joined
    }


def unfinished(found: Told) -> int:
    """Jobs that weren't over when the log ended."""
    return sum(job.state not in JOB_ENDED for job in found.state.jobs.values())
