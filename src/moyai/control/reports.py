"""What an agent's report becomes: the fact, if it can be, and what control decides from it. Never mutates.

Each report becomes at least one event, so that the highest number in the log says which are durable.
"""

from moyai.control.outcome import after_end
from moyai.control.requests import TakeReport
from moyai.control.state import State, dataset_key
from moyai.control.workflows import ended_as
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.exchange import ReportBody
from moyai.model.ids import AttemptId, JobId
from moyai.model.lifecycle import ATTEMPT_ENDED, ATTEMPT_LIVE
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant


def report_drafts(state: State, request: TakeReport, now: Instant) -> tuple[Draft, ...]:
    """The events of the next report of a site. Reports known already, or from an older journal, give none."""
    site, report = request.site, request.report
    held = state.sites[site]
    if request.incarnation != held.incarnation or report.number != held.reports_through + 1:
        return ()
    attempt_id = _attempt_of(report.body)
    problem = _problem(state, request, attempt_id)
    key, actor = f"{site}/{request.incarnation}/{report.number}", f"site:{site}"
    if problem is not None:
        body: e.EventBody = e.ReportRefused(site, report.kind, problem)
        return (Draft(body, Origin.OUTSIDE, actor=actor, request=key, reported_at=report.reported_at),)
    if attempt_id is None:
        return (Draft(report.body, Origin.OUTSIDE, actor=actor, request=key, reported_at=report.reported_at),)
    attempt = state.attempts[attempt_id]
    job = state.jobs[attempt.job]
    fact = Draft(report.body, Origin.OUTSIDE, job.tenant, job.project, actor, key, reported_at=report.reported_at)
    if isinstance(report.body, e.AttemptEnded):
        return (fact, *after_end(job, attempt, *ended_as(state, job, report.body), now))
    return (fact,)


def _attempt_of(body: ReportBody) -> AttemptId | None:
    match body:
        case e.AttemptStarted() | e.AttemptEnded() | e.CheckpointCompleted() | e.FileStored():
            return body.attempt
        case _:
            return None


def _writes(state: State, job_id: JobId, file: str) -> bool:
    """Whether a job is a task that writes such a file."""
    job = state.jobs[job_id]
    if job.workflow is None:
        return False
    return any(f.name == file for f in state.workflows[job.workflow].tasks[job.task].writes)


def _problem(state: State, request: TakeReport, attempt_id: AttemptId | None) -> Reason | None:
    """Why a report can't be, or None."""
    site, body = request.site, request.report.body
    kind = request.report.kind
    if attempt_id is not None:
        attempt = state.attempts.get(attempt_id)
        if attempt is None:
            return Reason(Code.UNKNOWN_ATTEMPT, subject=attempt_id)
        if attempt.site != site:
            return Reason(Code.NOT_ITS_SITE, subject=attempt_id, detail=attempt.site)
        match body:
            case e.AttemptStarted():
                wrong = attempt.state not in ATTEMPT_LIVE or bool(attempt.started_at)
            case e.AttemptEnded():
                wrong = attempt.state in ATTEMPT_ENDED
            case e.CheckpointCompleted():
                wrong = state.jobs[attempt.job].order.checkpoint is None
            case e.FileStored():
                wrong = attempt.state in ATTEMPT_ENDED or not _writes(state, attempt.job, body.file)
            case _:
                wrong = False
        if not wrong:
            return None
        return Reason(Code.NO_SUCH_MOVE, subject=attempt_id, detail=f"{attempt.state} {kind}")
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
