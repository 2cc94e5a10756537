"""WfFormat: a workflow as it is, or refused with everything that is wrong in it."""

import copy
import json

import pytest

from moyai.model.workload import Need
from moyai.twin.traces import wfformat
from moyai.twin.traces.trace import Limits, TraceError, TraceFile, TraceNode

DIAMOND = {
    "name": "diamond",
    "schemaVersion": "1.5",
    "workflow": {
        "specification": {
            "tasks": [
                {
                    "name": "a",
                    "id": "a",
                    "parents": [],
                    "children": ["b", "c"],
                    "inputFiles": ["in"],
                    "outputFiles": ["x"],
                },
                {
                    "name": "b",
                    "id": "b",
                    "parents": ["a"],
                    "children": ["d"],
                    "inputFiles": ["x"],
                    "outputFiles": ["y"],
                },
                {"name": "c", "id": "c", "parents": ["a"], "children": ["d"], "inputFiles": ["x"]},
                {"name": "d", "id": "d", "parents": ["b", "c"], "children": [], "inputFiles": ["x", "y"]},
            ],
            "files": [
                {"id": "in", "sizeInBytes": 1_000},
                {"id": "x", "sizeInBytes": 20},
                {"id": "y", "sizeInBytes": 0},
            ],
        },
        "execution": {
            "makespanInSeconds": 12.5,
            "executedAt": "2020-01-01T00:00:00Z",
            "tasks": [
                {
                    "id": "a",
                    "runtimeInSeconds": 1.5,
                    "coreCount": 2,
                    "memoryInBytes": 4096,
                    "command": {"program": "cut"},
                },
                {"id": "b", "runtimeInSeconds": 2},
                {"id": "c", "runtimeInSeconds": 0, "coreCount": 1.5},
                {"id": "d", "runtimeInSeconds": 3},
            ],
            "machines": [{"nodeName": "m0", "cpu": {"coreCount": 48}, "memoryInBytes": 1 << 30}, {"nodeName": "m1"}],
        },
    },
}


def spec(doc):
    return doc["workflow"]["specification"]


def ran(doc):
    return doc["workflow"]["execution"]


def load(doc, limits=None):
    data = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
    return wfformat.load(data, "w.json", limits or Limits())


def problems(change, limits=None):
    doc = copy.deepcopy(DIAMOND)
    change(doc)
    with pytest.raises(TraceError) as refused:
        load(doc, limits)
    assert all(row.file == "w.json" for row in refused.value.rows)
    return [row.problem for row in refused.value.rows]


def test_a_workflow_is_read_as_it_is():
    trace, bad = load(DIAMOND)
    assert bad == ()
    a, b, c, d = trace.jobs
    assert (a.name, a.run_us, a.need, a.kind, a.cpu_milli) == ("a", 1_500_000, Need(2, 4096), "cut", 2_000)
    assert (a.parents, a.reads, a.writes) == ((), ("in",), ("x",))
    assert (d.parents, d.reads, b.need, c.need, c.run_us) == (("b", "c"), ("x", "y"), Need(), Need(2), 0)
    assert trace.files == (TraceFile("in", 1_000), TraceFile("x", 20), TraceFile("y", 0))
    assert trace.nodes == (TraceNode("m0", 48_000, 1 << 30), TraceNode("m1", 0, 0))
    assert all(job.submitted_us == 0 for job in trace.jobs)


def test_files_may_be_missing_where_none_is_read():
    doc = copy.deepcopy(DIAMOND)
    del spec(doc)["files"]
    for task in spec(doc)["tasks"]:
        task.pop("inputFiles", None)
        task.pop("outputFiles", None)
    trace, _ = load(doc)
    assert (trace.files, len(trace.jobs)) == ((), 4)


def test_a_file_changed_in_place_is_no_circle_and_two_writers_are_said():
    doc = copy.deepcopy(DIAMOND)
    spec(doc)["tasks"][3]["outputFiles"] = ["x"]
    trace, _ = load(doc)
    assert trace.notes[1] == "1 files are written by more than one task"


def turn(doc):
    tasks = spec(doc)["tasks"]
    tasks[0]["parents"], tasks[3]["children"] = ["d"], ["a"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (turn, ["specification.tasks[0]: waits for itself: 'a' → 'b' → 'd' → 'a'"]),
        (
            lambda d: spec(d)["tasks"][1]["inputFiles"].append("gone"),
            ["specification.tasks[1]: the file 'gone' isn't in specification.files"],
        ),
        (lambda d: spec(d)["tasks"][0]["parents"].append("z"), ["specification.tasks[0].parents: 'z' is no task"]),
        (lambda d: spec(d)["tasks"][3]["children"].append("z"), ["specification.tasks[3].children: 'z' is no task"]),
        (
            lambda d: spec(d)["tasks"][1]["parents"].clear(),
            [
                "specification.tasks[0].children: 'b' doesn't name it as its parent",
                "specification.tasks[1]: reads 'x', which 'a' writes, and that isn't before it",
            ],
        ),
        (
            lambda d: spec(d)["tasks"][0]["children"].remove("c"),
            ["specification.tasks[2].parents: 'a' doesn't name it as its child"],
        ),
        (
            lambda d: spec(d)["tasks"][2]["inputFiles"].append("y"),
            ["specification.tasks[2]: reads 'y', which 'b' writes, and that isn't before it"],
        ),
        (
            lambda d: spec(d)["tasks"].append(spec(d)["tasks"][1]),
            ["specification.tasks[4]: 'b' is the id of specification.tasks[1] already"],
        ),
        (lambda d: spec(d)["tasks"][0].pop("children"), ["specification.tasks[0].children: is missing"]),
        (
            lambda d: spec(d)["files"].append({"id": "x", "sizeInBytes": 1}),
            ["specification.files[3].id: 'x' is there already"],
        ),
        (
            lambda d: spec(d)["files"][0].pop("sizeInBytes"),
            ["specification.files[0].sizeInBytes: is missing; a whole number is needed"],
        ),
        (
            lambda d: spec(d)["files"][0].update(sizeInBytes="5 GB"),
            ["specification.files[0].sizeInBytes: '5 GB' isn't a whole number"],
        ),
        (
            lambda d: spec(d)["files"][0].update(sizeInBytes=-1),
            ["specification.files[0].sizeInBytes: '-1' is negative"],
        ),
        (
            lambda d: spec(d)["files"][0].update(sizeInBytes=1.5),
            ["specification.files[0].sizeInBytes: '1.5' isn't a whole number"],
        ),
        (
            lambda d: spec(d)["files"][0].update(sizeInBytes=True),
            ["specification.files[0].sizeInBytes: 'True' isn't a whole number"],
        ),
        (
            lambda d: ran(d)["tasks"][1].update(runtimeInSeconds=-2),
            ["execution.tasks[1].runtimeInSeconds: '-2' is negative"],
        ),
        (
            lambda d: ran(d)["tasks"][1].update(runtimeInSeconds="2 min"),
            ["execution.tasks[1].runtimeInSeconds: '2 min' isn't a number of seconds"],
        ),
        (
            lambda d: ran(d)["tasks"][1].pop("runtimeInSeconds"),
            ["execution.tasks[1].runtimeInSeconds: is missing; seconds are needed"],
        ),
        (
            lambda d: ran(d)["tasks"].pop(),
            ["specification.tasks[3]: 'd' isn't among execution.tasks, so it has no run time"],
        ),
        (
            lambda d: ran(d)["tasks"].append({"id": "z", "runtimeInSeconds": 1}),
            ["execution.tasks[4]: 'z' is no task of the specification"],
        ),
        (
            lambda d: ran(d)["tasks"].append({"id": "a", "runtimeInSeconds": 1}),
            ["execution.tasks[4].id: 'a' is there already"],
        ),
        (lambda d: d["workflow"].pop("execution"), ["workflow.execution: is missing"]),
        (
            lambda d: d.pop("workflow"),
            ["workflow: is missing", "workflow.specification: is missing", "workflow.execution: is missing"],
        ),
        (lambda d: d.update(schemaVersion="1.3"), ["schemaVersion: '1.3' isn't read; WfFormat 1.5 is"]),
        (lambda d: d.pop("schemaVersion"), ["schemaVersion: is missing; WfFormat 1.5 is"]),
        (lambda d: spec(d).update(tasks="none"), None),
        (lambda d: spec(d).update(tasks=[], files=[]), None),
        (lambda d: spec(d)["tasks"].append(7), ["specification.tasks[4]: isn't a mapping"]),
    ],
)
def test_what_is_wrong_refuses_the_workflow_and_is_said_with_its_key(change, said):
    found = problems(change)
    if said is not None:
        assert found == said


def test_everything_that_is_wrong_is_said_at_once_within_a_bound():
    def change(doc):
        spec(doc)["files"] = [{"id": f"f{n}", "sizeInBytes": -1} for n in range(30)]

    assert len(problems(change)) == 37  # 30 sizes, and 7 files read or written that aren't listed any more
    assert problems(change, Limits(bad_rows=3))[3:] == ["and 34 more problems"]


def test_a_task_larger_than_the_largest_stated():
    assert problems(lambda d: None, Limits(job_cores=1)) == [
        "execution.tasks[0].coreCount: asks for 2 cores; the largest job stated is 1",
        "execution.tasks[2].coreCount: asks for 2 cores; the largest job stated is 1",
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": 1,\n "b": }', "w.json:2: isn't JSON: Expecting value"),
        (b'{"schemaVersion": NaN}', "w.json: isn't JSON that can be read: NaN is no number of JSON"),
        (b'{"a": 1, "a": 2}', "w.json: isn't JSON that can be read: 'a' is there twice"),
        (b"[1]", "w.json: isn't a workflow: a mapping with schemaVersion and workflow is needed"),
        (b"\xff\xfe\x00", "w.json: isn't JSON"),
        (b'{"a": ' * 200_000, "w.json: isn't JSON that can be read: "),
        (b'{"a": ' + b"9" * 10_000 + b"}", "w.json: isn't JSON that can be read: "),
    ],
)
def test_what_is_no_json_is_refused(data, said):
    with pytest.raises(TraceError) as refused:
        load(data)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize("depth", [100, 500, 900, 980])
def test_a_deep_value_where_a_name_belongs_is_shown_shortly(depth):
    data = json.dumps(DIAMOND).replace('"id": "a"', '"id": ' + "[" * depth + "]" * depth, 1).encode()
    with pytest.raises(TraceError):
        load(data)


def test_a_long_chain_and_a_long_circle_are_looked_through():
    count = 3_000
    doc = copy.deepcopy(DIAMOND)
    names = [f"t{n}" for n in range(count)]
    spec(doc)["tasks"] = [
        {"id": name, "parents": names[max(0, n - 1) : n], "children": names[n + 1 : n + 2]}
        for n, name in enumerate(names)
    ]
    ran(doc)["tasks"] = [{"id": name, "runtimeInSeconds": 1} for name in names]
    spec(doc)["tasks"][0]["outputFiles"], spec(doc)["tasks"][-1]["inputFiles"] = ["x"], ["x"]
    assert len(load(doc)[0].jobs) == count
    spec(doc)["tasks"][0]["parents"], spec(doc)["tasks"][-1]["children"] = [names[-1]], [names[0]]
    with pytest.raises(TraceError, match=r"tasks\[0\]: waits for itself: 't0' → 't1' → .*'t7' → … → 't0'"):
        load(doc)
