"""Graphs of traces, their bounds, and small workflows through the twin."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from moyai.model.ids import TenantName
from moyai.model.lifecycle import WorkflowState
from moyai.model.workflow import problems
from moyai.model.workload import Need
from moyai.plan.place import plan
from moyai.twin.policies import Knowledge, make
from moyai.twin.replay.setup import Fault, Mishap
from moyai.twin.traces.read import read
from moyai.twin.traces.trace import Trace, TraceError, TraceFile, TraceJob
from moyai.twin.workflows.bound import bound
from moyai.twin.workflows.fleet import fleet, homes_of, setup
from moyai.twin.workflows.graph import critical_path_us, graph_of, task_orders
from moyai.twin.workflows.run import run

SECOND = 1_000_000
GRAPHS = Path(__file__).parents[3].parent / "shared" / "data" / "traces" / "wfinstances"


def job(name: str, run_s: int = 10, parents=(), reads=(), writes=()) -> TraceJob:
    return TraceJob(name, TenantName("t"), 0, run_s * SECOND, Need(1), parents=parents, reads=reads, writes=writes)


def diamond(size: int = 1_000) -> Trace:
    """One input, split in two, worked on apart, joined: `b` takes longer than `c`."""
    jobs = (
        job("a", 10, (), ("in",), ("x", "y", "z")),
        job("b", 30, ("a",), ("x", "z"), ("b-out",)),
        job("c", 20, ("a",), ("y",), ("c-out",)),
        job("d", 5, ("b", "c"), ("b-out", "c-out"), ("out", "log")),
    )
    files = tuple(TraceFile(f, size) for f in ("in", "x", "y", "z", "b-out", "c-out", "out", "log", "unused"))
    return Trace("diamond", "made up", "none", jobs, files=files)


def test_files_that_go_together_are_one_bundle() -> None:
    graph = graph_of(diamond())
    found = {(b.maker, b.readers): (b.size_bytes, b.files) for b in graph.bundles}
    assert found == {
        ("", ("a",)): (1_000, 1),
        ("a", ("b",)): (2_000, 2),
        ("a", ("c",)): (1_000, 1),
        ("b", ("d",)): (1_000, 1),
        ("c", ("d",)): (1_000, 1),
        ("d", ()): (2_000, 2),
    }


def test_the_orders_say_what_the_trace_says() -> None:
    orders = task_orders(graph_of(diamond()), "w")
    assert not problems(orders)
    assert [(len(t.reads), len(t.writes), len(t.keep), t.after) for t in orders] == [
        (0, 2, 0, ()),
        (1, 1, 0, ()),
        (1, 1, 0, ()),
        (2, 1, 1, ()),
    ]
    assert [u.dataset for u in orders[0].order.data] == ["w-f00000"]


def test_a_parent_without_a_file_is_waited_for_all_the_same() -> None:
    trace = Trace("t", "", "", (job("a"), job("b", parents=("a",))))
    assert task_orders(graph_of(trace), "w")[1].after == ("a",)


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ((job("a", writes=("x",)), job("b", writes=("x",))), "x is written by a and by b"),
        ((job("a", reads=("x",), writes=("x",)),), "a reads and writes x"),
        ((replace(job("a"), run_us=None),), "a has no run time"),
    ],
)
def test_what_can_not_be_run_is_said(jobs, words) -> None:
    with pytest.raises(TraceError, match=words):
        graph_of(Trace("t", "", "", jobs, files=(TraceFile("x", 1),)))


def test_the_bounds_of_a_diamond() -> None:
    graph = graph_of(diamond())
    profiles, links = fleet(1, 1, 1_000)
    assert critical_path_us(graph) == 45 * SECOND
    found = bound(graph, profiles, links, {b.name: profiles[0].name for b in graph.outside})
    assert (found.path_us, found.moved_bytes) == (45 * SECOND, 0)
    assert found.work_us == 65 * SECOND / 4
    assert found.us == 45 * SECOND


def test_inputs_at_two_sites_must_move_and_take_their_time() -> None:
    size = 1_250_000_000  # ten seconds over 1 Gbit/s
    jobs = (job("a", 10, (), ("one", "two")), job("b", 10, (), ("two",)))
    graph = graph_of(Trace("t", "", "", jobs, files=(TraceFile("one", size), TraceFile("two", size))))
    profiles, links = fleet(1, 1, 1_000)
    homes = {b.name: profiles[i].name for i, b in enumerate(graph.outside)}
    found = bound(graph, profiles, links, homes)
    assert found.path_us == 20 * SECOND  # a's other input first
    assert found.moved_bytes == size / 2  # its share of what b might have had moved for it
    ran = run(setup(graph, profiles, links, homes), plan, "moyai")
    assert ran.moved_bytes >= found.moved_bytes
    assert ran.makespan_us >= found.us


@pytest.mark.parametrize("policy", ["moyai", "locality", "random"])
def test_a_diamond_runs_and_leaves_its_results_alone(policy: str) -> None:
    graph = graph_of(diamond(50_000_000))
    profiles, links = fleet(1, 1, 1_000)
    homes = homes_of(graph, profiles, 3)
    ran = run(setup(graph, profiles, links, homes), make(policy, Knowledge(seed=3)), policy, 3)
    assert ran.state is WorkflowState.SUCCEEDED
    assert ran.makespan_us >= bound(graph, profiles, links, homes).us
    ends = {row.job.rpartition("-")[0]: (row.started_us, row.ended_us) for row in ran.outcome.jobs}
    for before, after in (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")):
        assert ends[before][1] <= ends[after][0]
    assert ran.left_bytes == 100_000_000  # "out" and "log"
    assert ran.held_bytes < 9 * 50_000_000


def test_a_chain_stays_where_its_data_is() -> None:
    size = 20_000_000_000
    jobs = tuple(
        job(f"t{i}", 10, (f"t{i - 1}",) if i else (), (f"f{i - 1}",) if i else (), (f"f{i}",)) for i in range(6)
    )
    assert all(a.writes == b.reads for a, b in pairwise(jobs))
    graph = graph_of(Trace("chain", "", "", jobs, files=tuple(TraceFile(f"f{i}", size) for i in range(6))))
    profiles, links = fleet(2, 2, 1_000)
    ran = run(setup(graph, profiles, links, {}), plan, "moyai")
    assert ran.moves == 0
    assert ran.held_bytes <= 3 * size  # each goes when the next is made
    assert ran.left_bytes == size


@pytest.mark.skipif(not GRAPHS.is_dir(), reason="needs ../shared/data")
def test_a_real_graph_moves_less_than_one_that_is_blind() -> None:
    trace, _ = read(GRAPHS / "montage-chameleon-2mass-01d-001.json.gz")
    graph = graph_of(trace)
    profiles, links = fleet(2, 16, 1_000)
    homes = homes_of(graph, profiles, 0)
    whole = setup(graph, profiles, links, homes)
    ours = run(whole, plan, "moyai")
    blind = run(whole, make("random", Knowledge()), "random")
    assert ours.state is blind.state is WorkflowState.SUCCEEDED
    assert ours.makespan_us >= bound(graph, profiles, links, homes).us
    assert ours.moved_bytes < blind.moved_bytes


def test_a_site_that_is_lost_for_a_while_only_costs_time() -> None:
    graph = graph_of(diamond(50_000_000))
    profiles, links = fleet(1, 1, 1_000)
    homes = homes_of(graph, profiles, 3)
    whole = setup(graph, profiles, links, homes)
    calm = run(whole, plan, "moyai")
    where = {row.job.rpartition("-")[0]: row.site for row in calm.outcome.jobs}
    site = where["b"]
    assert site is not None
    faults = (Fault(20 * SECOND, site, Mishap.LOST), Fault(400 * SECOND, site, Mishap.BACK))
    hurt = run(replace(whole, faults=faults), plan, "moyai")
    assert hurt.state is WorkflowState.SUCCEEDED
    assert hurt.makespan_us > calm.makespan_us
    assert sum(row.attempts for row in hurt.outcome.jobs) > len(hurt.outcome.jobs)
    assert hurt.left_bytes == calm.left_bytes
