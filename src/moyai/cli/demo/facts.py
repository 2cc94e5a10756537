"""What must be true at the end of the demo. Each fact is taken from the server's answers or from the log."""

from dataclasses import dataclass

from moyai.model.lifecycle import AttemptState, JobState
from moyai.model.reasons import Code
from moyai.model.views import JobView, WhyView

DATASET_HOME = "fukuoka"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the demo saw."""

    train: JobView
    count: JobView
    count_why: WhyView
    shorts: tuple[JobView, ...]  # in the order of their submission
    short_whys: tuple[WhyView, ...]
    first_sites: dict[str, str]  # job → the first site that a plan or a placement named
    losses: tuple[float, ...]  # as the training told them, over all attempts
    lost_site: str
    log_problem: str  # "" where the log verified
    events: int


def facts(seen: Seen) -> tuple[tuple[str, bool], ...]:
    """(key of its words under `demo.fact`, whether it is true), in the order of the story."""
    newest = seen.train.attempts[-1]
    started = {s.job: s.started_at or 0 for s in seen.shorts}
    queued = [s for s in seen.shorts if s.wait_us > 1_000_000]
    overtook = any(
        0 < started[later.job] < started[earlier.job]
        for i, earlier in enumerate(seen.shorts)
        for later in seen.shorts[i + 1 :]
    )
    excluded = [row for row in seen.count_why.considered if row.reason.code is Code.RESIDENCY]
    return (
        ("trained", seen.train.state is JobState.SUCCEEDED),
        ("loss-fell", len(seen.losses) > 2 and seen.losses[-1] < 0.85 * seen.losses[0]),
        ("survived", any(a.site == seen.lost_site and a.state is AttemptState.LOST for a in seen.train.attempts)),
        ("resumed", newest.site != seen.lost_site and newest.restore is not None and newest.covered_us > 0),
        ("moved", seen.train.moved_bytes > 0),
        ("deadline", seen.train.deadline_kept is True),
        ("residency", {a.site for a in seen.count.attempts} == {DATASET_HOME} and len(excluded) == 2),
        ("counted", seen.count.state is JobState.SUCCEEDED),
        ("shorts", len(seen.shorts) == 6 and all(s.state is JobState.SUCCEEDED for s in seen.shorts)),
        ("queued", len(queued) >= 2),
        ("backfilled", overtook),
        ("cheaper", any(_got_cheaper(seen, why) for why in seen.short_whys)),
        ("log", seen.log_problem == "" and seen.events > 0),
    )


def _got_cheaper(seen: Seen, why: WhyView) -> bool:
    """Whether a job ran elsewhere than it was planned to first, and for less."""
    cost = {row.site: row.cost_micro_yen for row in why.considered if row.feasible}
    first = seen.first_sites.get(why.job, why.site)
    return first != why.site and cost.get(first, 0) > cost.get(why.site, 0) > 0
