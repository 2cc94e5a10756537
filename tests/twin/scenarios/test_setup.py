"""From a scenario, a trace and a seed to what a replay starts from."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.specs.problems import SpecError
from moyai.twin.compare.task import with_estimates
from moyai.twin.replay.setup import Setup
from moyai.twin.scenarios.make import setup
from moyai.twin.scenarios.scenario import load
from moyai.twin.traces.trace import TraceError
from twin.scenarios.small import HOUR, TEXT, job, scenario, trace

PHILLY = Path(__file__).parents[3].parent / "shared/data/traces/philly-2017-09-10.csv.gz"
DRAWN = "  deadlines: {share: 0.5, slack: 2}\n  checkpoints: {share: 0.5, longer_than: 10m}\n  failures: {share: 0.2}\nplan_every"


def jobs(text: str) -> tuple[str, str]:
    """A change: `text` in the place of the made-up jobs."""
    start, end = TEXT.index("  synthetic:\n"), TEXT.index("plan_every")
    return (TEXT[start:end], text)


def test_equal_seeds_give_equal_setups_and_others_differ() -> None:
    found = scenario(TEXT, ("plan_every", DRAWN))
    assert setup(found, None, 1) == setup(found, None, 1)
    assert setup(found, None, 1) != setup(found, None, 2)


def test_other_estimates_change_nothing_else() -> None:
    found = scenario(TEXT, ("plan_every", DRAWN))
    exact, noisy, absent = (setup(with_estimates(found, kind), None, 3) for kind in ("exact", "noisy", "absent"))
    assert [a.order.deadline for a in exact.arrivals] == [a.order.deadline for a in noisy.arrivals]
    assert [a.work for a in exact.arrivals] == [a.work for a in absent.arrivals]
    assert all(a.order.expect_us == a.work.total_us for a in exact.arrivals)
    assert all(a.order.expect_us == 0 for a in absent.arrivals)
    factors = [a.order.expect_us / a.work.total_us for a in noisy.arrivals]
    assert 0.49 < min(factors) < 0.7
    assert 1.3 < max(factors) < 1.51


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_drawn_can_be(seed: int) -> None:
    found = scenario(TEXT, ("plan_every", DRAWN))
    made = setup(found, None, seed)
    keys = [a.key for a in made.arrivals]
    assert len(set(keys)) == len(keys)
    assert [a.at_us for a in made.arrivals] == sorted(a.at_us for a in made.arrivals)
    for arrival in made.arrivals:
        order, work = arrival.order, arrival.work
        assert order.need.accelerator == "A100"  # what acme's home, east, has
        assert order.deadline is None or order.deadline >= made.began + arrival.at_us + max(work.total_us, HOUR // 2)
        assert (order.checkpoint is None) == (work.checkpoint_us == 0)
        assert order.checkpoint is None or work.total_us >= HOUR // 6
        assert 0 <= arrival.at_us < 6 * HOUR


def test_a_type_is_put_in_the_place_of_any_gpu_and_what_is_named_stays() -> None:
    from moyai.model.workload import Need

    kinds = "  accelerators: [{kind: H100, gpus: 1..4}, {kind: A100, gpus: 5+}]\n  cpus_per_gpu: 4\n  memory_per_gpu: 10GiB\n"
    named = job(3, need=Need(cores=2, memory_bytes=1, accelerator="a100", accelerators=2), cpu_milli=2000)
    from moyai.model.ids import TenantName

    away = job(1, tenant=TenantName("other"))
    made = setup(scenario(TEXT, jobs(kinds)), trace(away, job(2, gpus=8), named), 0)
    one, eight, as_named = (a.order.need for a in made.arrivals)
    assert (one.accelerator, one.cores, one.memory_bytes) == ("H100", 4, 10 << 30)
    assert (eight.accelerator, eight.cores) == ("A100", 32)
    assert (as_named.accelerator, as_named.cores, as_named.memory_bytes) == ("A100", 2, 1)


def test_a_window_and_a_load_factor() -> None:
    text = "  window: {start: 1h, length: 2h}\n  compress: 2\n  longest: 3h\n"
    made = setup(
        scenario(TEXT, jobs(text)),
        trace(
            job(0), job(1, HOUR), job(2, 2 * HOUR), job(3, 2 * HOUR, 4 * HOUR), job(4, 3 * HOUR), job(5, 2 * HOUR, None)
        ),
    )
    assert [(a.key, a.at_us, a.work.total_us) for a in made.arrivals] == [("j-1", 0, HOUR), ("j-2", HOUR // 2, HOUR)]
    assert any("2 outside the window, 1 without a run time, 1 longer" in note for note in made.notes)
    assert any("2 times as fast" in note for note in made.notes)


def test_a_job_larger_than_every_site_is_named_once_for_each_kind() -> None:
    with pytest.raises(SpecError) as caught:
        setup(
            scenario(TEXT, jobs("  most: 100\n")),
            trace(job(1), job(2, gpus=8, nodes=7), job(3, gpus=8, nodes=7), job(4, gpus=16)),
        )
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"s.yaml:{TEXT[: TEXT.index('jobs:')].count(chr(10)) + 1}: jobs: ")
    assert "the job 'j-2' (and 1 more like it) asks for 7 nodes of cpus 8, accelerators A100:8" in first
    assert "too_large: leave-out" in first
    assert "'j-4' asks for 1 node of cpus 16" in second


def test_a_job_larger_than_every_site_can_be_left_out() -> None:
    made = setup(scenario(TEXT, jobs("  too_large: leave-out\n")), trace(job(1), job(2, gpus=8, nodes=9)))
    assert [a.key for a in made.arrivals] == ["j-1"]
    assert any("1 that no site could hold" in note for note in made.notes)


def test_a_horizon_shorter_than_a_job() -> None:
    found = scenario(TEXT, jobs("  most: 10\n"), ("plan_every", "policy: {horizon: 2h}\nplan_every"))
    with pytest.raises(SpecError, match=r"policy.horizon: '2h' is shorter than the job 'j-2', which runs 3h"):
        setup(found, trace(job(1), job(2, run_us=3 * HOUR)))
    assert setup(scenario(TEXT, jobs("  most: 10\n")), trace(job(1, run_us=200 * HOUR))).policy.horizon_us >= 200 * HOUR


def test_no_jobs_at_all() -> None:
    with pytest.raises(SpecError, match="names no jobs; write `trace` or `synthetic`"):
        setup(scenario(TEXT, jobs("  most: 10\n")))
    with pytest.raises(SpecError, match="no job of 'made' is left to replay; 1 outside the window"):
        setup(scenario(TEXT, jobs("  window: {start: 5h}\n")), trace(job(1)))


def test_a_trace_that_the_file_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("timestamp,duration,num_gpus,cluster\n2017-01-01 00:00:00,60,1,acme\n", "utf-8")
    found = scenario(TEXT, jobs("  trace: {file: t.csv}\n"), base=tmp_path)
    assert [a.key for a in setup(found).arrivals] == ["philly-2"]
    (tmp_path / "t.csv").write_text("timestamp,duration,num_gpus,cluster\n2017-01-01 00:00:00,-60,1,acme\n", "utf-8")
    with pytest.raises(TraceError, match=r"t.csv:2: duration: '-60' is negative"):
        setup(found)


def test_data_is_read_where_it_may_be() -> None:
    data = "datasets: [{name: d, size: 1TB, site: west, residency: [JP-40], share: 1}]\nplan_every"
    made = setup(scenario(TEXT, ("plan_every", data)), None, 1)
    assert not any(a.order.data for a in made.arrivals)  # acme's home is elsewhere
    made = setup(scenario(TEXT, ("plan_every", data), ("home: east", "home: west")), None, 1)
    assert all(a.order.data for a in made.arrivals)
    assert (made.datasets[0].site, made.datasets[0].size_bytes) == ("west", 10**12)


def share(made: Setup) -> float:
    return sum(a.order.deadline is not None for a in made.arrivals) / len(made.arrivals)


def test_the_built_in_scenarios_are_whole() -> None:
    for name in ("three-sites", "japan"):
        found = load(name)
        made = setup(found, None, 1)
        assert 0.4 < share(made) < 0.7
        assert made.notes
        assert all(profile.synthetic for profile in made.profiles)


def test_japan_has_the_nodes_of_the_list() -> None:
    found = load("japan")
    assert len(found.profiles) == 7
    assert len(found.links) == 21
    assert sum(f.count * f.accelerators for p in found.profiles for f in p.flavors) == 2_601


@pytest.mark.skipif(not PHILLY.is_file(), reason="needs ../shared/data")
def test_japan_takes_philly() -> None:
    from moyai.twin.traces.read import read

    made = setup(load("japan"), read(PHILLY, strict=True)[0], 1)
    assert len(made.arrivals) == 52_645
    assert set(made.homes) == {a.tenant for a in made.arrivals}
    assert any("Philly" in note for note in made.notes)


def test_a_workflow_is_replayed_as_one() -> None:
    from moyai.twin.traces.trace import TraceFile

    first = job(1, writes=("mid",), reads=("in",))
    second = job(2, reads=("mid",), parents=("j-1",))
    files = (TraceFile("in", 10**9), TraceFile("mid", 10**6))
    from dataclasses import replace

    from moyai.model.workload import Need

    cpu = [replace(task, need=Need(cores=2), gpu_milli=0) for task in (first, second)]
    whole = replace(trace(*cpu), files=files)
    made = setup(scenario(TEXT, ("plan_every", "faults: [{site: west, at: 1h, what: drain}]\nplan_every")), whole, 1)
    (flow,) = made.workflows
    assert [task.order.name for task in flow.tasks] == ["j-1", "j-2"]
    assert flow.tasks[1].reads == flow.tasks[0].writes
    assert [p.size_bytes for p in made.datasets] == [10**9]
    assert len(made.faults) == 1
    assert any("drawn: synthetic" in note for note in made.notes)
    large = replace(whole, jobs=(replace(cpu[0], need=Need(cores=999)), cpu[1]))
    with pytest.raises(SpecError, match="'j-1' asks for 1 node of cpus 999"):
        setup(scenario(TEXT), large, 1)
