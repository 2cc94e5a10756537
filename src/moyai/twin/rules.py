"""Rules that can be switched off, to show that the worlds would notice."""

from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum

from moyai.control import core, reports
from moyai.control.requests import TakeReport
from moyai.control.state import Attempt, Job, State
from moyai.model.envelope import Draft, Origin
from moyai.model.events import JobEnded, Outcome
from moyai.model.lifecycle import JOB_ENDED, JobState
from moyai.model.reasons import Reason
from moyai.model.units import Instant


class Rule(StrEnum):
    """A rule that the promises rest on."""

    START_CLAIM = "start-claim"  # agents grant every start they are asked for
    LEASE_WAIT = "lease-wait"  # control waits six tenths of a silent site's lease
    FENCE = "fence"  # a success of any attempt is committed
    REPORT_DEDUP = "report-dedup"  # a report is taken as often as it comes


_after_end = reports.after_end
_report_drafts = core.report_drafts


def _unfenced(job: Job, attempt: Attempt, outcome: Outcome, reason: Reason, now: Instant) -> tuple[Draft, ...]:
    if outcome is Outcome.SUCCEEDED and attempt.attempt != job.newest and job.state not in JOB_ENDED:
        body = JobEnded(job.job, JobState.SUCCEEDED, reason)
        return (Draft(body, Origin.DECIDED, job.tenant, job.project, cause=-1),)
    return _after_end(job, attempt, outcome, reason, now)


def _as_often_as_it_comes(state: State, request: TakeReport, now: Instant) -> tuple[Draft, ...]:
    site = state.sites[request.site]
    through = site.reports_through
    site.reports_through = min(through, request.report.number - 1)
    try:
        return _report_drafts(state, request, now)
    finally:
        site.reports_through = through


@contextmanager
def without(rule: Rule | None) -> Generator[None]:
    """Switch off what of a rule lies in control's own code; the rest the world's builder does."""
    match rule:
        case Rule.FENCE:
            reports.after_end = _unfenced
        case Rule.REPORT_DEDUP:
            core.report_drafts = _as_often_as_it_comes
        case _:
            pass
    try:
        yield
    finally:
        reports.after_end = _after_end
        core.report_drafts = _report_drafts
