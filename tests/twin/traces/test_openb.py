"""openb: node lists, pod lists with and without times, shares of a GPU."""

import pytest

from moyai.model.workload import Need
from moyai.twin.traces import openb
from moyai.twin.traces.trace import ANY_GPU, Limits, TraceError, TraceNode

NODES = "sn,cpu_milli,memory_mib,gpu,model"
SHORT = "name,cpu_milli,memory_mib,num_gpu,gpu_milli"
PODS = SHORT + ",gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time"


def load(header, *rows, limits=None):
    return openb.load(iter([row + "\n" for row in (header, *rows)]), "o.csv", limits or Limits())


def test_a_node_list():
    trace, bad = load(NODES, "n0,32000,262144,0,", "n1,96000,393216,8,G2")
    assert not bad
    assert not trace.jobs
    assert trace.nodes == (TraceNode("n0", 32_000, 1 << 38), TraceNode("n1", 96_000, 393_216 << 20, "G2", 8))


def test_a_pod_with_a_share_of_a_gpu():
    trace, bad = load(PODS, "p,6500,12288,1,460,,LS,Running,10,110,20")
    (job,) = trace.jobs
    assert not bad
    assert job.need == Need(7, 12_288 << 20, ANY_GPU, 1)
    assert (job.gpu_milli, job.cpu_milli, job.kind, job.models) == (460, 6_500, "LS", ())
    assert (job.submitted_us, job.run_us) == (10_000_000, 90_000_000)


def test_types_that_a_pod_takes():
    trace, bad = load(
        PODS,
        "p,1,1,1,1000,V100M16|V100M32,LS,Running,0,1,0",
        "q,1,1,8,1000,T4,LS,Running,0,1,0",
        "r,1,1,0,0,,BE,Running,0,1,0",
    )
    assert not bad
    assert [(j.models, j.need.accelerator, j.need.accelerators, j.gpu_milli) for j in trace.jobs] == [
        (("V100M16", "V100M32"), ANY_GPU, 1, 1_000),
        (("T4",), "T4", 8, 8_000),
        ((), "", 0, 0),
    ]


def test_pods_are_sorted_by_time_and_one_never_scheduled_has_no_run_time():
    trace, bad = load(PODS, "b,1,1,0,0,,LS,Pending,9,12,", "a,1,1,0,0,,LS,Running,3,,4", "c,1,1,0,0,,LS,Running,3,5,3")
    assert not bad
    assert [(j.name, j.run_us) for j in trace.jobs] == [("a", None), ("c", 2_000_000), ("b", None)]


def test_a_list_without_times_keeps_its_order_and_says_so():
    trace, bad = load(SHORT, "b,1000,1,1,1000", "a,1000,1,2,1000")
    assert not bad
    assert [(j.name, j.submitted_us, j.run_us) for j in trace.jobs] == [("b", 0, None), ("a", 0, None)]
    assert "has no times" in trace.notes[0]


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (NODES, "g,32000,262144,2,", "model: nothing is there, for 2 GPUs"),
        (NODES, "g,32000,262144,0,T4", "gpu: 'T4' is the model of 0 GPUs"),
        (NODES, "g,0,262144,0,", "cpu_milli: '0' is less than 1"),
        (NODES, "g,32000,256GiB,0,", "memory_mib: '256GiB' has the unit 'GiB'; a plain whole number is needed"),
        (NODES, ",32000,1,0,", "sn: nothing is there"),
        (SHORT, "p,1,1,1,1001", "gpu_milli: '1001' is more than 1000"),
        (SHORT, "p,1,1,2,500", "gpu_milli: 500 of each of 2 GPUs; a pod has a share of one GPU, or whole ones"),
        (SHORT, "p,1,1,0,500", "gpu_milli: 500 of 0 GPUs"),
        (SHORT, "p,1,1,1,0", "gpu_milli: 0 of 1 GPUs"),
        (SHORT, "p,-1,1,1,1000", "cpu_milli: '-1' is less than 0"),
        (SHORT, "p,1,NaN,1,1000", "memory_mib: 'NaN' isn't a whole number"),
        (PODS, "p,1,1,0,0,T4,LS,Running,0,1,0", "gpu_spec: 'T4' without a GPU"),
        (PODS, "p,1,1,1,1000,T4|,LS,Running,0,1,0", "gpu_spec: nothing is there"),
        (PODS, "p,1,1,1,1000,,LS,Running,5,9,4", "scheduled_time: '4' is before the creation_time"),
        (PODS, "p,1,1,1,1000,,LS,Running,5,6,7", "deletion_time: '6' is before the pod's start"),
        (PODS, "p,1,1,1,1000,,LS,Pending,5,4,", "deletion_time: '4' is before the pod's creation"),
        (PODS, "p,1,1,1,1000,,LS,Running,,4,", "creation_time: nothing is there; a number of seconds is needed"),
        (PODS, "p,1,1", "has 3 fields where the header names 11"),
    ],
)
def test_a_bad_row_is_said(header, row, said):
    trace, bad = load(header, row)
    assert not trace.jobs
    assert not trace.nodes
    assert [str(row) for row in bad] == [f"o.csv:2: {said}"]


def test_a_name_given_twice_and_a_pod_larger_than_the_largest_stated():
    trace, bad = load(SHORT, "p,1,1,1,1000", "p,1,1,1,1000", "q,1,1,16,1000", limits=Limits(job_gpus=8))
    assert len(trace.jobs) == 1
    assert [row.problem for row in bad] == [
        "name: 'p' is on line 2 already",
        "asks for 16 GPUs; the largest job stated is 8",
    ]


def test_lines_may_be_a_list_and_start_with_blank_ones():
    trace, bad = openb.load(["\n", NODES, "n0,1000,1,0,"], "o.csv", Limits())
    assert (len(trace.nodes), bad) == (1, ())


@pytest.mark.parametrize("lines", [[], ["a,b\n"], ['"sn\n']])
def test_neither_list_is_refused(lines):
    with pytest.raises(TraceError):
        openb.load(iter(lines), "o.csv", Limits())
