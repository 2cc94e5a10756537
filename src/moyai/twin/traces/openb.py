"""openb: nodes of an Alibaba GPU cluster, and the pods asked of it, some for a share of a GPU.

Source of the format: alibaba/clusterdata, cluster-trace-gpu-v2023 (openb_node_list_*.csv, openb_pod_list_*.csv).
cpu_milli: thousandths of a core; memory_mib; num_gpu; gpu_milli: thousandths of each GPU; gpu_spec: types that are
taken, "|" between them; times in seconds from the trace's own start.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from moyai.model.ids import TenantName
from moyai.model.specs.problems import quoted
from moyai.model.workload import Need
from moyai.twin.traces.naming import stem
from moyai.twin.traces.rows import BadRows, Wrong, cells, first_time, micros, table, whole, within_job, word
from moyai.twin.traces.trace import ANY_GPU, BadRow, Limits, Trace, TraceJob, TraceNode

NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
POD_MORE = ("gpu_spec", "qos", "creation_time", "deletion_time", "scheduled_time")
SOURCE = "Alibaba cluster-trace-gpu-v2023: alibaba/clusterdata; Weng et al., USENIX ATC'23"
LICENCE = "research use; no licence file"
TENANT = TenantName("openb")
MIB = 1 << 20
MOST_MIB = 1 << 30


def load(lines: Iterable[str], file: str, limits: Limits) -> tuple[Trace, tuple[BadRow, ...]]:
    """The nodes of a node list, or the jobs of a pod list: its header says which.

    A pod is a job on one node. Where the list has no times (multigpu20 to 40) all are submitted at 0, in its order.
    A pod that was never scheduled has no run time. Raises TraceError where there is neither header.
    """
    bad = BadRows(file, limits)
    lines = iter(lines)
    start: list[str] = []
    for line in lines:
        start.append(line)
        if line.strip():
            break
    header = _header(start[-1]) if start else []
    everything = chain(start, lines)
    if "sn" in header:
        return Trace(stem(file), SOURCE, LICENCE, nodes=tuple(_nodes(everything, bad, limits))), bad.taken()
    timed = "creation_time" in header
    jobs = sorted(_pods(everything, bad, limits, timed=timed), key=lambda job: job.submitted_us)
    never = sum(job.run_us is None for job in jobs)
    notes: list[str] = []
    if not timed:
        notes.append("the list has no times: every pod is submitted at 0, in its order")
    elif never:
        notes.append(f"{never} pods were never scheduled, and have no run time")
    return Trace(stem(file), SOURCE, LICENCE, tuple(jobs), tuple(notes)), bad.taken()


def _header(text: str) -> list[str]:
    try:
        return [cell.strip().removeprefix("\ufeff") for cell in cells(text)]
    except Wrong:
        return []


def _nodes(lines: Iterable[str], bad: BadRows, limits: Limits) -> Iterator[TraceNode]:
    seen: dict[str, int] = {}
    for line, (sn, cpu, memory, gpus_text, model_text) in table(lines, bad, limits, NODE_COLUMNS):
        try:
            name = word("sn", sn)
            gpus = whole("gpu", gpus_text, most=1_000)
            model = model_text.strip()
            if gpus and not model:
                raise Wrong(f"model: nothing is there, for {gpus} GPUs")
            if model and not gpus:
                raise Wrong(f"gpu: {quoted(model)} is the model of 0 GPUs")
            memory_bytes = whole("memory_mib", memory, most=MOST_MIB) * MIB
            node = TraceNode(name, whole("cpu_milli", cpu, least=1), memory_bytes, model, gpus)
            first_time(seen, "sn", name, line)
        except Wrong as wrong:
            bad.add(line, str(wrong))
            continue
        yield node


def _pods(lines: Iterable[str], bad: BadRows, limits: Limits, *, timed: bool) -> Iterator[TraceJob]:
    seen: dict[str, int] = {}
    for line, row in table(lines, bad, limits, POD_COLUMNS, POD_MORE):
        try:
            job = _pod(row, limits, timed=timed)
            first_time(seen, "name", job.name, line)
        except Wrong as wrong:
            bad.add(line, str(wrong))
            continue
        yield job


def _pod(row: tuple[str, ...], limits: Limits, *, timed: bool) -> TraceJob:
    name_text, cpu_text, memory, gpus_text, share_text, spec, qos, created, deleted, scheduled = row
    name = word("name", name_text)
    cpu_milli = whole("cpu_milli", cpu_text)
    gpus = whole("num_gpu", gpus_text)
    share = whole("gpu_milli", share_text, most=1000)
    if gpus > 1 and share != 1000:
        raise Wrong(f"gpu_milli: {share} of each of {gpus} GPUs; a pod has a share of one GPU, or whole ones")
    if (gpus == 0) != (share == 0):
        raise Wrong(f"gpu_milli: {share} of {gpus} GPUs")
    cores = max(1, -(-cpu_milli // 1000))
    within_job(limits, gpus=gpus, cores=cores)
    models = tuple(word("gpu_spec", one) for one in spec.split("|")) if spec.strip() else ()
    if models and not gpus:
        raise Wrong(f"gpu_spec: {quoted(spec)} without a GPU")
    accelerator = "" if not gpus else models[0] if len(models) == 1 else ANY_GPU
    need = Need(cores, whole("memory_mib", memory, most=MOST_MIB) * MIB, accelerator, gpus)
    created_us = run_us = None
    if timed:
        created_us = micros("creation_time", created)
        run_us = _run_us(created_us, scheduled, deleted)
    return TraceJob(name, TENANT, created_us or 0, run_us, need, 1, gpus * share, cpu_milli, models, kind=qos.strip())


def _run_us(created_us: int, scheduled: str, deleted: str) -> int | None:
    """From the time it was scheduled to its end; None where one of them isn't there."""
    scheduled_us = micros("scheduled_time", scheduled) if scheduled.strip() else None
    deleted_us = micros("deletion_time", deleted) if deleted.strip() else None
    if scheduled_us is not None and scheduled_us < created_us:
        raise Wrong(f"scheduled_time: {quoted(scheduled)} is before the creation_time")
    if deleted_us is not None and deleted_us < (created_us if scheduled_us is None else scheduled_us):
        raise Wrong(
            f"deletion_time: {quoted(deleted)} is before the pod's {'creation' if scheduled_us is None else 'start'}"
        )
    return None if scheduled_us is None or deleted_us is None else deleted_us - scheduled_us
