"""A log, read back: what it tells is what happened, and what is changed is changed."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from moyai.model.events import Signal
from moyai.model.specs.problems import SpecError
from moyai.model.units import Instant
from moyai.store.log import LOG_FILE, Log
from moyai.twin.replay.figures import figures
from moyai.twin.replay.setup import Cancel, Change, Fault, Mishap, Setup
from moyai.twin.scenarios.make import setup
from moyai.twin.whatif.alter import BadChange, add_sites, set_value, without_site
from moyai.twin.whatif.reading import NoLog, records
from moyai.twin.whatif.recorded import recorded, told
from moyai.twin.whatif.remade import remade
from twin.scenarios.small import HOUR, TEXT, scenario
from twin.whatif.logs import logged, run_setup

MORE = """\
  checkpoints: {share: 1, longer_than: 30m, every: 10m, per_gpu: 1GB}
  failures: {share: 0.1}
  deadlines: {share: 0.6}
datasets: [{name: d, size: 20GB, site: west, share: 0.2}]
faults: [{site: west, at: 2h, what: lost}, {site: west, at: 3h, what: back}, {site: east, at: 4h, what: drain}, {site: east, at: 5h, what: undrain}]
signals: [{sites: [east], signal: price, steps: [{at: 1h, value: 50}]}]
plan_every"""


@pytest.fixture(scope="module")
def made() -> Setup:
    return setup(scenario(TEXT, ("plan_every", MORE), ("jobs: 60", "jobs: 40")), None, 1)


@pytest.fixture(scope="module")
def log(made: Setup, tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("log")
    first = made.arrivals[3]
    return logged(replace(made, cancels=(Cancel(first.at_us + HOUR // 60, first.job),)), place)


def test_what_came_from_outside_is_found_again(made: Setup, log) -> None:
    found = remade(told(records(log[0])), "log")
    assert [(a.job, a.at_us, a.order) for a in found.arrivals] == [(a.job, a.at_us, a.order) for a in made.arrivals]
    assert [(p.name, p.flavors, p.price_micro_yen_per_kwh) for p in found.profiles] == [
        (p.name, p.flavors, p.price_micro_yen_per_kwh) for p in made.profiles
    ]
    assert found.links == made.links
    assert found.datasets == made.datasets
    assert found.changes == (Change(HOUR, "east", Signal.PRICE, 50_000_000),)  # type: ignore[arg-type]
    assert [c.job for c in found.cancels] == [made.arrivals[3].job]
    assert [(f.site, f.mishap) for f in found.faults] == [
        ("west", Mishap.LOST),
        ("west", Mishap.BACK),
        ("east", Mishap.DRAIN),
        ("east", Mishap.UNDRAIN),
    ]
    assert found.faults[1] == Fault(3 * HOUR, "west", Mishap.BACK)  # type: ignore[arg-type]


def test_run_times_are_those_that_were_seen(made: Setup, log) -> None:
    found = {a.job: a for a in remade(told(records(log[0])), "log").arrivals}
    rows = {row.job: row for row in log[1].jobs}
    seen = 0
    for arrival in made.arrivals:
        row, again = rows[arrival.job], found[arrival.job]
        if row.succeeded:
            assert abs(again.work.total_us - arrival.work.total_us) <= 1
            assert again.work.failing == arrival.work.failing
            seen += 1
    assert seen > 30
    assert any("guessed" in note for note in remade(told(records(log[0])), "log").notes)


def test_the_recorded_figures_are_those_of_what_happened(log) -> None:
    file, outcome = log
    found = told(records(file))
    back = recorded(found, remade(found, "log"), records(file))
    assert back.jobs == outcome.jobs
    assert back.wan_bytes == outcome.wan_bytes
    assert back.head == outcome.head
    mine, theirs = figures(back), figures(outcome)
    for name in ("hit_rate", "mean_completion_s", "mean_wait_s", "bills_yen", "preemptions", "lost_gpu_h", "events"):
        assert getattr(mine, name) == getattr(theirs, name), name
    # A lost site is dark from the moment of its loss; the log knows of it only when its lease is over.
    for name in ("kwh", "yen", "carbon_kg", "peak_kw", "allocated_pct"):
        assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=0.02), name


def test_the_same_policy_again_does_nearly_the_same(log) -> None:
    again = run_setup(remade(told(records(log[0])), "log"), "fifo", 0)
    mine, theirs = figures(again), figures(log[1])
    assert mine.unfinished == 0
    assert mine.mean_completion_s == pytest.approx(theirs.mean_completion_s, rel=0.25)


def test_a_price_that_is_set_stays(log) -> None:
    base = remade(told(records(log[0])), "log")
    dear = set_value(base, "east.price=200")
    assert dear.profiles[0].price_micro_yen_per_kwh == 200_000_000
    assert not dear.changes
    assert figures(run_setup(dear, "fifo", 0)).yen > 2 * figures(run_setup(base, "fifo", 0)).yen
    capped = set_value(set_value(base, "west.power-cap=12.5"), "west.h100=3")
    assert (capped.profiles[1].power_cap_w, capped.profiles[1].flavors[1].count) == (12_500, 3)
    assert "west.h100 is 3 from the start" in capped.notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("east.price", "isn't SITE.KEY=VALUE"),
        ("price=3", "isn't SITE.KEY=VALUE"),
        ("eastt.price=3", "did you mean 'east'?"),
        ("east.cost=3", "can't be set; of east there are price, carbon, power-cap, pue, a100"),
        ("east.price=NaN", "is no plain number"),
        ("east.price=-3", "is out of range"),
        ("east.pue=0.5", "is out of range"),
        ("east.a100=1.5", "a whole number"),
        ("east.a100=0", "a whole number"),
    ],
)
def test_what_cannot_be_set(made: Setup, text: str, said: str) -> None:
    with pytest.raises(BadChange) as caught:
        set_value(made, text)
    assert said in str(caught.value)


def test_without_a_site(made: Setup) -> None:
    found = without_site(made, "west")
    assert [p.name for p in found.profiles] == ["east"]
    assert not found.links
    assert not found.datasets
    assert {f.site for f in found.faults} == {"east"}
    assert "without west, and without what lay there alone: d@1" in found.notes
    with pytest.raises(BadChange, match="the only site"):
        without_site(found, "east")
    with pytest.raises(BadChange, match="there is no site 'north'; sites: east, west"):
        without_site(made, "north")


def test_one_more_site(made: Setup, tmp_path: Path) -> None:
    file = tmp_path / "more.yaml"
    flavor = '{name: a100, count: 9, cpus: 128, memory: 1TiB, accelerators: "A100:8", idle_w: 100, peak_w: 5500}'
    site = "{name: %s, jurisdiction: JP-04, latitude: 38, longitude: 140, price_yen_per_kwh: 9, carbon_g_per_kwh: 99, flavors: [%s]}"
    text = f"sites:\n  - {site % ('sendai', flavor)}\nlinks:\n  - {{between: [sendai, east], bandwidth: 10Gbit/s, latency: 3ms}}\n"
    file.write_text(text, "utf-8")
    found = add_sites(made, file)
    assert [p.name for p in found.profiles] == ["east", "sendai", "west"]
    assert {(link.a, link.b) for link in found.links} == {("east", "sendai"), ("east", "west")}
    file.write_text(text.replace("name: sendai", "name: east").replace("[sendai, east]", "[sendai, moon]"), "utf-8")
    with pytest.raises(SpecError) as caught:
        add_sites(made, file)
    first, second, third = str(caught.value).splitlines()
    assert first.startswith(f"{file}:2: sites[0].name: 'east' is there already")
    assert second.startswith(f"{file}:4: links[0].between[0]: 'sendai' is no site; sites: ")
    assert "'moon'" in third


def test_a_log_in_a_directory_is_read_and_left_as_it_is(log, tmp_path: Path) -> None:
    kept = list(records(log[0]))
    store = Log.open(tmp_path / LOG_FILE)
    epoch = store.take_over()
    store.append(epoch, kept)
    store.close()
    before = (tmp_path / LOG_FILE).read_bytes()
    assert [r.hash for r in records(tmp_path)] == [r.hash for r in kept]
    assert (tmp_path / LOG_FILE).read_bytes() == before


def test_what_is_no_log(log, tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none", "no such file"), (tmp_path, "no log there")):
        with pytest.raises(NoLog, match=said):
            list(records(path))
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(log[0].read_bytes()[:-20])
    with pytest.raises(NoLog, match="its line is cut off"):
        list(records(cut))
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(NoLog, match="the log is empty"):
        told(records(tmp_path / "empty.jsonl"))
    lines = log[0].read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join([*lines[:4], lines[4].replace(b'"seq":5', b'"seq":6'), *lines[5:]]))
    with pytest.raises(NoLog, match="event 5"):
        list(records(cut))


def test_a_site_that_came_late_takes_nothing_before(made: Setup, tmp_path: Path) -> None:
    from moyai.model.events import SiteJoined

    file, _ = logged(replace(made, faults=(), changes=()), tmp_path)
    found = told(records(file))
    late = [r for r in found.outside if isinstance(r.body, SiteJoined) and r.body.site == "west"]
    assert len(late) == 1
    index = found.outside.index(late[0])
    found.outside[index] = msgspec.structs.replace(late[0], recorded_at=Instant(found.began + 5 * HOUR))
    assert remade(found, "log").faults == (
        Fault(0, "west", Mishap.DRAIN),  # type: ignore[arg-type]
        Fault(5 * HOUR, "west", Mishap.UNDRAIN),  # type: ignore[arg-type]
    )


def test_a_workflow_of_a_log_is_one_again(tmp_path: Path) -> None:
    from moyai.model.workload import Need
    from moyai.twin.traces.trace import TraceFile
    from twin.scenarios.small import job, trace

    tasks = [
        replace(job(n, **more), need=Need(cores=2), gpu_milli=0)
        for n, more in (
            (1, {"reads": ("in",), "writes": ("mid",)}),
            (2, {"reads": ("mid",), "writes": ("out",), "parents": ("j-1",)}),
            (3, {"parents": ("j-2",)}),
        )
    ]
    files = (TraceFile("in", 10**9), TraceFile("mid", 10**6), TraceFile("out", 10**3))
    made = setup(scenario(TEXT), replace(trace(*tasks), files=files), 1)
    file, outcome = logged(made, tmp_path)
    found = remade(told(records(file)), "log")
    assert found.workflows == made.workflows
    assert [(a.job, a.order, a.work.files) for a in found.arrivals] == [
        (a.job, a.order, a.work.files) for a in made.arrivals
    ]
    assert found.datasets == made.datasets
    again = run_setup(found, "fifo", 0)
    assert [row.succeeded for row in again.jobs] == [row.succeeded for row in outcome.jobs] == [True, True, True]
