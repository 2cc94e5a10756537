"""A small scenario for the tests, as text whose lines can be changed."""

from pathlib import Path

from moyai.model.ids import TenantName
from moyai.model.specs.scenario import ScenarioSpec
from moyai.model.workload import Need
from moyai.twin.scenarios.scenario import Scenario, resolve
from moyai.twin.traces.trace import ANY_GPU, Trace, TraceJob

HOUR = 3_600_000_000
TEXT = """\
name: small
sites:
  - name: east
    jurisdiction: JP-13
    latitude: 35.68
    longitude: 139.77
    price_yen_per_kwh: 30
    carbon_g_per_kwh: 450
    flavors:
      - {name: a100, count: 4, cpus: 128, memory: 1TiB, accelerators: "A100:8", idle_w: 1500, peak_w: 5500}
  - name: west
    jurisdiction: JP-40
    latitude: 33.59
    longitude: 130.40
    price_yen_per_kwh: 20
    carbon_g_per_kwh: 300
    synthetic: true
    flavors:
      - {name: a100, count: 2, cpus: 128, memory: 1TiB, accelerators: "A100:8", idle_w: 1500, peak_w: 5500}
      - {name: h100, count: 1, cpus: 192, memory: 2TiB, accelerators: "H100:8", idle_w: 2000, peak_w: 9000}
links:
  - {between: [east, west], bandwidth: 10Gbit/s, egress_yen_per_gb: 1.5}
tenants:
  - {name: acme, home: east}
jobs:
  synthetic:
    jobs: 60
    over: 6h
    median: 20m
    gangs: [{gpus: 1, share: 3}, {gpus: 8, share: 1}]
plan_every: 5m
sample_every: 30m
"""


def scenario(text: str = TEXT, *changes: tuple[str, str], base: Path = Path(), file: str = "s.yaml") -> Scenario:
    """The scenario in `text`, each of `changes` an old part and the new one in its place."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return resolve(ScenarioSpec.from_text(text, file), base)


def job(
    number: int, at_us: int = 0, run_us: int | None = HOUR, gpus: int = 1, nodes: int = 1, **more: object
) -> TraceJob:
    """A job of a trace, of any type of GPU."""
    need = Need(accelerator=ANY_GPU, accelerators=gpus)
    fields = {"tenant": TenantName("acme"), "need": need, "gpu_milli": gpus * nodes * 1000} | more
    return TraceJob(f"j-{number}", submitted_us=at_us, run_us=run_us, nodes=nodes, **fields)  # type: ignore[arg-type]


def trace(*jobs: TraceJob) -> Trace:
    """A trace of these jobs."""
    return Trace("made", "this test", "none", tuple(jobs))
