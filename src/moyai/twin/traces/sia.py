"""Sia: jobs drawn from Philly with real training programs put in their place.

Source of the format: siasosp23/artifacts (workloads/…/workload-N.csv): name, time (s), application, num_replicas,
batch_size. How long one runs depends on the GPUs that it gets, and is in that artifact's profiles, not in the table.
"""

from collections.abc import Iterable

from moyai.model.ids import TenantName
from moyai.model.workload import Need
from moyai.twin.traces.naming import stem
from moyai.twin.traces.rows import BadRows, Wrong, first_time, micros, table, whole, within_job, word
from moyai.twin.traces.trace import ANY_GPU, BadRow, Limits, Trace, TraceJob, gang

COLUMNS = ("name", "time", "application", "num_replicas")
SOURCE = "Sia: siasosp23/artifacts; Subramanya et al., SOSP'23"
LICENCE = "none stated"
TENANT = TenantName("sia")


def load(lines: Iterable[str], file: str, limits: Limits) -> tuple[Trace, tuple[BadRow, ...]]:
    """The jobs of a Sia workload, by time of submission; one GPU a replica, no run times.

    Rows needn't be in order. A name given twice is a bad row. Raises TraceError where there is no such header.
    """
    bad = BadRows(file, limits)
    seen: dict[str, int] = {}
    jobs: list[tuple[int, int, TraceJob]] = []
    for line, (name_text, time, application, replicas, batch) in table(lines, bad, limits, COLUMNS, ("batch_size",)):
        try:
            name = word("name", name_text)
            at_us = micros("time", time)
            kind = word("application", application)
            gpus = whole("num_replicas", replicas, least=1)
            within_job(limits, gpus=gpus)
            if batch:
                whole("batch_size", batch, least=1)
            first_time(seen, "name", name, line)
        except Wrong as wrong:
            bad.add(line, str(wrong))
            continue
        nodes, each = gang(gpus)
        need = Need(accelerator=ANY_GPU, accelerators=each)
        jobs.append((at_us, line, TraceJob(name, TENANT, at_us, None, need, nodes, gpus * 1000, kind=kind)))
    jobs.sort(key=lambda job: job[:2])
    notes = ("how long a job runs isn't in the table",)
    return Trace(stem(file), SOURCE, LICENCE, tuple(job for _, _, job in jobs), notes), bad.taken()
