"""Philly: jobs of Microsoft's GPU cluster, as a table of comma-separated values.

Source of the format: msr-fiddle/philly-traces as converted by the Sia artifact (sia-simulator/traces/philly.csv):
timestamp (local time), duration (s), num_gpus, gpu_time (GPU-s), cluster (a virtual cluster: here, the tenant).
"""

from collections.abc import Iterable

from moyai.model.ids import TenantName
from moyai.model.specs.problems import quoted
from moyai.model.units import MICROS_PER_SECOND
from moyai.model.workload import Need
from moyai.twin.traces.clock import wall_us
from moyai.twin.traces.naming import stem
from moyai.twin.traces.rows import BadRows, Wrong, micros, number, table, whole, within_job, word
from moyai.twin.traces.trace import ANY_GPU, NODE_GPUS, BadRow, Limits, Trace, TraceJob, gang

COLUMNS = ("timestamp", "duration", "num_gpus", "cluster")
SOURCE = "Philly (Microsoft): msr-fiddle/philly-traces, through siasosp23/artifacts; Jeon et al., USENIX ATC'19"
LICENCE = "CC-BY-4.0"


def load(lines: Iterable[str], file: str, limits: Limits) -> tuple[Trace, tuple[BadRow, ...]]:
    """The jobs of a Philly table, by time of submission; times in microseconds from the earliest.

    A job of up to 8 GPUs is a part of one node, a larger one a gang of whole nodes (see `gang`). Cores, memory and
    the type of GPU aren't in the table. Rows needn't be in order. Raises TraceError where there is no such header.
    """
    bad = BadRows(file, limits)
    needs: dict[int, Need] = {}
    taken: list[tuple[int, int, int, int, TenantName]] = []
    tenants: dict[str, TenantName] = {}
    for line, (timestamp, duration, gpus_text, cluster, gpu_time) in table(lines, bad, limits, COLUMNS, ("gpu_time",)):
        try:
            gpus = whole("num_gpus", gpus_text, least=1)
            within_job(limits, gpus=gpus)
            run_us = micros("duration", duration)
            if gpu_time:
                _check_gpu_time(gpu_time, run_us, gpus)
            tenant = tenants.get(cluster)
            if tenant is None:
                tenant = tenants[cluster] = TenantName(word("cluster", cluster))
            taken.append((wall_us("timestamp", timestamp), line, run_us, gpus, tenant))
        except Wrong as wrong:
            bad.add(line, str(wrong))
    taken.sort()
    start = taken[0][0] if taken else 0
    jobs: list[TraceJob] = []
    uneven = 0
    for at, line, run_us, gpus, tenant in taken:
        nodes, each = gang(gpus)
        uneven += nodes * each != gpus
        need = needs.get(each)
        if need is None:
            need = needs[each] = Need(accelerator=ANY_GPU, accelerators=each)
        jobs.append(TraceJob(f"philly-{line}", tenant, at - start, run_us, need, nodes, gpus * 1000))
    notes = ["times are local, without a time zone; the type of GPU, cores and memory aren't in the table"]
    if uneven:
        notes.append(f"{uneven} jobs ask for more than {NODE_GPUS} GPUs but not for whole nodes, and hold whole nodes")
    return Trace(stem(file), SOURCE, LICENCE, tuple(jobs), tuple(notes)), bad.taken()


def _check_gpu_time(text: str, run_us: int, gpus: int) -> None:
    stated_s = number("gpu_time", text, "GPU-seconds")
    meant_s = run_us * gpus / MICROS_PER_SECOND
    if abs(stated_s - meant_s) > max(1.0, meant_s / 1000):
        raise Wrong(f"gpu_time: {quoted(text)} isn't duration × num_gpus, {meant_s:.0f} GPU-seconds")
