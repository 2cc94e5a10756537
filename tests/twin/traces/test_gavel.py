"""Gavel: steps and the steps a second."""

import json

import pytest

from moyai.twin.traces import gavel
from moyai.twin.traces.trace import Limits, TraceError

RATES = {("v100", "A3C", 1): 4.0, ("v100", "A3C", 2): 0.0}


def row(kind="A3C", steps=100, arrival="0.000000", gpus=1, data=1):
    return f"{kind}\tpython3 main.py\t-n\t{data}\t{steps}\t{arrival}\t{gpus}\n"


def load(*rows, file="msr_seed0_e13805.trace.gz", rates=RATES, limits=None):
    return gavel.load(rows, file, limits or Limits(), rates)


def test_a_line_becomes_a_job_whose_steps_say_how_long_it_runs():
    trace, bad = load(row(arrival="1.5"))
    (job,) = trace.jobs
    assert not bad
    assert (job.name, job.tenant, job.kind) == ("gavel-1", "e13805", "A3C")
    assert (job.submitted_us, job.steps, job.run_us) == (1_500_000, 100, 25_000_000)
    assert (job.nodes, job.need.accelerators, job.gpu_milli) == (1, 1, 1_000)


def test_what_was_not_measured_has_no_run_time():
    trace, bad = load(row(gpus=2), row(gpus=16), row(kind="LM"))
    assert not bad
    assert [job.run_us for job in trace.jobs] == [None, None, None]
    assert any(note.startswith("3 jobs have none") for note in trace.notes)
    assert (trace.jobs[1].nodes, trace.jobs[1].need.accelerators) == (2, 8)


def test_without_a_table_no_job_has_a_run_time_and_a_trace_of_another_name_another_tenant():
    trace, _ = load(row(), rates=None, file="other.trace")
    assert (trace.jobs[0].run_us, trace.jobs[0].tenant) == (None, "gavel")
    assert "simulation_throughputs.json" in trace.notes[0]


@pytest.mark.parametrize("folder", ["", "workloads\t"])
def test_the_fields_of_later_releases(folder):
    trace, bad = load(f"A3C\tpython3 main.py\t{folder}-n\t0\t100\t1\t1.0\t-1.000000\t7.25\n")
    assert not bad
    assert (trace.jobs[0].submitted_us, trace.jobs[0].steps, trace.jobs[0].gpu_milli) == (7_250_000, 100, 1_000)


@pytest.mark.parametrize(
    ("bad_row", "said"),
    [
        (row(steps=0, arrival=5), "steps: '0' is less than 1"),
        (row(steps="many", arrival=5), "steps: 'many' isn't a whole number"),
        (row(steps=10**17, arrival=5), "steps: '100000000000000000' is more than 1000000000000000"),
        (row(steps=10**12, arrival=5), "steps: 1000000000000 take more than 100 years at 4 a second"),
        (row(gpus=0, arrival=5), "GPUs: '0' is less than 1"),
        (row(gpus=99, arrival=5), "asks for 99 GPUs; the largest job stated is 64"),
        (row(data=2, arrival=5), "needs the data folder: '2' is more than 1"),
        (row(arrival="nan"), "arrival: 'nan' isn't a number of seconds"),
        (row(arrival=3), "arrival: goes back behind 4 s before it"),
        (row(kind="", arrival=5), "job type: nothing is there"),
        ("A3C\t5\n", "has 2 fields between tabs where Gavel has 7, 9 or 10"),
        ("A3C\tx\t-n\t0\t100\t1\thigh\t-1\t5\n", "priority weight: 'high' isn't a number of weight"),
    ],
)
def test_a_bad_line_is_said_and_the_reading_goes_on(bad_row, said):
    trace, bad = load(row(arrival=4), bad_row, row(arrival=9), limits=Limits(job_gpus=64))
    assert len(trace.jobs) == 2
    assert [row.problem for row in bad] == [said]


def test_an_empty_trace_is_refused():
    with pytest.raises(TraceError, match="is empty"):
        load()


def test_steps_a_second_are_those_of_a_job_alone():
    table = {
        "v100": {
            "('A3C', 1)": {"null": 4.5, "('LM (batch size 5)', 1)": [1, 2]},
            "('LM (batch size 5)', 8)": {"null": 2},
        }
    }
    rates = gavel.read_throughputs(json.dumps(table).encode(), "t.json")
    assert rates == {("v100", "A3C", 1): 4.5, ("v100", "LM (batch size 5)", 8): 2.0}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "nonsense",
        '{"v100": 3}',
        '{"v100": {"A3C": {"null": 1}}}',
        '{"v100": {"(\'A3C\', 1)": {"null": "fast"}}}',
        '{"v100": {"(\'A3C\', 1)": {"null": NaN}}}',
        '{"v100": {"(\'A3C\', 1)": {"null": -1}}}',
        '{"v100": {"(\'A3C\', 1)": {}}}',
        '{"v100": {"(\'A3C\', 1)": {"null": true}}}',
        "[" * 100_000,
    ],
)
def test_a_bad_table_is_refused(text):
    with pytest.raises(TraceError):
        gavel.read_throughputs(text.encode(), "t.json")
