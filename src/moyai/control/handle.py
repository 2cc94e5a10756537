"""`handle(state, indexes, request, now)`: what a request makes happen, or why it is refused. Never mutates."""

from dataclasses import replace

from moyai.control import requests as r
from moyai.control.apply import live_at
from moyai.control.identity import identity_drafts
from moyai.control.outcome import cancel_drafts, lost_drafts
from moyai.control.possible import check_possible, resolve_data
from moyai.control.refused import Refused, near
from moyai.control.reports import report_drafts
from moyai.control.state import Indexes, Job, State, request_key
from moyai.control.workflows import cancel_workflow, submit_workflow
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.ids import CONTROL_SITE, DatasetName, JobId, SiteName, job_id
from moyai.model.lifecycle import ATTEMPT_LIVE, JOB_ENDED
from moyai.model.reasons import Code, Reason
from moyai.model.site import within
from moyai.model.units import Instant
from moyai.model.workload import JobOrder, OnPartition

MAX_PENDING = 1_000_000
"""Jobs that may wait at once; a submission beyond is refused with 429."""


def handle(state: State, indexes: Indexes, request: r.Request, now: Instant) -> tuple[Draft, ...]:
    """The events that `request` causes, in order; empty where all is so already. Raises Refused."""
    match request:  # the most frequent first
        case r.TakeReport():
            return report_drafts(state, request, now)
        case r.SubmitJob():
            return _submit(state, indexes, request)
        case r.TakeOver():
            return (Draft(e.ControlStarted(request.epoch, request.code_version), Origin.OUTSIDE),)
        case r.DeclareFleet():
            return _declare_fleet(state, request)
        case r.ChangeSignal():
            site = _site(state, request.site)
            if request.value < 0:
                raise Refused(422, f"{request.signal} of {site}: {request.value} is negative")
            return (_by(request.actor, e.SignalChanged(site, request.signal, request.value)),)
        case r.DrainSite():
            site = _site(state, request.site)
            if state.sites[site].draining == request.draining:
                return ()
            return (_by(request.actor, e.SiteDrainChanged(site, request.draining)),)
        case r.DeclareSiteDead():
            return _declare_dead(state, indexes, request, now)
        case r.CancelJob():
            return _cancel(state, request)
        case r.SubmitWorkflow():
            return submit_workflow(state, len(indexes.pending), request, MAX_PENDING)
        case r.CancelWorkflow():
            return cancel_workflow(state, request)
        case r.TextMissing():
            return _text_missing(state, request.job)
        case r.RegisterDataset():
            return _register_dataset(state, request)
        case r.Join():
            return _join(state, request)
        case r.IssueToken() | r.SpendToken() | r.RenewCertificate() | r.Revoke() | r.DeclareSite():
            return identity_drafts(state, request, now)
        case r.LeaseOver():
            site = state.sites[request.site]
            if site.lost or site.term != request.term:
                return ()
            lost = Draft(e.SiteLost(request.site, site.term, by_operator=False), Origin.OUTSIDE)
            gone = [
                a
                for a in live_at(state, indexes, request.site)
                if state.jobs[state.attempts[a].job].order.on_partition is OnPartition.STOP
                and "guard" in site.capabilities
            ]
            return (lost, *lost_drafts(state, request.site, gone, now))


def _by(actor: str, body: e.EventBody) -> Draft:
    return Draft(body, Origin.OUTSIDE, actor=actor)


def _site(state: State, site: SiteName) -> SiteName:
    if site not in state.sites:
        raise Refused(404, f"there is no site {site!r}", near(site, sorted(state.sites)))
    return site


def _job(state: State, job: JobId) -> Job:
    if job not in state.jobs:
        raise Refused(404, f"there is no job {job!r}", near(job, sorted(state.jobs)))
    return state.jobs[job]


def _declare_fleet(state: State, request: r.DeclareFleet) -> tuple[Draft, ...]:
    drafts: list[Draft] = []
    names = set(state.sites) | {p.name for p in request.profiles} | set(request.remote)
    for profile in request.profiles:
        if profile.name == CONTROL_SITE:
            raise Refused(422, f"a site can't be called {CONTROL_SITE!r}", "choose another name")
        held = state.sites.get(profile.name)
        if held is None or held.profile != profile:
            drafts.append(_by(request.actor, e.SiteDeclared(profile)))
    known = list(state.links.values())
    for link in request.links:
        if link.a >= link.b or not {link.a, link.b} <= names:
            raise Refused(422, f"link {link.a} – {link.b} joins no two sites", near(link.b, sorted(names)))
        if link not in known:
            drafts.append(_by(request.actor, e.LinkDeclared(link)))
    return tuple(drafts)


def _declare_dead(state: State, indexes: Indexes, request: r.DeclareSiteDead, now: Instant) -> tuple[Draft, ...]:
    site = state.sites[_site(state, request.site)]
    gone = live_at(state, indexes, request.site)
    if site.lost and not gone:
        return ()
    lost = _by(request.actor, e.SiteLost(request.site, site.term, by_operator=True))
    return (lost, *lost_drafts(state, request.site, gone, now))


def _submit(state: State, indexes: Indexes, request: r.SubmitJob) -> tuple[Draft, ...]:
    order = resolve_data(state, request.order)
    known = state.requests.get(request_key(request.tenant, request.project, request.request))
    if known is not None:
        held = state.jobs.get(known)
        if held is None or held.text != request.text or _sameness(held.order) != _sameness(order):
            raise Refused(
                409,
                f"idempotency key {request.request!r} was used for {known}, which is another request",
                "send a new key",
            )
        return ()
    if len(indexes.pending) >= MAX_PENDING:
        raise Refused(429, f"{MAX_PENDING} jobs wait already", "try again when some have ended")
    check_possible(state, order)
    job = job_id(request.tenant, request.project, order.name, request.request)
    return (
        Draft(
            e.JobSubmitted(job, order, request.text),
            Origin.OUTSIDE,
            request.tenant,
            request.project,
            request.actor,
            request.request,
        ),
    )


def _sameness(order: JobOrder) -> JobOrder:
    """An order without its deadline, which a span makes anew from the time of each request."""
    return replace(order, deadline=None)


def _cancel(state: State, request: r.CancelJob) -> tuple[Draft, ...]:
    return cancel_drafts(state, _job(state, request.job), request.actor)


def _text_missing(state: State, job_id_: JobId) -> tuple[Draft, ...]:
    job = _job(state, job_id_)
    if job.state in JOB_ENDED or not job.newest:
        return ()
    attempt = state.attempts[job.newest]
    if attempt.state not in ATTEMPT_LIVE or attempt.stop is not None:
        return ()
    body = e.AttemptStopRequested(attempt.attempt, Reason(Code.ERASED))
    return (Draft(body, Origin.DECIDED, job.tenant, job.project),)


def _register_dataset(state: State, request: r.RegisterDataset) -> tuple[Draft, ...]:
    if request_key(request.tenant, request.project, request.request) in state.requests:
        return ()
    site = _site(state, request.site)
    profile = request.profile
    mine = [d.profile.version for d in state.datasets.values() if d.profile.name == profile.name]
    if profile.version in mine:
        raise Refused(409, f"{profile.name}@{profile.version} exists", "a version never changes; add the next one")
    here = state.sites[site].profile.jurisdiction
    if not within(here, profile.residency):
        raise Refused(
            422,
            f"{profile.name} may only be in {', '.join(profile.residency)}, but {site} is in {here}",
            "name a site that its residency allows",
        )
    version = profile.version or max(mine, default=0) + 1
    body = e.DatasetRegistered(replace(profile, name=DatasetName(profile.name), version=version), site, request.text)
    return (Draft(body, Origin.OUTSIDE, request.tenant, request.project, request.actor, request.request),)


def _join(state: State, request: r.Join) -> tuple[Draft, ...]:
    hello = request.hello
    site = state.sites[_site(state, hello.site)]
    if site.reachable:
        if hello.incarnation == site.incarnation:
            return ()
        raise Refused(
            409,
            f"another agent of {hello.site} holds its lease",
            "a new agent may come when that lease is over",
        )
    body = e.SiteJoined(hello.site, hello.incarnation, site.term + 1, hello.capabilities)
    return (Draft(body, Origin.OUTSIDE, actor=f"site:{hello.site}"),)
