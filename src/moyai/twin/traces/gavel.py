"""Gavel: training jobs counted in steps, and the steps a second that each type of GPU makes.

Source of the format: stanford-futuredata/gavel (traces/…/*.trace, simulation_throughputs.json; parse_trace in
scheduler/utils.py). Fields between tabs. Seven: job type, command, name of the steps' argument, whether it needs the
data folder (0, 1), steps, arrival (s), GPUs. Nine or ten, as later releases write: …, 0 or 1, steps, GPUs, priority
weight, deadline, arrival (s).
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

from moyai.model.ids import TenantName
from moyai.model.specs.problems import quoted
from moyai.model.units import MICROS_PER_SECOND
from moyai.model.workload import Need
from moyai.twin.traces.naming import stem
from moyai.twin.traces.rows import MOST_SECONDS, BadRows, Wrong, micros, number, rows, whole, within_job, word
from moyai.twin.traces.trace import ANY_GPU, BadRow, Limits, Trace, TraceError, TraceJob, gang

Throughputs: TypeAlias = Mapping[tuple[str, str, int], float]
"""Steps a second of a job alone on its GPUs, by (type of GPU, type of job, GPUs). 0: it doesn't run there."""

SOURCE = "Gavel: stanford-futuredata/gavel; Narayanan et al., OSDI'20"
LICENCE = "MIT"
REFERENCE = "v100"
"""The type of GPU whose steps a second give a job its run time."""
THROUGHPUTS = "simulation_throughputs.json"
LONG = (9, 10)
"""Numbers of fields of the later releases."""

_KEY = re.compile(r"\('(.{1,200})', ([0-9]{1,6})\)")
_CLUSTER = re.compile(r"_([0-9a-f]{6})$")


def load(
    lines: Iterable[str], file: str, limits: Limits, throughputs: Throughputs | None = None
) -> tuple[Trace, tuple[BadRow, ...]]:
    """The jobs of a Gavel trace, in its order; one GPU for each unit of the scale factor.

    A job's run time is its steps by the steps a second that `throughputs` has for REFERENCE, for its type and its
    very number of GPUs; where that wasn't measured, it has none. The tenant is the virtual cluster that the name of
    a trace made from Philly ends with ("msr_seed0_e13805"), else "gavel". Arrivals are in order: one that goes back
    is a bad row.
    """
    bad = BadRows(file, limits)
    cluster = _CLUSTER.search(stem(file))
    tenant = TenantName(cluster[1] if cluster else "gavel")
    jobs: list[TraceJob] = []
    latest = unmeasured = 0
    for line, text in rows(lines, bad, limits):
        try:
            job = _job(line, text, tenant, limits, throughputs or {})
            if job.submitted_us < latest:
                raise Wrong(f"arrival: goes back behind {latest / MICROS_PER_SECOND:.0f} s before it")
        except Wrong as wrong:
            bad.add(line, str(wrong))
            continue
        latest = job.submitted_us
        unmeasured += job.run_us is None
        jobs.append(job)
    if not jobs and not bad.taken():
        raise bad.refuse("is empty")
    if throughputs is None:
        notes = [f"no run times: there is no {THROUGHPUTS} with the steps a second"]
    else:
        notes = [f"run times are those on {REFERENCE}"]
        if unmeasured:
            notes.append(f"{unmeasured} jobs have none: their type wasn't measured on that many GPUs")
    return Trace(stem(file), SOURCE, LICENCE, tuple(jobs), tuple(notes)), bad.taken()


def read_throughputs(data: bytes, file: str) -> Throughputs:
    """The steps a second of every type of job alone, from the bytes of a Gavel throughput table (JSON).

    Pairs of jobs that share a GPU are left out. Raises TraceError with every entry that isn't a number of 0 or more.
    """
    try:
        top: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TraceError((BadRow(file, 0, f"isn't JSON: {error}"),)) from None
    problems: list[BadRow] = []
    found: dict[tuple[str, str, int], float] = {}
    if not isinstance(top, dict):
        raise TraceError((BadRow(file, 0, "isn't a throughput table: types of GPU at its top are needed"),))
    for gpu, kinds in cast("dict[str, object]", top).items():
        if not isinstance(kinds, dict):
            problems.append(BadRow(file, 0, f"{quoted(gpu)}: isn't a table of types of job"))
            continue
        for kind, others in cast("dict[str, object]", kinds).items():
            key = _KEY.fullmatch(kind)
            alone = cast("dict[str, object]", others).get("null") if isinstance(others, dict) else None
            if key is None or isinstance(alone, bool) or not isinstance(alone, int | float) or not 0 <= alone < 1e12:
                problems.append(BadRow(file, 0, f"{quoted(gpu)}: {quoted(kind)}: has no steps a second under 'null'"))
            else:
                found[gpu, key[1], int(key[2])] = float(alone)
    if problems:
        raise TraceError(tuple(problems))
    return found


def _job(line: int, text: str, tenant: TenantName, limits: Limits, throughputs: Throughputs) -> TraceJob:
    fields = text.split("\t")
    if len(fields) == 7:
        needs_data, steps_text, arrival, gpus_text = fields[3:]
    elif len(fields) in LONG:
        needs_data, steps_text, gpus_text, weight, deadline, arrival = fields[-6:]
        number("priority weight", weight, "weight")
        number("deadline", deadline, "the deadline")
    else:
        raise Wrong(f"has {len(fields)} fields between tabs where Gavel has 7, 9 or 10")
    kind = word("job type", fields[0])
    whole("needs the data folder", needs_data, most=1)
    steps = whole("steps", steps_text, least=1)
    gpus = whole("GPUs", gpus_text, least=1)
    within_job(limits, gpus=gpus)
    at_us = micros("arrival", arrival)
    rate = throughputs.get((REFERENCE, kind, gpus), 0.0)
    run_us = None
    if rate > 0:
        if steps > rate * MOST_SECONDS:
            raise Wrong(f"steps: {steps} take more than 100 years at {rate:g} a second")
        run_us = round(steps / rate * MICROS_PER_SECOND)
    nodes, each = gang(gpus)
    need = Need(accelerator=ANY_GPU, accelerators=each)
    return TraceJob(f"gavel-{line}", tenant, at_us, run_us, need, nodes, gpus * 1000, kind=kind, steps=steps)
