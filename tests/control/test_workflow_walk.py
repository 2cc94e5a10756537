"""Any sequence of what may happen to workflows keeps what must always hold, and the indexes are those of the state."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.fleet import LEASE_US, World, ended
from control.test_random_walk import PICK, SITE, STEP, pick, step
from control.test_random_walk import check as check_jobs
from control.test_workflows import check, jobs, submit, task
from moyai.control import requests as r
from moyai.model import events as e
from moyai.model.ids import ManifestId, WorkflowId
from moyai.model.lifecycle import JOB_ENDED, WORKFLOW_ENDED, JobState, WorkflowState


@st.composite
def graphs(draw):
    """A workflow whose tasks read files of earlier ones and wait for some of them."""
    count = draw(st.integers(1, 5))
    tasks = []
    files: list[str] = []
    for i in range(count):
        reads = draw(st.lists(st.sampled_from(files), unique=True, max_size=3)) if files else []
        after = draw(st.lists(st.sampled_from([f"t{j}" for j in range(i)]), unique=True, max_size=1)) if i else []
        writes = [f"f{i}-{k}" for k in range(draw(st.integers(0, 2)))]
        keep = [f for f in writes if draw(st.booleans())]
        tasks.append(task(f"t{i}", after, reads, writes, keep, retries=draw(st.integers(0, 1))))
        files += writes
    return tuple(tasks)


WALK = st.one_of(
    STEP,
    st.tuples(st.just("flow"), graphs()),
    st.tuples(st.just("cancel-flow"), PICK),
    st.tuples(st.just("well"), PICK, SITE, st.booleans()),
    st.tuples(st.just("well"), PICK, SITE, st.booleans()),
    st.tuples(st.just("wait"), st.just(LEASE_US // 3)),
)


def walk(world: World, action, number: int) -> None:
    state = world.control.state
    match action:
        case ("flow", tasks):
            submit(world, *tasks, name=f"w{number}", key=f"w{number}")
        case ("cancel-flow", index):
            name = pick(state.workflows, index)
            if name is not None:
                world.ask(r.CancelWorkflow("u", WorkflowId(name)))
        case ("well", index, site, same):
            job = pick(world.control.indexes.pending, index)
            if job is None:
                return
            try:
                attempt = world.place(job, site, index % 2)
            except AssertionError:
                return
            if state.attempts[attempt].job != job or state.attempts[attempt].reason is not None:
                return
            if attempt not in world.control.indexes.live or state.attempts[attempt].site != site:
                return
            world.report(site, e.AttemptStarted(attempt, world.now, ()))
            held = state.jobs[job]
            writes = state.workflows[held.workflow].tasks[held.task].writes if held.workflow else ()
            for file in writes:
                world.report(
                    site, e.FileStored(attempt, file.name, ManifestId("same" if same else f"{job}/{file.name}"), 7)
                )
            world.report(site, ended(attempt))
        case _:
            step(world, action)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WALK, min_size=5, max_size=50))
def test_what_must_always_hold(actions) -> None:
    world = World()
    for number, action in enumerate(actions):
        walk(world, action, number)
        world.wait(1)
    world.wait(1)
    check_jobs(world)
    check(world)
    state = world.control.state
    for name, flow in state.workflows.items():
        held = [state.jobs[j] for j in jobs(world, WorkflowId(name)).values()]
        over = all(j.state in JOB_ENDED for j in held)
        assert over == (flow.state in WORKFLOW_ENDED)
        if flow.state is WorkflowState.SUCCEEDED:
            assert all(j.state is JobState.SUCCEEDED for j in held)
        for one in flow.tasks:
            job = state.jobs[one.job]
            if job.attempts:  # every task before it had succeeded
                made = {f.name: t.job for t in flow.tasks for f in t.writes}
                before = [made[f] for f in one.reads] + [t.job for t in flow.tasks if t.name in one.after]
                assert all(state.jobs[b].state is JobState.SUCCEEDED for b in before)
