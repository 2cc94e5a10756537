"""The Standard Workload Format: header, unknown values, bad lines."""

import pytest

from moyai.model.ids import TenantName
from moyai.model.units import Instant
from moyai.model.workload import Need
from moyai.twin.traces import swf
from moyai.twin.traces.trace import Limits, TraceError

HEADER = (
    "; Version: 2.2",
    "; Installation: a grid",
    "; Acknowledge: somebody",
    "; UnixStartTime: 1132444805",
    "; MaxProcs: 64",
    "; Partition:  1 tokyo.example   ",
    "; Partition:  7 kyoto.example",
    ";",
)


def line(**given):
    """A line with -1 in every field that isn't given."""
    values = {"job": 1, "submit": 0, "run": 10, "procs": 1} | given
    names = ("job", "submit", "wait", "run", "procs", "cpu", "used", "wants", "time", "memory")
    more = ("status", "user", "group", "exe", "queue", "partition", "before", "think")
    return " ".join(str(values.get(name, -1)) for name in (*names, *more))


def load(*rows, header=HEADER, limits=None, per_node=1):
    return swf.load([row + "\n" for row in (*header, *rows)], "g.swf", limits or Limits(), per_node)


def test_a_line_becomes_a_job_and_the_header_is_kept():
    trace, bad = load(line(submit=3, run=83.5, time=1200, user=4, group=2, exe=9, partition=7, memory=1024))
    (job,) = trace.jobs
    assert not bad
    assert (job.name, job.tenant, job.user, job.kind, job.site) == (
        "swf-1",
        TenantName("group-2"),
        "user-4",
        "executable-9",
        "kyoto.example",
    )
    assert (job.submitted_us, job.run_us, job.expect_us) == (3_000_000, 83_500_000, 1_200_000_000)
    assert (job.nodes, job.need, job.cpu_milli) == (1, Need(cores=1, memory_bytes=1 << 20), 1_000)
    assert trace.sites == ("tokyo.example", "kyoto.example")
    assert trace.began == Instant(1132444805_000_000)
    assert (trace.source, trace.licence) == (
        "Parallel Workloads Archive: a grid",
        "free with acknowledgement of somebody",
    )


def test_what_is_unknown_stays_unknown():
    trace, bad = load(line(run=-1, procs=-1, wants=3), header=())
    job = trace.jobs[0]
    assert not bad
    assert (job.run_us, job.expect_us, job.site, job.user, job.kind, job.tenant) == (None, 0, "", "", "", "all")
    assert (job.nodes, job.need) == (3, Need(cores=1))
    assert trace.began is None


def test_a_job_without_a_group_has_its_user_as_tenant_and_a_partition_without_names_a_number():
    trace, _ = load(line(user=5, partition=2), header=())
    assert (trace.jobs[0].tenant, trace.jobs[0].site) == ("user-5", "partition-2")


@pytest.mark.parametrize(
    ("procs", "per_node", "nodes", "cores"), [(8, 1, 8, 1), (8, 4, 2, 4), (9, 4, 3, 4), (3, 4, 1, 3)]
)
def test_processors_on_nodes(procs, per_node, nodes, cores):
    trace, _ = load(line(procs=procs), per_node=per_node)
    assert (trace.jobs[0].nodes, trace.jobs[0].need.cores, trace.jobs[0].cpu_milli) == (nodes, cores, procs * 1000)


def test_memory_is_that_requested_else_that_used():
    trace, bad = load(line(job=1, memory=2, used=9), line(job=2, memory=-1, used=1.5), line(job=3), per_node=4)
    assert not bad
    assert [job.need.memory_bytes for job in trace.jobs] == [2 * 1024, 2 * 1024, 0]


def test_parts_of_a_checkpointed_job_are_left_out():
    trace, bad = load(line(job=1, status=1), line(job=1, status=2), line(job=1, status=3), line(job=2, status=0))
    assert not bad
    assert [job.name for job in trace.jobs] == ["swf-1", "swf-2"]
    assert any(note.startswith("2 lines of parts") for note in trace.notes)


def test_a_part_of_a_log_says_so():
    trace, _ = load(line(), header=("; MaxJobs: 5",))
    assert any(note.startswith("the header counts 5 jobs, 1 were taken") for note in trace.notes)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (line(job=2, submit=-5), "submit time: '-5' is negative"),
        (line(job=2, run=-2), "run time: '-2' is negative"),
        (line(job=2, run="nan"), "run time: 'nan' isn't a number of the standard's unit"),
        (line(job=2, wait="soon"), "wait time: 'soon' isn't a number of the standard's unit"),
        (line(job=2, think="5s"), "think time: '5s' has the unit 's'; a plain number of the standard's unit is needed"),
        (line(job=2, submit=3), "submit time: 3 s goes back behind 5 s before it"),
        (line(job=1, submit=6), "job number: '1' is on line 9 already"),
        (line(job=2, procs=-1), "has neither allocated nor requested processors"),
        (line(job=2, procs=0, wants=0), "has neither allocated nor requested processors"),
        (line(job=2, procs="1.5"), "allocated processors: '1.5' isn't a whole number"),
        (line(job=2, procs=65), "asks for 65 processors; the header's MaxProcs is 64"),
        (line(job=2, partition=3), "partition: the header lists no 3"),
        (line(job=2, memory=-7), "requested memory: '-7' is negative"),
        (line(job=2, user=-7), "user: '-7' is less than -1"),
        ("2 0 -1 10 1", "has 5 fields where SWF has 18"),
        (line(job=2) + " 4", "has 19 fields where SWF has 18"),
        ("; MaxProcs: many", "MaxProcs: 'many' isn't a whole number"),
        ("; Partition: nameless", "Partition: 'nameless' isn't a number and a name"),
        ("; Partition: 7 nara.example", "Partition: 7 has the name 'kyoto.example' already"),
    ],
)
def test_a_bad_line_is_said_and_the_reading_goes_on(row, said):
    trace, bad = load(line(job=1, submit=5), row, line(job=9, submit=6))
    assert [job.name for job in trace.jobs] == ["swf-1", "swf-9"]
    assert [str(row) for row in bad] == [f"g.swf:10: {said}"]


def test_a_job_larger_than_the_largest_stated():
    _, bad = load(line(procs=40), limits=Limits(job_cores=32))
    assert bad[0].problem == "asks for 40 cores; the largest job stated is 32"


def test_a_log_of_nothing_is_refused():
    with pytest.raises(TraceError, match=r"^g\.swf: holds no jobs$"):
        load(header=("; Version: 2.2",))
