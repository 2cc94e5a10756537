"""Runs that are made up, for the tests of what is shown."""

from dataclasses import fields, replace

from moyai.model.ids import JobId, SiteName, TenantName
from moyai.twin.compare.task import Run, Task
from moyai.twin.replay.figures import Figures
from moyai.twin.replay.outcome import JobRow, Sample, SiteSample

HOUR = 3_600_000_000
EAST, WEST = SiteName("east"), SiteName("west")
ROW = JobRow(JobId("a-1"), TenantName("acme"), 8, 1, 0, HOUR, 2 * HOUR, None, True, EAST, 1, 0, HOUR, 0, 0, 10, 20, 30)
PLAIN = Figures(**{f.name: 1 if f.type is int else 1.0 for f in fields(Figures)})


def run(policy: str = "moyai", seed: int = 0, estimates: str = "exact", *, hours: int = 10, **figures: float) -> Run:
    """A run of two sites, sampled every hour, ever busier."""
    samples = tuple(
        Sample(
            n * HOUR,
            queued=n,
            running=1,
            missed=n // 4,
            met=n // 2,
            sites=(SiteSample(EAST, n, 10, 1_000 * n), SiteSample(WEST, 0, 0, 500)),
        )
        for n in range(hours)
    )
    return Run(
        Task(policy, estimates, seed),
        replace(PLAIN, **figures),
        (ROW, replace(ROW, site=None)),
        samples,
        (EAST, WEST),
        "head",
    )
