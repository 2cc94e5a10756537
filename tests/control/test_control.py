"""What control does on requests, reports and time: one behaviour a test."""

import pytest

from control.fleet import LEASE_US, PROJECT, TENANT, World, ended
from moyai.control import requests as r
from moyai.control.core import Refused, replay
from moyai.control.state import State, state_bytes, state_from, state_hash
from moyai.model import events as e
from moyai.model.commands import Drop, Fetch, Launch, Stop
from moyai.model.ids import AttemptId, DatasetName, JobId, ManifestId, SiteName, TextRef
from moyai.model.lifecycle import AttemptState, JobState
from moyai.model.reasons import Code, Reason
from moyai.model.workload import CheckpointRule, DatasetProfile, DataUse, JobOrder, Need, OnPartition

TOKYO, FUKUOKA, ISHIKARI = SiteName("tokyo"), SiteName("fukuoka"), SiteName("ishikari")
CKPT = CheckpointRule()


@pytest.fixture
def world() -> World:
    """Three joined sites."""
    return World()


def kinds(records) -> list[str]:
    return [record.kind for record in records]


def job_state(world: World, job: JobId) -> JobState:
    return world.control.state.jobs[job].state


def commands(world: World, site: SiteName, after: int = 0):
    return world.control.commands(site, after, world.control.state.seq)


def test_a_job_runs_and_its_books_are_kept(world: World) -> None:
    job = world.submit()
    attempt = world.run(job, "tokyo")
    world.report("tokyo", ended(attempt))
    assert job_state(world, job) is JobState.SUCCEEDED
    held = world.control.state.attempts[attempt]
    assert (held.run_us, held.energy_j, held.cost_micro_yen, held.carbon_mg) == (1_000_000, 10_800, 90_000, 1_350)
    assert not world.control.indexes.live
    assert world.control.indexes.usage.power_w(TOKYO) == 0


def test_commands_come_in_order_until_resolved(world: World) -> None:
    job = world.submit()
    attempt = world.place(job, "tokyo")
    (numbered,) = commands(world, TOKYO)
    assert isinstance(numbered.command, Launch)
    assert numbered.number == next(r.seq for r in world.records if r.kind == "AttemptIssued")
    assert commands(world, TOKYO) == (numbered,)  # again, until the site answers
    assert commands(world, TOKYO, after=numbered.number) == ()
    assert world.control.commands(TOKYO, 0, numbered.number - 1) == ()  # not durable yet
    world.report("tokyo", e.AttemptStarted(attempt, world.now, ()))
    assert commands(world, TOKYO) == ()


def test_the_same_key_is_the_same_job_and_another_body_is_refused(world: World) -> None:
    order = JobOrder("a", Need(1))
    ask = r.SubmitJob(TENANT, PROJECT, "u", "k", order, TextRef("t" * 64))
    assert kinds(world.ask(ask)) == ["JobSubmitted"]
    assert world.ask(ask) == ()
    with pytest.raises(Refused, match="used for") as refused:
        world.ask(r.SubmitJob(TENANT, PROJECT, "u", "k", JobOrder("a", Need(2)), TextRef("t" * 64)))
    assert refused.value.status == 409


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (JobOrder("a", Need(64)), "no site has a node with cpus 64"),
        (JobOrder("a", Need(1, accelerator="H100", accelerators=1)), "H100:1"),
        (JobOrder("a", Need(4), nodes=3), "nodes: 3 at once fit no site"),
        (JobOrder("a", Need(1), residency=("KR",)), "residency excludes every site"),
        (JobOrder("a", Need(1), data=(DataUse(DatasetName("corpus"), 0),)), "no dataset 'corpus'"),
    ],
)
def test_what_no_site_can_run_is_refused_at_once(world: World, order: JobOrder, says: str) -> None:
    before = state_hash(world.control.state)
    with pytest.raises(Refused, match=says):
        world.ask(r.SubmitJob(TENANT, PROJECT, "u", "k", order, TextRef("t" * 64)))
    assert state_hash(world.control.state) == before


def test_own_failures_are_retried_with_backoff_and_then_it_fails(world: World) -> None:
    job = world.submit(retries=1)
    first = world.run(job, "tokyo")
    world.report("tokyo", ended(first, e.Outcome.FAILED, found=3))
    assert job_state(world, job) is JobState.PENDING
    assert world.control.state.jobs[job].not_before == world.now + 1_000_000
    assert world.place(job, "tokyo") == first  # not due: the placement was stale
    world.wait(1_000_000)
    assert world.control.needs_plan
    second = world.run(job, "fukuoka")
    assert second == AttemptId(f"{job}.2")
    world.report("fukuoka", ended(second, e.Outcome.FAILED, found=3))
    assert job_state(world, job) is JobState.FAILED
    assert world.control.state.jobs[job].reason == Reason(Code.EXIT, found=3)


def test_a_site_that_fails_to_launch_costs_no_retry_and_is_avoided(world: World) -> None:
    job = world.submit()
    attempt = world.place(job, "tokyo")
    world.report("tokyo", ended(attempt, e.Outcome.FAILED, Code.LAUNCH_FAILED))
    _, queue = world.control.snapshot(world.now)
    assert queue[0].avoid == (TOKYO,)
    assert world.control.state.jobs[job].own_failures == 0


def test_cancel_in_every_state(world: World) -> None:
    waiting = world.submit("waiting")
    world.ask(r.CancelJob("u", waiting))
    assert job_state(world, waiting) is JobState.CANCELLED
    running = world.submit("running")
    attempt = world.run(running, "tokyo")
    world.ask(r.CancelJob("u", running))
    assert job_state(world, running) is JobState.CANCELLING
    assert world.ask(r.CancelJob("u", running)) == ()
    assert any(isinstance(n.command, Stop) for n in commands(world, TOKYO))
    world.report("tokyo", ended(attempt, e.Outcome.STOPPED, Code.CANCELLED))
    assert job_state(world, running) is JobState.CANCELLED
    assert commands(world, TOKYO) == ()


def test_a_cancel_that_races_with_a_success_keeps_the_result(world: World) -> None:
    job = world.submit()
    attempt = world.run(job, "tokyo")
    world.ask(r.CancelJob("u", job))
    world.report("tokyo", ended(attempt))
    assert job_state(world, job) is JobState.SUCCEEDED


def test_a_stopped_launch_is_never_sent_again(world: World) -> None:
    job = world.submit()
    world.place(job, "tokyo")
    world.ask(r.CancelJob("u", job))
    assert [type(n.command) for n in commands(world, TOKYO)] == [Stop]


def test_a_lost_site_gives_its_work_back_only_after_the_lease(world: World) -> None:
    job = world.submit()
    first = world.run(job, "tokyo")
    for _ in range(3):  # the others renew, tokyo is silent
        world.wait(LEASE_US // 4)
        world.report("fukuoka")
        world.report("ishikari")
    assert job_state(world, job) is JobState.ACTIVE
    world.wait(LEASE_US // 2)
    assert world.control.state.sites[TOKYO].lost
    assert world.control.state.attempts[first].state is AttemptState.LOST
    assert job_state(world, job) is JobState.PENDING
    assert not world.control.state.sites[FUKUOKA].lost
    assert commands(world, TOKYO) == ()
    second = world.run(job, "fukuoka")
    world.report("fukuoka", ended(second))
    assert job_state(world, job) is JobState.SUCCEEDED


def test_late_success_of_the_newest_attempt_counts_an_older_ones_does_not(world: World) -> None:
    kept, again = world.submit("kept"), world.submit("again")
    late = world.run(kept, "tokyo")
    old = world.run(again, "tokyo")
    world.wait(2 * LEASE_US)
    for site in (FUKUOKA, TOKYO):
        world.join(site, "one")
    newer = world.run(again, "fukuoka")
    world.report("tokyo", ended(late), ended(old))
    assert job_state(world, kept) is JobState.SUCCEEDED
    assert job_state(world, again) is JobState.ACTIVE
    world.report("fukuoka", ended(newer, e.Outcome.FAILED, found=1))
    assert job_state(world, again) is JobState.FAILED


def test_wait_on_partition_needs_an_operators_word(world: World) -> None:
    job = world.submit(on_partition=OnPartition.WAIT)
    attempt = world.run(job, "tokyo")
    world.wait(2 * LEASE_US)
    assert world.control.state.attempts[attempt].state is AttemptState.RUNNING
    assert world.control.why(job, world.now).reason.code is Code.UNREACHABLE
    world.ask(r.DeclareSiteDead("op", TOKYO))
    assert job_state(world, job) is JobState.PENDING


def test_a_new_incarnation_waits_for_the_old_ones_lease(world: World) -> None:
    with pytest.raises(Refused) as refused:
        world.join(TOKYO, "two")
    assert refused.value.status == 409
    assert refused.value.retry_after_us > 0
    world.wait(2 * LEASE_US)
    assert world.join(TOKYO, "two").term == 2


def test_repeated_and_foreign_reports_change_nothing(world: World) -> None:
    job = world.submit()
    attempt = world.run(job, "tokyo")
    world.report("fukuoka", ended(attempt))
    assert world.records[-1].body == e.ReportRefused(
        FUKUOKA, "AttemptEnded", Reason(Code.NOT_ITS_SITE, subject=attempt, detail="tokyo")
    )
    world.report("tokyo", ended(AttemptId("ghost-0000000000.1")))
    assert isinstance(world.records[-1].body, e.ReportRefused)
    world.report("tokyo", ended(attempt), ended(attempt))
    assert kinds(world.records[-3:]) == ["AttemptEnded", "JobEnded", "ReportRefused"]
    assert job_state(world, job) is JobState.SUCCEEDED


def test_reports_out_of_order_or_again_are_dropped_and_the_ack_says_how_far(world: World) -> None:
    from moyai.model.exchange import Batch, Report

    job = world.submit()
    attempt = world.place(job, "tokyo")
    first = Report(1, world.now, "AttemptStarted", e.AttemptStarted(attempt, world.now, ()))
    second = Report(2, world.now, "AttemptEnded", ended(attempt))
    send = lambda *rs: world.control.reports(TOKYO, Batch("one", 1, rs), world.now, world.boot)  # noqa: E731
    assert send(second)[1].through == 0
    assert send(first)[1].through == 1
    assert send(first, second)[1].through == 2
    assert send(first, second) == ((), send()[1])


def test_a_checkpoint_becomes_safe_old_ones_go_and_it_is_resumed(world: World) -> None:
    job = world.submit(checkpoint=CKPT)
    attempt = world.run(job, "tokyo")
    one, two = ManifestId("1" * 64), ManifestId("2" * 64)
    world.report("tokyo", e.CheckpointCompleted(attempt, "s1", one, 1_000, 5_000_000))
    (fetch,) = [n.command for n in commands(world, FUKUOKA) if isinstance(n.command, Fetch)]
    assert (fetch.source, fetch.manifest) == (TOKYO, one)
    world.report("fukuoka", e.TransferEnded(fetch.transfer, True, 1_000, 10, ""))
    assert world.control.state.jobs[job].moved_bytes == 1_000
    world.report("tokyo", e.CheckpointCompleted(attempt, "s2", two, 1_000, 9_000_000))
    assert not [n for n in commands(world, TOKYO) if isinstance(n.command, Drop)]  # the newest is not safe yet
    (fetch,) = [n.command for n in commands(world, FUKUOKA) if isinstance(n.command, Fetch)]
    world.report("fukuoka", e.TransferEnded(fetch.transfer, True, 1_000, 10, ""))
    assert {s for s in (TOKYO, FUKUOKA) for n in commands(world, s) if n.command == Drop(one)} == {TOKYO, FUKUOKA}
    world.report("tokyo", e.ReplicaDropped(one, TOKYO))
    world.report("fukuoka", e.ReplicaDropped(one, FUKUOKA))
    assert one not in world.control.state.manifests
    world.wait(2 * LEASE_US)
    world.join(FUKUOKA, "one")
    world.join(ISHIKARI, "one")
    _, queue = world.control.snapshot(world.now)
    ((view, covered),) = queue[0].resumes
    assert (view.sites, covered) == ((FUKUOKA,), 9_000_000)
    world.place(job, "ishikari", restore=two, covered_us=9_000_000)
    fetch, launch = [n.command for n in commands(world, ISHIKARI)]  # it was on its way there already, to be safe
    assert isinstance(launch, Launch)
    assert launch.restore == two
    assert isinstance(fetch, Fetch)
    assert fetch.source == FUKUOKA


def test_an_attempt_whose_data_is_gone_is_given_up_and_queued_again(world: World) -> None:
    job = world.submit(checkpoint=CKPT)
    attempt = world.run(job, "tokyo")
    one = ManifestId("1" * 64)
    world.report("tokyo", e.CheckpointCompleted(attempt, "s1", one, 1_000, 5_000_000))
    world.report("tokyo", ended(attempt, e.Outcome.STOPPED, Code.PREEMPTED))
    second = world.place(job, "ishikari", restore=one, covered_us=5_000_000)
    world.ask(r.DeclareSiteDead("op", TOKYO))
    for n in commands(world, ISHIKARI):
        if isinstance(n.command, Fetch):
            world.report("ishikari", e.TransferEnded(n.command.transfer, False, 0, 1, "gone"))
    (stop,) = [n.command for n in commands(world, ISHIKARI)]
    assert stop == Stop(second, Reason(Code.DATA_LOST, subject=one))
    world.report("ishikari", ended(second, e.Outcome.STOPPED, Code.DATA_LOST))
    assert job_state(world, job) is JobState.PENDING


def test_datasets_are_adopted_by_version_and_bind_their_jobs(world: World) -> None:
    name = DatasetName("corpus")
    profile = DatasetProfile(name, 0, ("JP-40",), ("training",))
    ask = r.RegisterDataset(TENANT, PROJECT, "u", "d1", profile, FUKUOKA, TextRef("d" * 64))
    assert kinds(world.ask(ask)) == ["DatasetRegistered"]
    assert world.ask(ask) == ()
    with pytest.raises(Refused, match="may only be in JP-40"):
        world.ask(r.RegisterDataset(TENANT, PROJECT, "u", "d2", profile, TOKYO, TextRef("d" * 64)))
    world.report("fukuoka", e.DatasetAdopted(name, 1, FUKUOKA, ManifestId("9" * 64), 10))
    with pytest.raises(Refused, match="may not be used for"):
        world.submit("thief", data=(DataUse(name, 0, "resale"),))
    job = world.submit("reader", data=(DataUse(name, 0, "training"),))
    _, queue = world.control.snapshot(world.now)
    assert queue[0].restricted == (("corpus@1", ("JP-40",)),)
    assert queue[0].data[0].sites == (FUKUOKA,)
    world.submit("other")
    with pytest.raises(AssertionError):
        world.place(job, "tokyo")  # outside its residency: dropped, never issued
    assert world.control.dropped[0].code is Code.STALE


def test_a_plan_can_not_put_more_on_a_node_than_it_holds(world: World) -> None:
    jobs = [world.submit(f"j{n}") for n in range(6)]
    for job in jobs[:4]:
        world.place(job, "tokyo")
    with pytest.raises(AssertionError):
        world.place(jobs[4], "tokyo")
    assert world.control.dropped[0].detail == "tokyo has no room for it"
    world.place(jobs[4], "tokyo", node=1)


def test_fleet_and_signals(world: World) -> None:
    before = world.control.state.sites[TOKYO].profile
    assert world.ask(r.DeclareFleet("op", (before,), ())) == ()
    world.ask(r.ChangeSignal("op", TOKYO, e.Signal.PRICE, 99))
    assert world.control.state.sites[TOKYO].profile.price_micro_yen_per_kwh == 99
    with pytest.raises(Refused, match="there is no site 'tokio'") as refused:
        world.ask(r.DrainSite("op", SiteName("tokio"), draining=True))
    assert "tokyo" in refused.value.hint


def test_replay_and_checkpoint_give_the_same_state(world: World) -> None:
    job = world.submit(checkpoint=CKPT)
    attempt = world.run(job, "tokyo")
    world.report("tokyo", e.CheckpointCompleted(attempt, "s1", ManifestId("1" * 64), 1_000, 5_000_000))
    middle, seq = state_bytes(world.control.state), world.control.state.seq
    world.report("tokyo", ended(attempt))
    world.submit("next")
    whole = replay(State(), world.records)
    assert state_hash(whole) == state_hash(world.control.state)
    tail = replay(state_from(middle), [x for x in world.records if x.seq > seq])
    assert state_hash(tail) == state_hash(world.control.state)


def test_a_stopping_attempt_is_expected_to_end_within_its_grace(world: World) -> None:
    job = world.submit(checkpoint=CheckpointRule(grace_us=5_000_000))
    world.run(job, "tokyo")
    world.ask(r.CancelJob("u", job))
    snapshot, _ = world.control.snapshot(world.now)
    (busy,) = snapshot.busy
    assert (busy.end, busy.preemptible, busy.grace_us) == (world.now + 5_000_000, False, 5_000_000)


def test_a_site_alone_keeps_the_newest_checkpoint_only(world: World) -> None:
    for other in ("fukuoka", "ishikari"):
        world.ask(r.DeclareSiteDead("op", SiteName(other)))
    job = world.submit(checkpoint=CKPT)
    attempt = world.run(job, "tokyo")
    for number in (1, 2, 3):
        world.report("tokyo", e.CheckpointCompleted(attempt, f"s{number}", ManifestId(str(number) * 64), 10, number))
    dropped = [n.command for n in commands(world, TOKYO) if isinstance(n.command, Drop)]
    assert dropped == [Drop(ManifestId("1" * 64)), Drop(ManifestId("2" * 64))]
