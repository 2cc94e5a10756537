"""What a good workload file says, however it is read, and what becomes of it in the log."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.codec import decode, encode
from moyai.model.specs.job import JobSpec
from moyai.model.specs.problems import SpecError
from moyai.model.specs.quantity import Accelerators, Amount, Deadline
from moyai.model.specs.resolve import resolve
from moyai.model.units import Instant
from moyai.model.workload import CheckpointRule, DataUse, JobOrder, JobText, Need, OnPartition

GIB = 2**30
NOW = Instant(1_790_000_000_000_000)
FULL = """
name: train-gpt
resources: {accelerators: "H100:8", cpus: 16+, memory: 128GiB+}
nodes: 2                        # a gang
deadline: 2026-12-01T09:00+09:00
expect: 5h
limit: 8h
retries: 2
priority: -5
data: [{dataset: corpus-ja@3, mount: /data, purpose: training}, {dataset: vocab}]
residency: [JP, "NO"]
checkpoint: {path: /ckpt, signal: SIGTERM, grace: 60s}
on_partition: wait
grace: 5s
env: {SWITCH: no, TIME: 1:30, EMPTY: "", NUMBER: 010}
setup: pip install -r requirements.txt
run: |
  python train.py --data /data
  echo done
"""


def test_the_design_s_example_resolves() -> None:
    order, text = resolve(JobSpec.from_text(FULL, "train.yaml"), NOW)
    assert order == JobOrder(
        name="train-gpt",
        need=Need(16, 128 * GIB, "H100", 8),
        nodes=2,
        priority=-5,
        deadline=Instant(1_796_083_200_000_000),
        expect_us=5 * 3_600_000_000,
        limit_us=8 * 3_600_000_000,
        retries=2,
        residency=("JP", "NO"),
        data=(DataUse("corpus-ja", 3, "training"), DataUse("vocab", 0)),  # type: ignore[arg-type]
        checkpoint=CheckpointRule("SIGTERM", "SIGTERM", 60_000_000),
        on_partition=OnPartition.WAIT,
        grace_us=5_000_000,
        capabilities=("mounts",),
    )
    assert text == JobText(
        run="python train.py --data /data\necho done\n",
        setup="pip install -r requirements.txt",
        env=(("EMPTY", ""), ("NUMBER", "010"), ("SWITCH", "no"), ("TIME", "1:30")),
        mounts=(("corpus-ja", "/data"), ("vocab", "")),
        checkpoint_path="/ckpt",
    )
    assert decode(encode(order), JobOrder) == order


def test_the_smallest_job_has_the_order_s_defaults() -> None:
    order, text = resolve(JobSpec.from_text("name: hello\nrun: echo hello\n"), NOW)
    assert order == JobOrder(name="hello", need=Need())
    assert text == JobText(run="echo hello")


def test_a_span_counts_from_the_submission() -> None:
    order, _ = resolve(JobSpec.from_text("{name: a, run: b, deadline: 36h}"), NOW)
    assert order.deadline == NOW + 36 * 3_600_000_000


def test_the_archive_of_the_directory_is_given_apart() -> None:
    order, _ = resolve(JobSpec.from_text("{name: a, run: b, workdir: .}"), NOW, "ab" * 32, 17)  # type: ignore[arg-type]
    assert (order.workdir, order.workdir_bytes) == ("ab" * 32, 17)


@pytest.mark.parametrize(
    "text", [FULL, "{name: a, run: b}", "{name: a, run: b, deadline: 90m, resources: {cpus: 1..4}}"]
)
def test_file_text_and_data_say_the_same(text: str, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("\ufeff" + text.replace("\n", "\r\n"), "utf-8")  # as an editor on Windows leaves it
    spec = JobSpec.from_text(text)
    over_http = json.loads(json.dumps(spec.to_data()))
    assert JobSpec.from_file(file) == spec == JobSpec.from_data(over_http)
    assert JobSpec.from_data(over_http).to_data() == over_http


def test_python_values_are_taken_as_they_are() -> None:
    spec = JobSpec(
        name="a",
        run="b",
        nodes=2,
        resources={"cpus": 4, "memory": "1GiB"},  # type: ignore[arg-type]
        deadline=Deadline(span_us=5_000_000),
        expect=timedelta(hours=1),
    )
    assert spec == JobSpec.from_text(
        "{name: a, run: b, nodes: 2, resources: {cpus: 4, memory: 1GiB}, deadline: 5s, expect: 1h}"
    )
    assert spec.resources.cpus == Amount(4, 4)


def test_the_upper_bound_of_a_range_is_kept() -> None:
    spec = JobSpec.from_text("{name: a, run: b, resources: {accelerators: 'H100:1..8'}}")
    assert spec.resources.accelerators == Accelerators("H100", Amount(1, 8))
    assert resolve(spec, NOW)[0].need.accelerators == 1


def test_aliases_within_the_bound_work() -> None:
    spec = JobSpec.from_text("name: a\nrun: &r echo\nsetup: *r\nenv: {A: &v x, B: *v}\n")
    assert (spec.setup, spec.env) == ("echo", {"A": "x", "B": "x"})


def test_a_mistake_behind_an_alias_has_the_alias_s_line() -> None:
    text = "name: a\nrun: &r echo\nresources:\n  cpus: *r\n"
    with pytest.raises(SpecError, match=r"^f:4: resources\.cpus: 'echo' is no number of cores"):
        JobSpec.from_text(text, "f")


def test_without_the_c_parser_it_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    expected = JobSpec.from_text(FULL)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert JobSpec.from_text(FULL) == expected
    with pytest.raises(SpecError, match=r"^f:2: a tab indents this line"):
        JobSpec.from_text("a:\n\tb: 1\n", "f")


def test_a_spec_can_not_be_changed() -> None:
    spec = JobSpec.from_text("{name: a, run: b}")
    with pytest.raises(ValueError, match="frozen"):
        spec.nodes = 3  # type: ignore[misc]


def said(error: SpecError) -> set[str]:
    """The problems, each without its place, all printable on one line."""
    lines = {f"{problem.key}: {problem.said}; {problem.hint}" for problem in error.problems}
    assert all(line.isprintable() for line in lines)
    return lines


KEYS = sorted({*JobSpec.model_fields, "cpus", "memory", "accelerators", "dataset", "mount", "path", "signal", "x", ""})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["H100:8", "36h", "16+", "JP", "/d", "128GiB", "a", "stop", "2026-12-01T09:00Z", "0", "SIGTERM"])
)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), DATA, max_size=8), st.booleans())
def test_any_data_is_a_spec_or_problems(data: dict[str, object], complete: bool) -> None:
    if complete:
        data |= {"name": "a", "run": "b"}
    try:
        spec = JobSpec.from_data(data)
    except SpecError as error:
        said(error)
        return
    assert JobSpec.from_data(spec.to_data()) == spec


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), DATA, max_size=8))
def test_a_file_and_its_data_have_the_same_problems(data: dict[str, object]) -> None:
    text = json.dumps(data, ensure_ascii=True)
    if "NaN" in text or "Infinity" in text or "\\ud" in text:  # what JSON can't hold, and what YAML's reader refuses
        return

    from_file = from_data = None
    try:
        spec = JobSpec.from_text(text)
    except SpecError as error:
        spec, from_file = None, said(error)
    try:
        assert JobSpec.from_data(json.loads(text, parse_float=str, parse_int=str)) == spec
    except SpecError as error:
        from_data = said(error)
    assert from_file == from_data


@settings(deadline=None)
@given(st.text() | st.text(alphabet="ab:[]{}&*!|>-?#,'\" \n\t~%@`01"))
def test_any_text_is_a_spec_or_problems(text: str) -> None:
    for start in ("", "name: a\nrun: b\n", "name: a\nrun: b\nenv:\n  A: "):
        try:
            JobSpec.from_text(start + text, "f")
        except SpecError as error:
            said(error)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_spec_or_problems(content: bytes) -> None:
    try:
        JobSpec.from_text(content, "f")
    except SpecError as error:
        said(error)
