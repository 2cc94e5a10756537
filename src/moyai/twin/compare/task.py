"""One replay of a comparison: which it is, how it is run, and what is kept of it."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from moyai.model.ids import JobId, SiteName
from moyai.twin.policies import Knowledge, make
from moyai.twin.replay.figures import Figures, figures
from moyai.twin.replay.outcome import JobRow, Outcome, Sample
from moyai.twin.replay.run import Progress, replay
from moyai.twin.replay.setup import Setup
from moyai.twin.scenarios.make import setup, trace_of
from moyai.twin.scenarios.scenario import Scenario, load
from moyai.twin.traces.read import Format, read
from moyai.twin.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class Source:
    """Where the setups of a comparison come from. It can be sent to another process."""

    scenario: str  # a path, or the name of a built-in one
    trace: Path | None = None  # in place of the scenario's own jobs
    format: Format | None = None

    def read(self) -> tuple[Scenario, Trace | None]:
        """The scenario, and the trace of all its seeds: None where the jobs are made up anew for each seed.

        Raises SpecError or TraceError.
        """
        scenario = load(self.scenario)
        if self.trace is not None:
            return scenario, read(self.trace, self.format, strict=True)[0]
        return scenario, trace_of(scenario) if scenario.spec.jobs.trace else None


@dataclass(frozen=True, slots=True)
class Task:
    """One replay: a policy, what users say of run times, and a seed."""

    policy: str
    estimates: str
    seed: int

    def __str__(self) -> str:
        return f"{self.policy}, estimates {self.estimates}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Run:
    """What is kept of a replay: its figures, its jobs, and its course over time."""

    task: Task
    figures: Figures
    jobs: tuple[JobRow, ...]
    samples: tuple[Sample, ...]
    sites: tuple[SiteName, ...]
    head: str  # of its log: equal for equal replays


def with_estimates(scenario: Scenario, estimates: str) -> Scenario:
    """The scenario with other estimates of run times, and nothing else changed."""
    jobs = scenario.spec.jobs.model_copy(update={"estimates": estimates})
    source = scenario.spec.source
    spec = scenario.spec.model_copy(update={"jobs": jobs})
    assert spec.source == source, "a copy knows where it was read"
    return replace(scenario, spec=spec)


def make_setup(source: Source, task: Task) -> Setup:
    """What the replay of a task starts from. Tasks of equal estimates and seed get the same one."""
    return _setup(source, task.estimates, task.seed)


@lru_cache(maxsize=1)
def opened(source: Source) -> tuple[Scenario, Trace | None]:
    """What `source.read` gives, read once."""
    return source.read()


@lru_cache(maxsize=1)
def _setup(source: Source, estimates: str, seed: int) -> Setup:
    scenario, trace = opened(source)
    return setup(with_estimates(scenario, estimates), trace, seed)


def run_setup(made: Setup, policy: str, seed: int, progress: Progress | None = None) -> Outcome:
    """Replay a setup by the policy of that name. Raises UnknownPolicy."""
    true_us: dict[JobId, int] = {arrival.job: arrival.work.total_us for arrival in made.arrivals}
    planner = make(policy, Knowledge(true_us, made.homes, seed))
    return replay(made, planner, policy=policy, seed=seed, progress=progress)


def run(source: Source, task: Task, progress: Progress | None = None) -> Run:
    """Run one task. Raises SpecError, TraceError or UnknownPolicy."""
    return kept(task, run_setup(make_setup(source, task), task.policy, task.seed, progress))


def kept(task: Task, outcome: Outcome) -> Run:
    """What is kept of an outcome."""
    names = outcome.samples[0].sites if outcome.samples else ()
    sites = tuple(site.site for site in names)
    return Run(task, figures(outcome), outcome.jobs, outcome.samples, sites, outcome.head)
