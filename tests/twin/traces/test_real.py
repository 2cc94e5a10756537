"""The public traces themselves, where they lie beside the repository: every row is taken, and the counts are right."""

from pathlib import Path

import pytest

from moyai.twin.traces.read import read
from moyai.twin.traces.summary import summarise

TRACES = Path(__file__).parents[3].parent / "shared" / "data" / "traces"
pytestmark = pytest.mark.skipif(not TRACES.is_dir(), reason="needs ../shared/data")

VARIANTS = {
    "cpu0": 7_064,
    "cpu037": 7_336,
    "cpu050": 7_439,
    "cpu072": 7_608,
    "cpu100": 7_853,
    "cpu200": 8_832,
    "cpu235": 9_240,
    "cpu300": 10_094,
    "multigpu20": 8_324,
    "multigpu30": 8_508,
    "multigpu40": 8_746,
} | dict.fromkeys(
    (
        "default",
        "gpushare20",
        "gpushare40",
        "gpushare60",
        "gpushare80",
        "gpuspec05",
        "gpuspec10",
        "gpuspec20",
        "gpuspec25",
        "gpuspec33",
    ),
    8_152,
)
WORKFLOWS = {
    "1000genome-chameleon-22ch-250k-001": (902, 954, 1_166),
    "bwa-chameleon-medium-001": (1_004, 3_012, 4_000),
    "cycles-chameleon-2l-2c-9p-001": (266, 2_066, 388),
    "epigenomics-chameleon-ilmn-3seq-50k-001": (793, 993, 985),
    "montage-chameleon-2mass-01d-001": (103, 183, 231),
    "seismology-chameleon-700p-001": (701, 2_104, 700),
    "soykb-chameleon-30fastq-20ch-001": (416, 841, 1_014),
}


def whole(name):
    trace, bad = read(TRACES / name, strict=True)
    assert bad == ()
    return trace


def test_philly():
    trace = whole("philly-2017-09-10.csv.gz")
    figures = summarise(trace)
    assert (figures.jobs, figures.tenants, figures.largest_nodes, figures.largest_gpu_milli) == (52_849, 12, 4, 32_000)
    assert sum(job.nodes > 1 for job in trace.jobs) == 7 + 65 + 4 + 23
    assert round(figures.gpu_hours) == 642_409
    assert figures.unknown_run == 0


def test_lcg():
    trace = whole("lcg-2005-week1.swf.gz")
    assert (len(trace.jobs), len(trace.sites), len({job.site for job in trace.jobs})) == (112_163, 170, 168)
    assert all(job.nodes == 1 and job.need.cores == 1 for job in trace.jobs)
    assert trace.began == 1132444805_000_000
    assert trace.licence == "free with acknowledgement of Hui Li"


@pytest.mark.parametrize(("name", "nodes", "gpus"), [("all_node", 1_523, 6_212), ("gpu_node", 1_213, 6_212)])
def test_openb_nodes(name, nodes, gpus):
    trace = whole(f"openb-2023/openb_node_list_{name}.csv.gz")
    assert (len(trace.nodes), sum(node.accelerators for node in trace.nodes)) == (nodes, gpus)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_openb_pods(variant):
    trace = whole(f"openb-2023/openb_pod_list_{variant}.csv.gz")
    assert len(trace.jobs) == VARIANTS[variant]
    assert (trace.jobs[-1].submitted_us == 0) == variant.startswith("multigpu")
    assert any(job.models for job in trace.jobs) == variant.startswith("gpuspec")


def test_gavel():
    files = sorted((TRACES / "gavel").glob("*.trace.gz"))
    traces = [whole(f"gavel/{file.name}") for file in files]
    assert (len(files), sum(len(trace.jobs) for trace in traces)) == (15, 15_264)
    assert len({trace.jobs[0].tenant for trace in traces}) == 15
    assert sum(job.run_us is None for trace in traces for job in trace.jobs) == 1_548


@pytest.mark.parametrize("number", [1, 2, 3])
def test_sia(number):
    assert len(whole(f"sia/philly/workload-{number}.csv.gz").jobs) == 160


def test_azure():
    trace = whole("azure-llm-2023/AzureLLMInferenceTrace_conv.csv.gz")
    assert len(trace.requests) == 19_366
    assert 3_400_000_000 < trace.requests[-1].at_us < 3_600_000_000


def test_there_are_seven_workflows():
    assert {file.name.removesuffix(".json.gz") for file in (TRACES / "wfinstances").iterdir()} == set(WORKFLOWS)


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_workflows(name):
    trace = whole(f"wfinstances/{name}.json.gz")
    assert (len(trace.jobs), len(trace.files), sum(len(job.parents) for job in trace.jobs)) == WORKFLOWS[name]
    assert trace.nodes
