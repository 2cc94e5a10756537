"""What an agent's report becomes: the fact, if it can be, and what control decides from it. Never mutates.

Each report becomes at least one event, so that the highest number in the log says which are durable.
"""

from moyai.control.outcome import after_end
from moyai.control.requests import TakeReport
from moyai.control.state import State, dataset_key
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.exchange import ReportBody
from moyai.model.ids import AttemptId
from moyai.model.lifecycle import ATTEMPT_ENDED, ATTEMPT_LIVE
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant


def report_drafts(state: State, request: TakeReport, now: Instant) -> tuple[Draft, ...]:
    """The events of the next report of a site. Reports known already, or from an older journal, give none."""
    site, report = request.site, request.report
    held = state.sites[site]
    if request.incarnation != held.incarnation or report.number != held.reports_through + 1:
        return ()
    problem = _problem(state, request)
    key = f"{site}/{request.incarnation}/{report.number}"
    if problem is not None:
        body: e.EventBody = e.ReportRefused(site, report.kind, problem)
        return (Draft(body, Origin.OUTSIDE, actor=f"site:{site}", request=key, reported_at=report.reported_at),)
    attempt_id = _attempt_of(report.body)
    job = state.jobs[state.attempts[attempt_id].job] if attempt_id else None
    fact = Draft(report.body, Origin.OUTSIDE, actor=f"site:{site}", request=key, reported_at=report.reported_at)
    if job is None:
        return (fact,)
    fact = Draft(
        report.body, Origin.OUTSIDE, job.tenant, job.project, f"site:{site}", key, reported_at=report.reported_at
    )
    if isinstance(report.body, e.AttemptEnded):
        attempt = state.attempts[report.body.attempt]
        return (fact, *after_end(job, attempt, report.body.outcome, report.body.reason, now))
    return (fact,)


def _attempt_of(body: ReportBody) -> AttemptId | None:
    match body:
        case e.AttemptStarted() | e.AttemptEnded() | e.CheckpointCompleted():
            return body.attempt
        case _:
            return None


def _problem(state: State, request: TakeReport) -> Reason | None:
    """Why a report can't be, or None."""
    site, body = request.site, request.report.body
    kind = request.report.kind
    attempt_id = _attempt_of(body)
    if attempt_id is not None:
        attempt = state.attempts.get(attempt_id)
        if attempt is None:
            return Reason(Code.UNKNOWN_ATTEMPT, subject=attempt_id)
        if attempt.site != site:
            return Reason(Code.NOT_ITS_SITE, subject=attempt_id, detail=attempt.site)
        no_move = Reason(Code.NO_SUCH_MOVE, subject=attempt_id, detail=f"{attempt.state} {kind}")
        match body:
            case e.AttemptStarted() if attempt.state not in ATTEMPT_LIVE or attempt.started_at:
                return no_move
            case e.AttemptEnded() if attempt.state in ATTEMPT_ENDED:
                return no_move
            case e.CheckpointCompleted() if state.jobs[attempt.job].order.checkpoint is None:
                return no_move
            case _:
                return None
    match body:
        case e.TransferEnded():
            transfer = state.transfers.get(body.transfer)
            if transfer is None or transfer.target != site:
                return Reason(Code.NO_SUCH_MOVE, subject=body.transfer, detail=kind)
        case e.DatasetAdopted() | e.DatasetRejected():
            dataset = state.datasets.get(dataset_key(body.dataset, body.version))
            if dataset is None or dataset.site != site or body.site != site or dataset.manifest is not None:
                return Reason(Code.NO_SUCH_MOVE, subject=dataset_key(body.dataset, body.version), detail=kind)
        case e.ReplicaDropped():
            held = state.manifests.get(body.manifest)
            if body.site != site or held is None or site not in held.sites:
                return Reason(Code.NO_SUCH_MOVE, subject=body.manifest, detail=kind)
        case e.CapacityReported():
            if body.site != site:
                return Reason(Code.NOT_ITS_SITE, subject=body.site, detail=site)
        case _:
            pass
    return None
