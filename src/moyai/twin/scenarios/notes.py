"""What must be said wherever a figure of a replay is shown: where its data comes from, and what was made up."""

from dataclasses import dataclass

from moyai.model.site import SiteProfile
from moyai.model.specs.quantity import decimal_text
from moyai.model.specs.scenario import ScenarioSpec
from moyai.model.specs.scenario_jobs import WorkSpec
from moyai.twin.traces.trace import ANY_GPU, Trace

ESTIMATES = {
    "exact": "users' estimates of run times are exact: synthetic",
    "noisy": "users' estimates of run times are off by a factor of 0.5 to 1.5: synthetic",
    "absent": "users give no estimates of run times",
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Jobs of a trace that aren't replayed, by why."""

    no_run_time: int = 0
    too_long: int = 0
    too_large: int = 0
    outside: int = 0  # the window, or beyond `most`


def notes(
    spec: ScenarioSpec, profiles: tuple[SiteProfile, ...], trace: Trace, left: LeftOut, *, made_up: bool
) -> tuple[str, ...]:
    """Short sentences, the source of the jobs first."""
    work = spec.jobs
    found = [f"jobs: {trace.source} ({trace.licence})", *trace.notes, *spec.notes]
    if any(profile.synthetic for profile in profiles):
        names = [profile.name for profile in profiles if profile.synthetic]
        which = "all sites" if len(names) == len(profiles) else ", ".join(names)
        found.append(f"figures of {which} are synthetic")
    found += _drawn(spec, work, trace)
    if work.compress != 1 and not made_up:
        found.append(
            f"jobs come {decimal_text(work.compress.normalize())} times as fast as in the trace, and run as long"
        )
    counts = (
        (left.outside, "outside the window"),
        (left.no_run_time, "without a run time"),
        (left.too_long, "longer than the scenario takes"),
        (left.too_large, "that no site could hold"),
    )
    said = [f"{count:,} {why}" for count, why in counts if count]
    if said:
        found.append(f"left out: jobs {', '.join(said)}")
    return tuple(found)


def for_all(said: tuple[str, ...], kinds: set[str]) -> tuple[str, ...]:
    """The notes of a setup, with what must be said of each of `kinds` of estimates in the place of its own."""
    own = next((i for i, note in enumerate(said) if note in ESTIMATES.values()), -1)
    if own < 0:  # a workflow: its estimates are always exact, and that is said already
        return said
    rest = [note for note in said[own:] if note not in ESTIMATES.values()]
    return (*said[:own], *(text for kind, text in ESTIMATES.items() if kind in kinds), *rest)


def _drawn(spec: ScenarioSpec, work: WorkSpec, trace: Trace) -> list[str]:
    found: list[str] = []
    if any(job.need.accelerator == ANY_GPU for job in trace.jobs):
        found.append("the accelerator type of a job that names none is drawn: synthetic")
    if work.deadlines:
        found.append(
            f"deadlines are synthetic: {float(work.deadlines.share):.0%} of jobs have one, "
            f"run time × (1 + slack), slack lognormal around {work.deadlines.slack}"
        )
    found.append(ESTIMATES[work.estimates])
    if work.checkpoints:
        found.append("which jobs keep checkpoints, and how large, is synthetic")
    if work.failures:
        found.append(f"failures of jobs are synthetic: {float(work.failures.share):.1%} of them")
    if any(dataset.share for dataset in spec.datasets):
        found.append("datasets, and which jobs read them, are synthetic")
    return found
