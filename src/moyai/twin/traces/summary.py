"""A trace in a few figures."""

from dataclasses import dataclass

from moyai.model.specs.problems import printable
from moyai.model.units import MICROS_PER_HOUR
from moyai.twin.traces.trace import BadRow, Trace

SHOWN = 20
"""Bad rows that are shown one by one."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one trace."""

    jobs: int
    tenants: int
    sites: int
    span_us: int  # from the first submission (or request) to the last
    gpu_hours: float  # of jobs whose run time is known
    core_hours: float  # as gpu_hours; 0 where cores aren't said
    unknown_run: int  # jobs without a run time
    largest_nodes: int  # of one gang
    largest_gpu_milli: int  # of one job
    nodes: int
    files: int
    requests: int
    bad_rows: int


def summarise(trace: Trace, bad: tuple[BadRow, ...] = ()) -> Summary:
    """The figures of `trace`; `bad` are the rows that couldn't be taken."""
    times = [job.submitted_us for job in trace.jobs] or [request.at_us for request in trace.requests] or [0]
    return Summary(
        jobs=len(trace.jobs),
        tenants=len({job.tenant for job in trace.jobs}),
        sites=len(trace.sites) or len({job.site for job in trace.jobs if job.site}),
        span_us=max(times) - min(times),
        gpu_hours=sum(job.gpu_milli * (job.run_us or 0) for job in trace.jobs) / (1000 * MICROS_PER_HOUR),
        core_hours=sum(job.cpu_milli * (job.run_us or 0) for job in trace.jobs) / (1000 * MICROS_PER_HOUR),
        unknown_run=sum(job.run_us is None for job in trace.jobs),
        largest_nodes=max((job.nodes for job in trace.jobs), default=0),
        largest_gpu_milli=max((job.gpu_milli for job in trace.jobs), default=0),
        nodes=len(trace.nodes),
        files=len(trace.files),
        requests=len(trace.requests),
        bad_rows=len(bad),
    )


def table(trace: Trace, bad: tuple[BadRow, ...] = ()) -> str:
    """The figures of `trace` as lines of text for a person; what it has none of is left out."""
    s = summarise(trace, bad)
    rows: list[tuple[str, str]] = [("trace", trace.name), ("source", trace.source), ("licence", trace.licence)]
    rows.append(("jobs", f"{s.jobs:,}"))
    figures = (
        ("tenants", s.tenants, f"{s.tenants:,}"),
        ("sites", s.sites, f"{s.sites:,}"),
        ("nodes", s.nodes, f"{s.nodes:,}"),
        ("files", s.files, f"{s.files:,}, {sum(f.size_bytes for f in trace.files):,} bytes"),
        ("requests", s.requests, f"{s.requests:,}"),
        ("span", s.span_us, f"{s.span_us / MICROS_PER_HOUR / 24:,.2f} days"),
        ("GPU-hours", s.gpu_hours, f"{s.gpu_hours:,.1f}"),
        ("core-hours", s.core_hours, f"{s.core_hours:,.1f}"),
        ("without run time", s.unknown_run, _counted(s.unknown_run, "job")),
        ("largest gang", s.largest_nodes, _counted(s.largest_nodes, "node")),
        ("largest job", s.largest_gpu_milli, _counted(s.largest_gpu_milli / 1000, "GPU")),
    )
    rows += [(name, said) for name, value, said in figures if value]
    rows.append(("bad rows", f"{s.bad_rows:,}"))
    rows += [("note", note) for note in trace.notes]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {printable(said)}" for name, said in rows)


def _counted(count: float, what: str) -> str:
    figure = f"{count:,.3f}".rstrip("0").rstrip(".")
    return f"{figure} {what}{'' if count == 1 else 's'}"


def bad_lines(bad: tuple[BadRow, ...]) -> str:
    """The first SHOWN bad rows, one a line, and how many there are beside."""
    more = [f"and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    return "\n".join([*map(str, bad[:SHOWN]), *more])
