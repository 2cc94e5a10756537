"""The door: formats told apart, packed files, strict reading, the command."""

import gzip
import io
import json
import tarfile

import pytest

from moyai.twin.__main__ import main
from moyai.twin.traces import opening
from moyai.twin.traces.naming import stem
from moyai.twin.traces.read import Format, detect, read
from moyai.twin.traces.summary import bad_lines, summarise, table
from moyai.twin.traces.trace import ANY_GPU, BadRow, Trace, TraceError, with_accelerator

PHILLY = (
    "timestamp,duration,num_gpus,gpu_time,cluster\n2017-09-04 10:30:41,3600,16,57600,a\n2017-09-06 10:30:41,0,1,0,b\n"
)
BAD = PHILLY + "2017-09-06 10:30:41,-4,1,,b\n2017-09-06 10:30:41,nan,1,,b\n"


def tar_of(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.csv", PHILLY.encode()),
        ("p.csv.gz", gzip.compress(PHILLY.encode())),
        ("misnamed.csv", gzip.compress(PHILLY.encode())),
        ("misnamed.gz", PHILLY.encode()),
        ("p.tar.gz", tar_of(qps=PHILLY)),
        ("p.tar", gzip.decompress(tar_of(qps=PHILLY, **{"._qps": "attributes of a Mac"}))),
    ],
)
def test_a_file_is_opened_by_what_it_is(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    trace, bad = read(tmp_path / name)
    assert not bad
    assert [job.tenant for job in trace.jobs] == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (
            b"hello world\n",
            "can't tell its format, by its name or its first line, 'hello world'; say which it is: philly, ",
        ),
        (gzip.compress(PHILLY.encode() * 50)[:-30], "can't be read"),
        (gzip.compress(PHILLY.encode())[:5], "can't be read"),
        (b"\x1f\x8bnonsense", "can't be read"),
        (tar_of(a=PHILLY, b=PHILLY), "holds 2 files; unpack it, and name one of them"),
        (tar_of(), "can't be read|holds 0 files|is empty|can't tell"),
        (b"\x00\xff" * 50, "can't tell its format"),
    ],
    ids=lambda value: "bytes" if isinstance(value, bytes) else None,  # an archive holds the time it was made at
)
def test_what_can_not_be_used_is_refused(tmp_path, data, said):
    path = tmp_path / "thing"
    path.write_bytes(data)
    with pytest.raises(TraceError, match=said) as refused:
        read(path)
    assert str(refused.value).startswith(str(path))


def test_a_file_that_is_not_there_and_a_folder(tmp_path):
    with pytest.raises(TraceError, match="there is no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="can't be opened"):
        read(tmp_path)


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "LINE_BYTES", 100)
    (tmp_path / "p.csv").write_text(PHILLY + "x" * 500)
    with pytest.raises(TraceError, match=r"p\.csv:4: the line is longer than 100 bytes"):
        read(tmp_path / "p.csv")


def test_json_on_one_long_line_is_told_and_read(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "LINE_BYTES", 100)
    (tmp_path / "w").write_text(json.dumps({"name": "x" * 100_000, "schemaVersion": "1.5"}))
    with pytest.raises(TraceError, match="workflow: is missing"):
        read(tmp_path / "w")


def test_json_larger_than_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "WHOLE_BYTES", 100)
    (tmp_path / "w.json.gz").write_bytes(gzip.compress(b'{"a": "' + b"x" * 500 + b'"}'))
    with pytest.raises(TraceError, match="is larger than 100 bytes"):
        read(tmp_path / "w.json.gz")


@pytest.mark.parametrize(
    ("file", "first", "format"),
    [
        ("x", "timestamp,duration,num_gpus,gpu_time,cluster", Format.PHILLY),
        ("x", "\ufeffcluster, num_gpus,duration,timestamp", Format.PHILLY),
        ("x", "sn,cpu_milli,memory_mib,gpu,model", Format.OPENB),
        ("x", "name,cpu_milli,memory_mib,num_gpu,gpu_milli", Format.OPENB),
        ("x", "name,time,application,num_replicas,batch_size", Format.SIA),
        ("x", "TIMESTAMP,ContextTokens,GeneratedTokens", Format.AZURE),
        ("x", "gpu_model,gpu_capacity_num,cpu_num,node_name", Format.ALIBABA),
        ("x", "; Version: 2.2", Format.SWF),
        ("x", " 1 0 -1 83 1 -1 -1 -1 1200 -1 -1 1 1 -1 -1 1 -1 -1", Format.SWF),
        ("x", "A3C\tpython3\t-n\t1\t10\t0.0\t1", Format.GAVEL),
        ("x", "{", Format.WFFORMAT),
        ("a/philly-x.csv.gz", "timestamp,seconds,num_gpus", Format.PHILLY),
        ("a/x.swf.gz", "1 2 3", Format.SWF),
        ("a/x.trace", "A3C", Format.GAVEL),
        ("a/x.json", "[", Format.WFFORMAT),
        ("a/openb_pod_list_x.csv", "name", Format.OPENB),
        ("a/workload-1.csv", "name", Format.SIA),
        ("a/AzureLLMInferenceTrace_code.csv", "TIME", Format.AZURE),
    ],
)
def test_formats_are_told_apart(file, first, format):
    assert detect(file, ["\n", first + "\n"]) is format


def test_a_format_that_is_said_is_the_one_that_is_read(tmp_path):
    (tmp_path / "p.csv").write_text(PHILLY)
    with pytest.raises(TraceError, match="the header has no name, time, application, num_replicas"):
        read(tmp_path / "p.csv", Format.SIA)


def test_strict_reading_raises_with_every_bad_row(tmp_path):
    (tmp_path / "p.csv").write_text(BAD)
    trace, bad = read(tmp_path / "p.csv")
    assert (len(trace.jobs), [row.line for row in bad]) == (2, [4, 5])
    with pytest.raises(TraceError) as refused:
        read(tmp_path / "p.csv", strict=True)
    assert refused.value.rows == bad
    assert str(refused.value).count("\n") == 1


def test_a_gavel_trace_takes_the_table_beside_it(tmp_path):
    (tmp_path / "t.trace").write_text("A3C\tpython3\t-n\t1\t10\t0.0\t1\n")
    assert read(tmp_path / "t.trace")[0].jobs[0].run_us is None
    beside = tmp_path / "simulation_throughputs.json"
    beside.write_text(json.dumps({"v100": {"('A3C', 1)": {"null": 5}}}))
    assert read(tmp_path / "t.trace")[0].jobs[0].run_us == 2_000_000
    with pytest.raises(TraceError, match=r"is Gavel's table of steps a second; name a \.trace beside it"):
        read(beside)
    beside.write_text("{}{")
    with pytest.raises(TraceError, match=r"simulation_throughputs\.json: isn't JSON"):
        read(tmp_path / "t.trace")


def test_an_error_of_many_rows_is_words_for_some_and_a_number_for_the_rest():
    error = TraceError(tuple(BadRow("f", n, "p") for n in range(1, 51)))
    assert str(error).splitlines()[-2:] == ["f:40: p", "and 10 more"]
    with pytest.raises(ValueError, match="needs a bad row"):
        TraceError(())


def test_a_trace_is_given_a_type_of_accelerator(tmp_path):
    (tmp_path / "p.csv").write_text(PHILLY)
    trace, _ = read(tmp_path / "p.csv")
    assert {job.need.accelerator for job in trace.jobs} == {ANY_GPU}
    typed = with_accelerator(trace, "H100")
    assert [(j.name, j.need.accelerator, j.need.accelerators) for j in typed.jobs] == [
        ("philly-2", "H100", 8),
        ("philly-3", "H100", 1),
    ]
    assert with_accelerator(typed, "T4") == typed


def test_the_figures_of_a_trace(tmp_path):
    (tmp_path / "p.csv").write_text(BAD)
    trace, bad = read(tmp_path / "p.csv")
    figures = summarise(trace, bad)
    assert (figures.jobs, figures.tenants, figures.gpu_hours, figures.bad_rows) == (2, 2, 16.0, 2)
    assert (figures.span_us, figures.largest_nodes, figures.largest_gpu_milli) == (2 * 86_400_000_000, 2, 16_000)
    shown = table(trace, bad)
    assert "span          2.00 days\n" in shown
    assert "largest gang  2 nodes\n" in shown
    assert "sites" not in shown, "what there is none of is left out"


def test_an_empty_trace_has_figures_too():
    assert summarise(Trace("n", "s", "l")).span_us == 0
    assert "jobs      0" in table(Trace("n", "s", "l"))


def test_bad_rows_are_shown_up_to_a_bound():
    assert bad_lines(tuple(BadRow("f", n, "p") for n in range(1, 31))).splitlines()[-1] == "and 10 more"


def test_the_command(tmp_path, capsys):
    path = tmp_path / "p.csv"
    path.write_text(BAD)
    assert main(["trace", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "jobs          2\n" in out
    assert f"{path}:4: duration: '-4' is negative\n{path}:5: " in err
    assert main(["trace", "--strict", str(path)]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert f"{path}:5: duration: 'nan'" in err
    assert main(["trace", "--largest-gpus", "8", str(path)]) == 0
    assert "asks for 16 GPUs; the largest job stated is 8" in capsys.readouterr().err
    assert main(["trace", "--format", "swf", str(path)]) == 0
    assert main(["trace", str(tmp_path / "none")]) == 1


@pytest.mark.parametrize("words", [["--format", "xml"], ["--largest-gpus", "0"], ["--largest-cores", "many"], []])
def test_bad_words_of_the_command(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(["trace", *words])
    assert left.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "name"),
    [("a/b/p.csv.gz", "p"), ("p.tar.gz", "p"), (".gz", ".gz"), ("a\\p.swf", "p"), ("p-1.5.json", "p-1.5"), ("p", "p")],
)
def test_the_name_of_a_trace(file, name):
    assert stem(file) == name
