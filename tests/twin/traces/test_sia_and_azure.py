"""Sia's workloads and Azure's requests."""

import pytest

from moyai.twin.traces import azure, sia
from moyai.twin.traces.trace import Limits, TraceRequest

SIA = "name,time,application,num_replicas,batch_size"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"


def load(loader, *rows, limits=None):
    return loader.load([row + "\n" for row in rows], "t.csv", limits or Limits())


def test_a_job_of_sia_has_a_gpu_for_each_replica_and_no_run_time():
    trace, bad = load(sia, SIA, "bert-1,110,bert,12,384", "cifar10-0,107,cifar10,6,2048")
    assert not bad
    assert [(j.name, j.submitted_us, j.run_us, j.kind) for j in trace.jobs] == [
        ("cifar10-0", 107_000_000, None, "cifar10"),
        ("bert-1", 110_000_000, None, "bert"),
    ]
    assert [(j.nodes, j.need.accelerators, j.gpu_milli) for j in trace.jobs] == [(1, 6, 6_000), (2, 8, 12_000)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,1,bert,6,384", "name: 'a' is on line 2 already"),
        ("b,-1,bert,6,384", "time: '-1' is negative"),
        ("b,1,,6,384", "application: nothing is there"),
        ("b,1,bert,0,384", "num_replicas: '0' is less than 1"),
        ("b,1,bert,6,big", "batch_size: 'big' isn't a whole number"),
        ("b,1,bert,128,384", "asks for 128 GPUs; the largest job stated is 64"),
        ("b,1,bert,6", "has 4 fields where the header names 5"),
    ],
)
def test_a_bad_row_of_sia_is_said(row, said):
    trace, bad = load(sia, SIA, "a,1,bert,6,384", row, limits=Limits(job_gpus=64))
    assert [j.name for j in trace.jobs] == ["a"]
    assert [(r.line, r.problem) for r in bad] == [(3, said)]


def test_requests_are_from_the_earliest_cut_to_microseconds():
    trace, bad = load(azure, AZURE, "2023-11-16 18:15:50.9951699,396,109", "2023-11-16 18:15:46.68,374,44")
    assert not bad
    assert trace.requests == (TraceRequest(0, 374, 44), TraceRequest(4_315_169, 396, 109))


def test_times_of_the_later_release():
    trace, bad = load(azure, AZURE, "2024-05-10 00:00:00.009930+00:00,1,2", "2024-05-10 00:00:01+00:00,1,2")
    assert not bad
    assert [r.at_us for r in trace.requests] == [0, 990_070]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("yesterday,1,2", "TIMESTAMP: 'yesterday' isn't a time; write it as 2017-09-04 10:30:41"),
        ("2023-11-16 18:15:50,-1,2", "ContextTokens: '-1' is less than 0"),
        ("2023-11-16 18:15:50,1,", "GeneratedTokens: nothing is there; a whole number is needed"),
        ("2023-11-16 18:15:50,1", "has 2 fields where the header names 3"),
    ],
)
def test_a_bad_request_is_said(row, said):
    trace, bad = load(azure, AZURE, row)
    assert not trace.requests
    assert [(r.line, r.problem) for r in bad] == [(2, said)]
