"""Workflows in control: tasks wait for one another, files become datasets and go again, a failure takes what hangs on it."""

import pytest

from control.fleet import PROJECT, SITES, TENANT, World, ended
from moyai.control import requests as r
from moyai.control.core import Refused, replay
from moyai.control.flows import Flows, file_key
from moyai.control.state import Indexes, State, state_bytes, state_from, state_hash
from moyai.model import events as e
from moyai.model.ids import AttemptId, DatasetName, JobId, ManifestId, SiteName, TextRef, WorkflowId
from moyai.model.lifecycle import JOB_ENDED, JobState, WorkflowState
from moyai.model.reasons import Code, Reason
from moyai.model.workflow import TaskOrder
from moyai.model.workload import DatasetProfile, DataUse, JobOrder, Need


def task(name: str, after=(), reads=(), writes=(), keep=(), **order) -> TaskOrder:
    return TaskOrder(JobOrder(name, Need(1), **order), tuple(after), tuple(reads), tuple(writes), tuple(keep))


CHAIN = (task("split", writes=["parts"]), task("count", reads=["parts"], writes=["sums"]), task("say", reads=["sums"]))


def submit(world: World, *tasks: TaskOrder, name: str = "flow", key: str = "k") -> WorkflowId:
    texts = tuple(TextRef("t") for _ in tasks)
    records = world.ask(r.SubmitWorkflow(TENANT, PROJECT, "user:a", key, name, tasks, texts))
    body = records[0].body
    assert isinstance(body, e.WorkflowSubmitted)
    return body.workflow


def jobs(world: World, flow: WorkflowId) -> dict[str, JobId]:
    return {t.name: t.job for t in world.control.state.workflows[flow].tasks}


def manifest(flow: WorkflowId, file: str) -> ManifestId:
    return ManifestId(f"{flow}/{file}")


def finish(world: World, flow: WorkflowId, name: str, site: str, *, files: bool = True) -> AttemptId:
    """Run a task well at a site."""
    state = world.control.state
    held = next(t for t in state.workflows[flow].tasks if t.name == name)
    attempt = world.run(held.job, site)
    for file in held.writes if files else ():
        world.report(site, e.FileStored(attempt, file.name, manifest(flow, file.name), 1_000))
    world.report(site, ended(attempt))
    return attempt


def pending(world: World) -> list[str]:
    return sorted(world.control.state.jobs[j].order.name for j in world.control.indexes.pending)


def check(world: World) -> None:
    """The indexes are those of the state, and the log leads to it."""
    control = world.control
    fresh = Indexes(control.state)
    assert fresh.pending.keys() == control.indexes.pending.keys()
    assert fresh.data_jobs.keys() == control.indexes.data_jobs.keys()
    assert fresh.tasks == control.indexes.tasks
    for name in Flows.__slots__:
        if name != "touched":
            assert getattr(fresh.flows, name) == getattr(control.indexes.flows, name), name
    assert state_hash(replay(State(), world.records)) == state_hash(control.state)
    assert state_hash(state_from(state_bytes(control.state))) == state_hash(control.state)


def test_a_task_waits_for_those_before_it_and_why_says_so() -> None:
    world = World()
    flow = submit(world, *CHAIN)
    names = jobs(world, flow)
    assert pending(world) == ["split"]
    assert world.control.why(names["say"], world.now).reason == Reason(Code.WAITS_FOR, subject="count", found=1)
    finish(world, flow, "split", "tokyo")
    assert pending(world) == ["count"]
    assert world.control.why(names["count"], world.now).reason.code is Code.UNPLANNED
    check(world)
    finish(world, flow, "count", "tokyo")
    finish(world, flow, "say", "tokyo")
    held = world.control.state.workflows[flow]
    assert (held.state, held.reason) == (WorkflowState.SUCCEEDED, Reason(Code.EXIT))
    check(world)


def test_a_file_is_a_dataset_that_the_planner_sees_where_it_was_made() -> None:
    world = World()
    flow = submit(world, *CHAIN)
    finish(world, flow, "split", "tokyo")
    _, (queued,) = world.control.snapshot(world.now)
    (view,) = queued.data
    assert (view.sites, view.size_bytes, view.manifest) == ((SiteName("tokyo"),), 1_000, manifest(flow, "parts"))
    attempt = world.place(jobs(world, flow)["count"], "fukuoka")
    moved = [t for t in world.control.state.transfers.values() if t.target == "fukuoka"]
    assert [(t.manifest, t.source) for t in moved] == [(manifest(flow, "parts"), "tokyo")]
    (launch,) = [n.command for n in world.control.commands(SiteName("fukuoka"), 0, 999) if n.kind == "Launch"]
    assert launch.attempt == attempt
    assert [i.name for i in launch.inputs] == ["parts"]
    assert launch.files == ("sums",)


def test_a_file_goes_from_everywhere_once_no_task_needs_it_and_a_result_stays() -> None:
    world = World()
    flow = submit(
        world, task("make", writes=["a"]), task("one", reads=["a"], writes=["b"], keep=["b"]), task("two", reads=["a"])
    )
    finish(world, flow, "make", "tokyo")
    first = world.place(jobs(world, flow)["one"], "fukuoka")
    (move,) = world.control.state.transfers.values()
    world.report("fukuoka", e.TransferEnded(move.transfer, True, 1_000, 5, ""))
    world.report("fukuoka", e.AttemptStarted(first, world.now, ()))
    world.report("fukuoka", e.FileStored(first, "b", manifest(flow, "b"), 9), ended(first))
    assert world.control.state.manifests[manifest(flow, "a")].sites == ["fukuoka", "tokyo"]
    assert not world.control.state.manifests[manifest(flow, "a")].dropping  # "two" still reads it
    finish(world, flow, "two", "tokyo")
    assert world.control.state.manifests[manifest(flow, "a")].dropping == ["fukuoka", "tokyo"]
    check(world)
    for site in ("fukuoka", "tokyo"):
        world.report(site, e.ReplicaDropped(manifest(flow, "a"), SiteName(site)))
    assert manifest(flow, "a") not in world.control.state.manifests
    assert world.control.state.manifests[manifest(flow, "b")].sites == ["fukuoka"]
    assert world.control.state.workflows[flow].state is WorkflowState.SUCCEEDED
    check(world)


def test_a_failure_ends_what_waits_for_it_and_lets_the_rest_go_on() -> None:
    world = World()
    flow = submit(world, *CHAIN, task("apart"))
    names = jobs(world, flow)
    attempt = world.run(names["split"], "tokyo")
    world.report("tokyo", ended(attempt, e.Outcome.FAILED, found=3))
    state = world.control.state
    assert state.jobs[names["split"]].state is JobState.FAILED
    for name in ("count", "say"):
        assert state.jobs[names[name]].state is JobState.CANCELLED
        assert state.jobs[names[name]].reason == Reason(Code.UPSTREAM, subject="split")
    assert state.workflows[flow].state is WorkflowState.ACTIVE
    assert pending(world) == ["apart"]
    check(world)
    finish(world, flow, "apart", "tokyo")
    assert state.workflows[flow].state is WorkflowState.FAILED
    assert state.workflows[flow].reason == Reason(Code.UPSTREAM, subject="split")
    check(world)


def test_a_failed_task_with_retries_is_tried_again_first() -> None:
    world = World()
    flow = submit(world, task("make", writes=["a"], retries=1), task("use", reads=["a"]))
    attempt = world.run(jobs(world, flow)["make"], "tokyo")
    world.report("tokyo", ended(attempt, e.Outcome.FAILED, found=1))
    assert pending(world) == ["make"]
    world.wait(2_000_000)
    finish(world, flow, "make", "ishikari")
    assert pending(world) == ["use"]
    check(world)


def test_a_success_without_its_file_is_a_failure() -> None:
    world = World()
    flow = submit(world, *CHAIN)
    finish(world, flow, "split", "tokyo", files=False)
    job = world.control.state.jobs[jobs(world, flow)["split"]]
    assert job.state is JobState.FAILED
    assert job.reason is not None
    assert (job.reason.code, job.reason.subject) == (Code.NO_OUTPUT, "parts")
    check(world)


def test_cancel_ends_all_tasks() -> None:
    world = World()
    flow = submit(world, *CHAIN, task("apart"))
    attempt = world.run(jobs(world, flow)["split"], "tokyo")
    world.ask(r.CancelWorkflow("user:b", flow))
    state = world.control.state
    assert state.workflows[flow].state is WorkflowState.CANCELLING
    assert not world.control.indexes.pending
    assert world.ask(r.CancelWorkflow("user:b", flow)) == ()
    world.report("tokyo", ended(attempt, e.Outcome.STOPPED, Code.CANCELLED))
    assert state.workflows[flow].state is WorkflowState.CANCELLED
    assert state.workflows[flow].reason == Reason(Code.CANCELLED, subject="user:b")
    assert all(state.jobs[j].state in JOB_ENDED for j in jobs(world, flow).values())
    check(world)


def test_a_cancelled_task_fails_its_workflow() -> None:
    world = World()
    flow = submit(world, *CHAIN)
    world.ask(r.CancelJob("user:a", jobs(world, flow)["count"]))
    finish(world, flow, "split", "tokyo")
    assert world.control.state.workflows[flow].state is WorkflowState.FAILED
    assert world.control.state.manifests[manifest(flow, "parts")].dropping == ["tokyo"]  # nobody will read it
    check(world)


def test_what_a_lost_attempt_left_counts_if_it_is_the_newest_and_goes_otherwise() -> None:
    world = World()
    flow = submit(world, task("make", writes=["a"]), task("use", reads=["a"]))
    job = jobs(world, flow)["make"]
    first = world.run(job, "tokyo")
    world.ask(r.DeclareSiteDead("op", SiteName("tokyo")))
    second = world.run(job, "ishikari")
    world.join(SiteName("tokyo"), "one")
    world.report("tokyo", e.FileStored(first, "a", ManifestId("late"), 5), ended(first))
    assert world.control.state.manifests[ManifestId("late")].dropping == ["tokyo"]
    check(world)
    world.report("ishikari", e.FileStored(second, "a", ManifestId("good"), 5), ended(second))
    dataset = world.control.state.datasets[file_key(DatasetName(f"{flow}.a"))]
    assert (dataset.manifest, dataset.site) == ("good", "ishikari")
    assert pending(world) == ["use"]
    check(world)


def test_two_files_with_one_content_stay_while_one_of_them_is_needed() -> None:
    world = World()
    flow = submit(
        world,
        task("one", writes=["a"]),
        task("two", writes=["b"]),
        task("use-a", reads=["a"]),
        task("use-b", reads=["b"]),
    )
    same = ManifestId("same")
    for name, file in (("one", "a"), ("two", "b")):
        attempt = world.run(jobs(world, flow)[name], "tokyo")
        world.report("tokyo", e.FileStored(attempt, file, same, 1), ended(attempt))
    finish(world, flow, "use-a", "tokyo")
    assert not world.control.state.manifests[same].dropping
    check(world)
    finish(world, flow, "use-b", "tokyo")
    assert world.control.state.manifests[same].dropping == ["tokyo"]
    check(world)


def test_a_file_inherits_where_it_may_be_from_all_that_it_is_made_from() -> None:
    world = World()
    profile = DatasetProfile(DatasetName("corpus"), 1, ("JP-13", "JP-40"))
    world.ask(r.RegisterDataset(TENANT, PROJECT, "u", "d", profile, SiteName("tokyo"), TextRef("d")))
    world.report("tokyo", e.DatasetAdopted(DatasetName("corpus"), 1, SiteName("tokyo"), ManifestId("c"), 9))
    use = (DataUse(DatasetName("corpus"), 0),)
    flow = submit(
        world,
        task("a", writes=["x"], data=use),
        task("b", reads=["x"], writes=["y"], residency=("JP-01", "JP-40")),
        task("c", reads=["y"]),
    )
    datasets = world.control.state.datasets
    assert datasets[f"{flow}.x@1"].profile.residency == ("JP-13", "JP-40")
    assert datasets[f"{flow}.y@1"].profile.residency == ("JP-40",)
    with pytest.raises(Refused, match="no place satisfies"):
        submit(
            world,
            task("a", writes=["x"], data=use),
            task("b", reads=["x"], writes=["y"], residency=("JP-01",)),
            key="n",
        )
    assert pending(world) == ["a"]


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ((task("a", after=["b"]), task("b", after=["a"])), "waits for itself: a → b → a"),
        ((task("a", reads=["x"]),), "'x' is written by no task"),
        ((task("a", after=["z"]),), "'z' is no task"),
        ((task("a"), task("a")), "'a' is another task's name already"),
        ((task("a", writes=["x"]), task("b", writes=["x"])), "'x' is written by a already"),
        ((task("a", writes=["x"], keep=["y"]),), "'y' isn't among what it writes"),
        ((task("a", reads=["x"], writes=["x"]),), "waits for itself: a → a"),
        ((task("a", data=(DataUse(DatasetName("nix"), 0),)),), "task a: data: there is no dataset 'nix'"),
        ((task("a", residency=("FR",)),), "task a: residency excludes every site"),
        ((task("a", nodes=99),), "task a: nodes: 99 at once fit no site"),
        ((), "at least one"),
    ],
)
def test_what_can_not_be_run_is_refused_whole(tasks, words) -> None:
    world = World()
    before = state_hash(world.control.state)
    with pytest.raises(Refused) as refused:
        submit(world, *tasks)
    assert words in refused.value.message
    assert state_hash(world.control.state) == before


def test_the_same_key_gives_the_same_workflow_and_another_request_is_refused() -> None:
    world = World()
    submit(world, *CHAIN)
    again = r.SubmitWorkflow(TENANT, PROJECT, "user:a", "k", "flow", CHAIN, (TextRef("t"),) * 3)
    assert world.ask(again) == ()
    other = r.SubmitWorkflow(TENANT, PROJECT, "user:a", "k", "flow", CHAIN[:2], (TextRef("t"),) * 2)
    with pytest.raises(Refused, match="another request"):
        world.ask(other)
    with pytest.raises(Refused, match="another request"):
        world.submit("job", "k")


def test_a_file_of_a_job_without_a_workflow_is_refused() -> None:
    world = World()
    attempt = world.run(world.submit(), SITES[0])
    world.report(SITES[0], e.FileStored(attempt, "x", ManifestId("m"), 1))
    body = world.records[-1].body
    assert isinstance(body, e.ReportRefused)
    assert body.reason.code is Code.NO_SUCH_MOVE


def test_small_files_move_together_and_a_large_one_alone() -> None:
    world = World(nodes=4)
    makers = [task(f"m{i}", writes=[f"f{i}"]) for i in range(4)]
    flow = submit(world, *makers, task("join", reads=[f"f{i}" for i in range(4)]))
    names = jobs(world, flow)
    for i in range(4):
        attempt = world.run(names[f"m{i}"], "tokyo")
        size = 10**9 if i == 2 else 1_000  # over a link of 100 MB/s
        world.report("tokyo", e.FileStored(attempt, f"f{i}", ManifestId(f"{i}" * 64), size), ended(attempt))
    world.place(names["join"], "fukuoka")
    moving = world.control.state.transfers
    assert sorted(t.manifest[0] for t in moving.values()) == ["0", "1", "2"]  # nothing beside the large one after it
    for transfer in [t for t in moving.values() if t.manifest[0] != "2"]:
        world.report("fukuoka", e.TransferEnded(transfer.transfer, True, 1_000, 5, ""))
    assert [t.manifest[0] for t in moving.values()] == ["2"]
    (large,) = moving.values()
    world.report("fukuoka", e.TransferEnded(large.transfer, True, 10**9, 5, ""))
    assert [t.manifest[0] for t in moving.values()] == ["3"]
    check(world)
