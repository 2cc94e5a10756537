"""Whatever is written into a scenario: it is one, or it is refused with problems that name the file."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.specs.problems import SpecError
from moyai.twin.scenarios.make import setup
from moyai.twin.traces.trace import TraceError
from twin.scenarios.small import TEXT, scenario

MORE = """\
  accelerators: [{kind: A100, gpus: 1+, share: 2}]
  deadlines: {share: 0.5, slack: 2, sigma: 0.5, least: 10m}
  checkpoints: {share: 0.5, longer_than: 10m, every: 10m, per_gpu: 1GB}
  failures: {share: 0.2, attempts: 1, retries: 2}
  cpus_per_gpu: 4
datasets: [{name: d, size: 1TB, site: west, residency: [JP-40], share: 0.5}]
faults: [{site: west, at: 2h, what: lost}, {site: west, at: 3h, what: back}]
signals: [{sites: [east], signal: price, steps: [{at: 1h, value: 50}]}]
policy: {carbon_yen_per_kg: 3, horizon: 20d}
plan_every"""
WHOLE = TEXT.replace("plan_every", MORE).replace("jobs: 60", "jobs: 8")
VALUES = [m.span(1) for m in re.finditer(r": ([^\s,{}\[\]]+)(?=[,}\]\n])", WHOLE)]
ODD = st.one_of(
    st.sampled_from(["", "-1", "0", "1", "NaN", "inf", "1e9", "99999999", "~", "[]", "{}", "x", "'", "1h", "-1h", "1GB", "east", "&a", "*a", "１"]),
    st.text(max_size=6),
)  # fmt: skip


def refusal(text: str) -> str:
    """How a scenario is refused; "" where it isn't."""
    try:
        made = setup(scenario(text), None, 1)
    except (SpecError, TraceError) as error:
        return str(error)
    assert made.arrivals
    return ""


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(VALUES), ODD)
def test_a_value_that_may_be_anything(where: tuple[int, int], value: str) -> None:
    said = refusal(WHOLE[: where[0]] + value + WHOLE[where[1] :])
    assert all(line.startswith(("s.yaml", "and ")) for line in said.splitlines())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, WHOLE.count("\n") - 1), st.integers(0, 3))
def test_lines_that_are_missing(line: int, count: int) -> None:
    lines = WHOLE.splitlines(keepends=True)
    said = refusal("".join(lines[:line] + lines[line + count :]))
    assert all(line.startswith(("s.yaml", "and ")) for line in said.splitlines())
