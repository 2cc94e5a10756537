"""SWF: the Standard Workload Format of the Parallel Workloads Archive, version 2.2.

Source of the format: Feitelson, "The Standard Workload Format", Parallel Workloads Archive; Chapin et al., JSSPP 1999.
18 numbers a line, -1 for what isn't known; lines that start with ";" are comments, those at the top with labels.
"""

import re
from collections.abc import Iterable
from math import ceil

from moyai.model.ids import TenantName
from moyai.model.specs.problems import quoted
from moyai.model.units import MICROS_PER_SECOND, Instant
from moyai.model.workload import Need
from moyai.twin.traces.naming import stem
from moyai.twin.traces.rows import MOST, BadRows, Wrong, first_time, micros, number, rows, whole, within_job
from moyai.twin.traces.trace import BadRow, Limits, Trace, TraceJob

FIELDS = (
    "job number",
    "submit time",
    "wait time",
    "run time",
    "allocated processors",
    "average CPU time",
    "used memory",
    "requested processors",
    "requested time",
    "requested memory",
    "status",
    "user",
    "group",
    "executable",
    "queue",
    "partition",
    "preceding job",
    "think time",
)
PARTIAL = ("2", "3", "4")
"""Statuses of one part of a job that was checkpointed; a line with the whole of it comes first."""
KIB = 1024

_LINE = re.compile(r"\s*" + r"[+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?\s+" * 17 + r"[+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?\s*")
_LABEL = re.compile(r";\s*([A-Za-z]+)\s*:\s*(.*?)\s*")
_ONE_OF = re.compile(r"([0-9]{1,9})\s+(\S.*)")


class _Header:
    """What the comments say, as far as it is used."""

    def __init__(self) -> None:
        self.partitions: dict[int, str] = {}
        self.installation = ""
        self.acknowledge = ""
        self.max_procs = 0
        self.max_jobs = 0
        self.began: Instant | None = None

    def take(self, text: str) -> None:
        """Take one comment line. Raises Wrong where a label that counts has no sense."""
        found = _LABEL.fullmatch(text)
        if found is None or not found[2]:
            return
        label, value = found[1], found[2]
        if label == "MaxProcs":
            self.max_procs = whole("MaxProcs", value.split()[0], least=-1)
        elif label == "MaxJobs":
            self.max_jobs = whole("MaxJobs", value.split()[0], least=-1)
        elif label == "UnixStartTime":
            seconds = whole("UnixStartTime", value.split()[0], least=-1)
            self.began = Instant(seconds * MICROS_PER_SECOND) if seconds > 0 else None
        elif label == "Installation" and not self.installation:
            self.installation = value[:200]
        elif label == "Acknowledge" and not self.acknowledge:
            self.acknowledge = value[:200]
        elif label == "Partition":
            one = _ONE_OF.fullmatch(value)
            if one is None:
                raise Wrong(f"Partition: {quoted(value)} isn't a number and a name")
            if int(one[1]) in self.partitions:
                raise Wrong(f"Partition: {one[1]} has the name {quoted(self.partitions[int(one[1])])} already")
            self.partitions[int(one[1])] = one[2]


def load(
    lines: Iterable[str], file: str, limits: Limits, processors_per_node: int = 1
) -> tuple[Trace, tuple[BadRow, ...]]:
    """The jobs of an SWF log, in its order; times in microseconds from the log's own start.

    A partition is a site, a group a tenant (a user where there is no group). SWF knows processors, not nodes: one
    core of `processors_per_node` each. A job takes the processors allocated, else those requested; one that never ran
    has no run time. The parts of a checkpointed job (status 2 to 4) are left out, the line of its whole is taken.
    The format orders lines by submit time: one that goes back is a bad row, as is a job of more processors than the
    header's MaxProcs, or of a partition that the header doesn't list where it lists any.
    """
    bad = BadRows(file, limits)
    header = _Header()
    needs: dict[tuple[int, int], Need] = {}
    seen: dict[str, int] = {}
    jobs: list[TraceJob] = []
    latest = parts = 0
    for line, text in rows(lines, bad, limits):
        try:
            if text.startswith(";"):
                header.take(text)
                continue
            fields = text.split()
            if not _LINE.fullmatch(text):
                _check(fields)
            if fields[10] in PARTIAL:
                parts += 1
                continue
            job = _job(fields, header, limits, processors_per_node, needs)
            if job.submitted_us < latest:
                raise Wrong(f"submit time: {fields[1]} s goes back behind {latest / MICROS_PER_SECOND:.0f} s before it")
            first_time(seen, "job number", fields[0], line)
            latest = job.submitted_us
            jobs.append(job)
        except Wrong as wrong:
            bad.add(line, str(wrong))
    if not jobs and not seen and not header.partitions and not bad.taken():
        raise bad.refuse("holds no jobs")
    notes = [f"SWF knows no nodes: a job has one for every {processors_per_node} of its processors"]
    if parts:
        notes.append(f"{parts} lines of parts of checkpointed jobs are left out; the line of the whole is taken")
    if header.max_jobs > len(jobs):
        notes.append(f"the header counts {header.max_jobs:,} jobs, {len(jobs):,} were taken: a part of the log")
    source = f"Parallel Workloads Archive: {header.installation or 'installation not named'}"
    licence = f"free with acknowledgement of {header.acknowledge}" if header.acknowledge else "not named in the file"
    sites = tuple(name for _, name in sorted(header.partitions.items()))
    return Trace(stem(file), source, licence, tuple(jobs), tuple(notes), header.began, sites), bad.taken()


def _job(
    fields: list[str], header: _Header, limits: Limits, per_node: int, needs: dict[tuple[int, int], Need]
) -> TraceJob:
    submitted_us = micros(FIELDS[1], fields[1])
    run_us = _seconds(3, fields)
    processors = _count(4, fields)
    if processors < 1:
        processors = _count(7, fields)
    if processors < 1:
        raise Wrong("has neither allocated nor requested processors")
    within_job(limits, cores=processors)
    if 0 < header.max_procs < processors:
        raise Wrong(f"asks for {processors} processors; the header's MaxProcs is {header.max_procs}")
    kib = max(0, _kib(9, fields)) or max(0, _kib(6, fields))
    nodes, cores = -(-processors // per_node), min(processors, per_node)
    need = needs.get((cores, kib))
    if need is None:
        need = needs[cores, kib] = Need(cores=cores, memory_bytes=kib * KIB * cores)
    user, group, executable = _count(11, fields), _count(12, fields), _count(13, fields)
    tenant = f"group-{group}" if group >= 0 else f"user-{user}" if user >= 0 else "all"
    return TraceJob(
        f"swf-{fields[0]}",
        TenantName(tenant),
        submitted_us,
        run_us,
        need,
        nodes,
        cpu_milli=processors * 1000,
        site=_site(fields, header),
        user=f"user-{user}" if user >= 0 else "",
        kind=f"executable-{executable}" if executable >= 0 else "",
        expect_us=_seconds(8, fields) or 0,
    )


def _site(fields: list[str], header: _Header) -> str:
    partition = _count(15, fields)
    if partition < 0:
        return ""
    name = header.partitions.get(partition)
    if name is None and header.partitions:
        raise Wrong(f"partition: the header lists no {partition}")
    return name or f"partition-{partition}"


def _count(index: int, fields: list[str]) -> int:
    """A whole number, -1 where it isn't known."""
    text = fields[index]
    return -1 if text == "-1" else whole(FIELDS[index], text, least=-1)


def _kib(index: int, fields: list[str]) -> int:
    """KiB of one processor, rounded up (some logs hold means); -1 where they aren't known."""
    text = fields[index]
    kib = -1 if text == "-1" else ceil(number(FIELDS[index], text, "KiB"))
    if not -1 <= kib <= MOST:
        raise Wrong(f"{FIELDS[index]}: {quoted(text)} is {'negative' if kib < 0 else 'more than any memory'}")
    return kib


def _seconds(index: int, fields: list[str]) -> int | None:
    """Microseconds, None where they aren't known."""
    text = fields[index]
    if text == "-1":
        return None
    return micros(FIELDS[index], text)


def _check(fields: list[str]) -> None:
    """Say which of a line's fields is none, or that their number is wrong."""
    if len(fields) != len(FIELDS):
        raise Wrong(f"has {len(fields)} fields where SWF has {len(FIELDS)}")
    for name, text in zip(FIELDS, fields, strict=True):
        number(name, text, "the standard's unit")
