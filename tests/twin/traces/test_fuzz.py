"""Whatever a file holds: a trace and bad rows with their lines, or a TraceError. Nothing else."""

import gzip
import json

from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from moyai.twin.traces import alibaba, azure, gavel, openb, philly, sia, swf, wfformat
from moyai.twin.traces.read import Format, read
from moyai.twin.traces.summary import table
from moyai.twin.traces.trace import Limits, TraceError

LIMITS = Limits(rows=50, bad_rows=5, job_gpus=64, job_cores=512)
RATES = {("v100", "A3C", 1): 0.5, ("v100", "A3C", 2): 1e11, ("v100", "A3C", 4): 1e-9}
CELLS = st.one_of(
    st.integers(-3, 99).map(str),
    st.sampled_from(
        ["", "nan", "inf", "-inf", "1e5", "1e99", "-0", "+3", ".5", "5.", "1_0", "9" * 400, "٣", "5 h", "1000"]
    ),
    st.floats().map(str),
    st.sampled_from(["2017-09-04 10:30:41.5", "0001-01-01 00:00:00", "9999-12-31 23:59:59", "2023-02-29 00:00:00"]),
    st.text(max_size=8),
    st.sampled_from(["a", "T4|", "T4|P100", '"', '"a,b"', "\x00", "\ufffd", "\ufeff"]),
)
FORMS = (  # a loader, what begins its file, what stands between cells, a good row
    (philly.load, ",".join((*philly.COLUMNS, "gpu_time")), ",", "2017-09-04 10:30:41,5,12,a,60"),
    (sia.load, ",".join((*sia.COLUMNS, "batch_size")), ",", "{n},5,bert,12,384"),
    (azure.load, ",".join(azure.COLUMNS), ",", "2023-11-16 18:15:46.68,374,44"),
    (alibaba.load, ",".join(alibaba.COLUMNS), ",", "A10,1,128,{n}"),
    (openb.load, ",".join(openb.NODE_COLUMNS), ",", "{n},1000,4,2,T4"),
    (openb.load, ",".join(openb.POD_COLUMNS), ",", "{n},1000,4,1,460"),
    (openb.load, ",".join((*openb.POD_COLUMNS, *openb.POD_MORE)), ",", "{n},1500,4,2,1000,T4,LS,3,9,4"),
    (swf.load, "; MaxProcs: 64", " ", "{n} 5 -1 83 4 -1 -1 -1 1200 -1 1 1 1 -1 -1 1 -1 -1"),
    (
        lambda *given: gavel.load(*given, RATES),
        "A3C\tpython3\t-n\t1\t10\t0.0\t1",
        "\t",
        "A3C\tpython3\t-n\t1\t10\t5.5\t2",
    ),
    (gavel.load, "A3C\tpython3\t-n\t1\t10\t1\t1.0\t-1\t0.0", "\t", "A3C\tpython3\t-n\t1\t10\t8\t1.0\t-1\t5.5"),
)


def holds(trace, bad, count):
    """What must hold of every reading of `count` lines."""
    assert len({job.name for job in trace.jobs}) == len(trace.jobs)
    for job in trace.jobs:
        assert job.submitted_us >= 0
        assert job.run_us is None or job.run_us >= 0
        assert job.nodes >= 1
        assert job.need.cores >= 1
        assert 0 <= job.gpu_milli <= job.nodes * job.need.accelerators * 1000
        assert job.nodes * job.need.accelerators < LIMITS.job_gpus + 8
        assert job.tenant
    times = [job.submitted_us for job in trace.jobs] or [request.at_us for request in trace.requests]
    assert times == sorted(times)
    assert len(bad) <= LIMITS.bad_rows + 1
    for row in bad:
        assert 0 <= row.line <= count
        assert str(row).isprintable()
    assert table(trace, bad).replace("\n", "").isprintable()


def check(load, lines):
    try:
        trace, bad = load(iter(lines), "f", LIMITS)
    except TraceError:
        event("refused")
        return
    event("all rows taken" if not bad else "some rows bad")
    holds(trace, bad, len(lines))


@st.composite
def files(draw):
    """A file of one of the formats, with some cells of some rows changed."""
    load, begin, between, good = draw(st.sampled_from(FORMS))
    lines = [begin]
    for number in range(draw(st.integers(0, 8))):
        cells = good.replace("{n}", str(number + 1)).split(between)
        for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
            at = draw(st.integers(0, len(cells)))
            cells[at : at + draw(st.sampled_from([1, 1, 1, 0]))] = [draw(CELLS)]
        lines.append(between.join(cells))
    return load, lines


@given(files())
@settings(max_examples=500, deadline=None)
def test_rows_with_changed_cells(file):
    check(*file)


def test_the_good_rows_are_good():
    for load, begin, _, good in FORMS:
        trace, bad = load(iter([begin, good.replace("{n}", "1")]), "f", LIMITS)
        assert not bad
        assert trace.jobs or trace.nodes or trace.requests


@given(st.lists(st.text(max_size=20), max_size=4), st.sampled_from([philly, sia, azure, openb, swf, gavel]))
@settings(max_examples=150, deadline=None)
def test_any_lines(lines, module):
    check(module.load, lines)


def workflow(parents):
    """A workflow of tasks that each write one file and read those of their parents; parents[n] are below n."""
    count = len(parents)
    children = [[c for c in range(count) if n in parents[c]] for n in range(count)]
    tasks = [
        {
            "id": f"t{n}",
            "parents": [f"t{p}" for p in sorted(parents[n])],
            "children": [f"t{c}" for c in children[n]],
            "inputFiles": ["in", *(f"f{p}" for p in sorted(parents[n]))],
            "outputFiles": [f"f{n}"],
        }
        for n in range(count)
    ]
    ran = [
        {"id": f"t{n}", "runtimeInSeconds": n / 2, "coreCount": n + 1, "command": {"program": "p"}}
        for n in range(count)
    ]
    sizes = [{"id": name, "sizeInBytes": 7} for name in ("in", *(f"f{n}" for n in range(count)))]
    execution = {"makespanInSeconds": 1, "tasks": ran, "machines": [{"nodeName": "m", "cpu": {"coreCount": 4}}]}
    return {
        "schemaVersion": "1.5",
        "workflow": {"specification": {"tasks": tasks, "files": sizes}, "execution": execution},
    }


GRAPHS = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*(st.sets(st.integers(0, k - 1), max_size=3) if k else st.just(set()) for k in range(n)))
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.floats(),
    st.sampled_from(["", "t0", "t1", "t2", "f0", "f1", "z", "in"]),
    st.lists(st.sampled_from(["t0", "t1", "t2", "f1", "z"]), max_size=3),
    st.dictionaries(st.sampled_from(["id", "x"]), st.integers(), max_size=2),
)


def changed(doc, draw):
    """Change one value somewhere in `doc`, or take it away."""
    at = doc
    while True:
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        below = at[key]
        if isinstance(below, dict | list) and below and draw(st.sampled_from([True, True, True, False])):
            at = below
            continue
        if draw(st.booleans()):
            at[key] = draw(ODD)
        else:
            del at[key]
        return


@given(GRAPHS, st.data())
@settings(max_examples=400, deadline=None)
def test_workflows_with_changed_values(graph, data):
    doc = workflow(graph)
    changes = data.draw(st.sampled_from([0, 1, 1, 1, 2]))
    for _ in range(changes):
        changed(doc, data.draw)
    try:
        trace, bad = wfformat.load(json.dumps(doc).encode(), "f", LIMITS)
    except TraceError:
        event("refused")
        if not changes:
            raise
        return
    event("taken")
    assert bad == ()
    names = [job.name for job in trace.jobs]
    assert len(set(names)) == len(names)
    sizes = {file.name for file in trace.files}
    made = sizes - {name for job in trace.jobs for name in job.writes}
    done: set[str] = set()
    while len(done) < len(names):
        ready = [j for j in trace.jobs if j.name not in done and done.issuperset(j.parents)]
        assert ready, "every workflow that is taken can be run to its end"
        for job in ready:
            assert made.issuperset(set(job.reads) - set(job.writes)), "and finds its files"
        for job in ready:
            made.update(job.writes)
            done.add(job.name)
    holds(trace, bad, 0)


@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass"))),
    st.sampled_from([None, *Format]),
    st.booleans(),
)
@example(b"{" * 3000, None, False)
@example(b'{"schemaVersion": "1.5", "workflow": ' + b"[" * 900 + b"]" * 900 + b"}", None, False)
@example(b"\x1f\x8b\x08\x00" + b"\x00" * 300, None, False)
@example(b"\x00" * 257 + b"ustar" + b"\x00" * 300, None, False)
@example(b"a" * 257 + b"ustar" + b"\xff" * 300, None, True)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path, data, format, packed):
    path = tmp_path / "thing"
    path.write_bytes(gzip.compress(data) if packed else data)
    try:
        trace, bad = read(path, format, limits=LIMITS)
    except TraceError:
        return
    holds(trace, bad, 400)


@given(st.integers(0, 700), st.integers(0, 255), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_tar(tmp_path, at, byte, cut):
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("p.csv")
        text = ("timestamp,duration,num_gpus,cluster\n" + "2017-09-04 10:30:41,5,12,a\n" * 8).encode()
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    data = bytearray(out.getvalue())
    data[at] = byte
    (tmp_path / "t.tar").write_bytes(data[:at] if cut else data)
    try:
        trace, bad = read(tmp_path / "t.tar", limits=LIMITS)
    except TraceError:
        return
    holds(trace, bad, 400)
