"""Any sequence of requests, reports, silences and words of an operator keeps what must always hold.

Every move is checked against the lifecycle tables by `apply` itself, which raises BrokenInvariant on one they lack.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.fleet import LEASE_US, SITES, World, ended
from moyai.control import requests as r
from moyai.control.core import Refused, replay
from moyai.control.snapshot import Seen, snapshot
from moyai.control.state import Indexes, State, state_bytes, state_from, state_hash
from moyai.model import events as e
from moyai.model.ids import AttemptId, ManifestId, SiteName
from moyai.model.lifecycle import ATTEMPT_LIVE, JOB_ENDED, AttemptState, JobState
from moyai.model.reasons import Code
from moyai.model.workload import CheckpointRule, OnPartition

SITE = st.sampled_from(SITES)
PICK = st.integers(0, 5)
STEP = st.one_of(
    st.tuples(st.just("submit"), st.booleans(), st.booleans(), st.integers(0, 2)),
    st.tuples(st.just("place"), PICK, SITE),
    st.tuples(st.just("started"), PICK, SITE),
    st.tuples(
        st.just("ended"),
        PICK,
        SITE,
        st.sampled_from(list(e.Outcome)),
        st.sampled_from([Code.EXIT, Code.LAUNCH_FAILED, Code.PREEMPTED, Code.LEASE_EXPIRED, Code.ERASED]),
    ),
    st.tuples(st.just("checkpoint"), PICK, SITE),
    st.tuples(st.just("fetched"), SITE, st.booleans()),
    st.tuples(st.just("dropped"), SITE),
    st.tuples(st.just("cancel"), PICK),
    st.tuples(st.just("wait"), st.sampled_from([LEASE_US // 3, LEASE_US * 2])),
    st.tuples(st.just("join"), SITE, st.sampled_from(["one", "two"])),
    st.tuples(st.just("dead"), SITE),
)


def pick(items, index: int):
    items = sorted(items)
    return items[index % len(items)] if items else None


def step(world: World, action) -> None:
    state = world.control.state
    match action:
        case ("submit", checkpoint, wait, retries):
            world.submit(
                f"j{len(state.jobs)}",
                checkpoint=CheckpointRule() if checkpoint else None,
                on_partition=OnPartition.WAIT if wait else OnPartition.STOP,
                retries=retries,
            )
        case ("place", index, site):
            job = pick(world.control.indexes.pending, index)
            if job is not None:
                held = state.jobs[job].checkpoints
                try:
                    world.place(job, site, index % 2, held[-1].manifest if held else None)
                except AssertionError:
                    assert world.control.dropped  # refused with a reason, before the job's first attempt
        case ("started", index, site):
            attempt = pick(state.attempts, index)
            if attempt is not None:
                world.report(site, e.AttemptStarted(attempt, world.now, ()))
        case ("ended", index, site, outcome, code):
            attempt = pick(state.attempts, index) or AttemptId("ghost-0000000000.1")
            world.report(site, ended(attempt, outcome, code))
        case ("checkpoint", index, site):
            attempt = pick(state.attempts, index)
            if attempt is not None:
                manifest = ManifestId(f"{state.seq:064d}")
                world.report(site, e.CheckpointCompleted(attempt, f"s{state.seq}", manifest, 10, state.seq))
        case ("fetched", site, stored):
            for transfer in [t.transfer for t in state.transfers.values() if t.target == site]:
                world.report(site, e.TransferEnded(transfer, stored, 10, 5, ""))
        case ("dropped", site):
            for manifest in [m for m, held in state.manifests.items() if site in held.dropping]:
                world.report(site, e.ReplicaDropped(manifest, SiteName(site)))
        case ("cancel", index):
            job = pick(state.jobs, index)
            if job is not None:
                world.ask(r.CancelJob("u", job))
        case ("wait", us):
            world.wait(us)
        case ("join", site, incarnation):
            try:
                world.join(SiteName(site), incarnation)
            except Refused as refused:
                if refused.status != 409:  # another incarnation holds the lease
                    raise
        case ("dead", site):
            world.ask(r.DeclareSiteDead("op", SiteName(site)))


def check(world: World) -> None:
    control, state = world.control, world.control.state
    fresh = Indexes(state)
    assert set(fresh.pending) == set(control.indexes.pending)
    assert set(fresh.live) == set(control.indexes.live)
    assert set(fresh.data_jobs) == set(control.indexes.data_jobs)
    assert fresh.ended == control.indexes.ended
    assert fresh.usage.held() == control.indexes.usage.held()
    for name, site in state.sites.items():
        assert fresh.usage.power_w(name) == control.indexes.usage.power_w(name)
        for flavor in site.profile.flavors:
            for index in range(flavor.count):
                use = control.indexes.usage.node(name, flavor.name, index)
                assert use == fresh.usage.node(name, flavor.name, index)
                assert 0 <= use.cores <= flavor.cores
        for numbered in control.commands(name, 0, state.seq):
            assert numbered.number <= state.seq
    for job in state.jobs.values():
        live = [a for a in control.indexes.live if state.attempts[a].job == job.job]
        assert len(live) <= 1
        assert bool(live) == (job.state in (JobState.ACTIVE, JobState.CANCELLING))
        if live:
            assert live[0] == job.newest
        won = [a for a in state.attempts.values() if a.job == job.job and a.state is AttemptState.SUCCEEDED]
        if job.state is JobState.SUCCEEDED:
            assert any(a.attempt == job.newest for a in won)
        if job.state in JOB_ENDED:
            assert job.reason is not None
    for attempt in state.attempts.values():
        assert (attempt.state in ATTEMPT_LIVE) == (attempt.reason is None)
    commits = [rec.body.job for rec in world.records if isinstance(rec.body, e.JobEnded)]
    assert len(commits) == len(set(commits))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, min_size=10, max_size=80))
def test_what_must_always_hold(actions) -> None:
    world = World()
    half, seq = state_bytes(world.control.state), world.control.state.seq
    seen = Seen()
    for number, action in enumerate(actions):
        step(world, action)
        looked = snapshot(world.control.state, world.control.indexes, world.now, seen)
        assert looked == snapshot(world.control.state, world.control.indexes, world.now)
        again = snapshot(world.control.state, world.control.indexes, world.now, seen)
        assert all(a is b for a, b in zip(looked[1], again[1], strict=True))
        if number == len(actions) // 2:
            half, seq = state_bytes(world.control.state), world.control.state.seq
    check(world)
    final = state_hash(world.control.state)
    assert state_hash(replay(State(), world.records)) == final
    assert state_hash(replay(state_from(half), [rec for rec in world.records if rec.seq > seq])) == final
