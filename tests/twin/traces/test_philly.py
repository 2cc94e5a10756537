"""Philly's table: what becomes of a row, and what is said of each bad one."""

import pytest

from moyai.model.workload import Need
from moyai.twin.traces import philly
from moyai.twin.traces.trace import ANY_GPU, Limits, TraceError

HEADER = "timestamp,duration,num_gpus,gpu_time,cluster"
GOOD = "2017-09-04 10:30:41,60.0,8,480.0,7f04ca"


def load(*rows, header=HEADER, limits=None):
    return philly.load([row + "\n" for row in (header, *rows)], "a/philly.csv", limits or Limits())


def problem(row, limits=None):
    trace, bad = load(GOOD, row, GOOD, limits=limits)
    assert len(trace.jobs) == 2, "the reading goes on"
    (only,) = bad
    assert (only.file, only.line) == ("a/philly.csv", 3)
    return only.problem


def test_a_row_becomes_a_job():
    trace, bad = load(GOOD)
    (job,) = trace.jobs
    assert not bad
    assert (trace.name, job.name, job.tenant) == ("philly", "philly-2", "7f04ca")
    assert (job.submitted_us, job.run_us) == (0, 60_000_000)
    assert (job.nodes, job.need) == (1, Need(accelerator=ANY_GPU, accelerators=8))
    assert job.gpu_milli == 8_000


@pytest.mark.parametrize(
    ("gpus", "nodes", "each"), [(1, 1, 1), (8, 1, 8), (12, 2, 8), (16, 2, 8), (24, 3, 8), (32, 4, 8)]
)
def test_more_than_a_node_is_a_gang_of_whole_nodes(gpus, nodes, each):
    trace, _ = load(f"2017-09-04 10:30:41,1,{gpus},{gpus},a")
    job = trace.jobs[0]
    assert (job.nodes, job.need.accelerators, job.gpu_milli) == (nodes, each, gpus * 1000)
    assert any("1 jobs" in note for note in trace.notes) == (gpus == 12)


def test_times_are_from_the_earliest_and_jobs_in_their_order():
    trace, bad = load("2017-09-05 00:00:01,1,1,1,a", "2017-09-04 23:59:59,1,1,1,b", "2017-09-04 23:59:59,1,1,1,c")
    assert not bad
    assert [(j.name, j.submitted_us) for j in trace.jobs] == [
        ("philly-3", 0),
        ("philly-4", 0),
        ("philly-2", 2_000_000),
    ]


def test_columns_are_found_by_their_names_and_gpu_time_may_be_missing():
    trace, bad = load("a,2,2017-09-04 10:30:41,5", header="cluster,num_gpus,timestamp,duration")
    assert not bad
    assert (trace.jobs[0].tenant, trace.jobs[0].gpu_milli, trace.jobs[0].run_us) == ("a", 2_000, 5_000_000)


def test_line_ends_a_byte_order_mark_quotes_and_blank_lines_do_not_matter():
    trace, bad = philly.load(
        ["\ufeff" + HEADER + "\r\n", "\r\n", '"2017-09-04 10:30:41","60","8","480","a"\r\n', "   \n"], "p.csv", Limits()
    )
    assert not bad
    assert [j.name for j in trace.jobs] == ["philly-3"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2017-09-04 10:30:41,-5,1,,a", "duration: '-5' is negative"),
        ("2017-09-04 10:30:41,nan,1,,a", "duration: 'nan' isn't a number of seconds"),
        ("2017-09-04 10:30:41,inf,1,,a", "duration: 'inf' isn't a number of seconds"),
        ("2017-09-04 10:30:41,1_0,1,,a", "duration: '1_0' isn't a number of seconds"),
        ("2017-09-04 10:30:41,12h,1,,a", "duration: '12h' has the unit 'h'; a plain number of seconds is needed"),
        ("2017-09-04 10:30:41,long,1,,a", "duration: 'long' isn't a number of seconds"),
        ("2017-09-04 10:30:41,,1,,a", "duration: nothing is there; a number of seconds is needed"),
        ("2017-09-04 10:30:41,99999999999,1,,a", "duration: '99999999999' is more than 100 years; write seconds"),
        ("2017-09-04 10:30:41,5,0,,a", "num_gpus: '0' is less than 1"),
        ("2017-09-04 10:30:41,5,1.5,,a", "num_gpus: '1.5' isn't a whole number"),
        ("2017-09-04 10:30:41,5,eight,,a", "num_gpus: 'eight' isn't a whole number"),
        ("2017-09-04 10:30:41,5,8GPU,,a", "num_gpus: '8GPU' has the unit 'GPU'; a plain whole number is needed"),
        ("2017-09-04 10:30:41,5,٣,,a", "num_gpus: '٣' isn't a whole number"),
        ("2017-09-04 10:30:41,5,2,99,a", "gpu_time: '99' isn't duration × num_gpus, 10 GPU-seconds"),
        ("2017-09-04 10:30:41,5,2,10, ", "cluster: nothing is there"),
        ("2017-09-04 10:30:41,5,2,10,a\x1bb", "cluster: 'a\\x1bb' isn't a name"),
        (
            "2017-02-30 10:30:41,5,2,10,a",
            "timestamp: '2017-02-30 10:30:41' isn't a time; write it as 2017-09-04 10:30:41",
        ),
        (
            "2017-W36-1 10:30:41,5,2,10,a",
            "timestamp: '2017-W36-1 10:30:41' isn't a time; write it as 2017-09-04 10:30:41",
        ),
        (",5,2,10,a", "timestamp: '' isn't a time; write it as 2017-09-04 10:30:41"),
        ("2017-09-04 10:30:41,5,2,10", "has 4 fields where the header names 5"),
        ("2017-09-04 10:30:41,5,2,10,a,b", "has 6 fields where the header names 5"),
        ('"2017-09-04 10:30:41,5,2,10,a', "its quotes don't hold together: unexpected end of data"),
        ("2017-09-04 10:30:41,5,2,10,\ufffd", "isn't UTF-8 text"),
    ],
)
def test_a_bad_row_is_said_and_the_reading_goes_on(row, said):
    assert problem(row) == said


def test_a_job_larger_than_the_largest_stated():
    said = problem("2017-09-04 10:30:41,5,64,,a", Limits(job_gpus=32))
    assert said == "asks for 64 GPUs; the largest job stated is 32"


def test_bad_rows_are_kept_up_to_a_bound_and_counted_beyond():
    trace, bad = load(*["x,1,1,1,a"] * 50, GOOD, limits=Limits(bad_rows=3))
    assert len(trace.jobs) == 1
    assert [row.line for row in bad] == [2, 3, 4, 0]
    assert str(bad[-1]) == "a/philly.csv: and 47 more bad rows"


def test_the_reading_stops_at_the_bound_of_rows_and_says_so():
    trace, bad = load(GOOD, GOOD, GOOD, limits=Limits(rows=3))
    assert len(trace.jobs) == 2
    assert [str(row) for row in bad] == ["a/philly.csv:4: the reading stopped here, at the bound of 3 rows"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "p.csv: is empty"),
        (["\n", " \n"], "p.csv: is empty"),
        (
            ["timestamp,duration\n"],
            "p.csv:1: the header has no num_gpus, cluster; its columns are 'timestamp, duration'",
        ),
        ([HEADER + ",cluster\n"], "p.csv:1: the header names 'cluster' twice"),
        ([HEADER.replace("duration", "duration_ms")], "p.csv:1: the header has no duration; its columns are "),
    ],
)
def test_a_table_without_its_header_is_refused(lines, said):
    with pytest.raises(TraceError) as refused:
        philly.load(lines, "p.csv", Limits())
    assert str(refused.value).startswith(said)
