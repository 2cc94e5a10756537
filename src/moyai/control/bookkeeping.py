"""What several reducers do alike: outstanding commands, the numbers of reports, links, and the index of moving data."""

from moyai.control.state import CommandRef, Indexes, Job, State, keeps_data
from moyai.model.envelope import Record
from moyai.model.ids import SiteName
from moyai.model.site import Link, link_key


def link_name(a: SiteName, b: SiteName) -> str:
    """The key of a link in the state."""
    return "|".join(link_key(a, b))


def link_between(state: State, a: SiteName, b: SiteName) -> Link | None:
    """The link between two sites, or None."""
    return state.links.get(link_name(a, b))


def post(state: State, site: SiteName, number: int, ref: CommandRef) -> None:
    """A command is outstanding at a site from now on."""
    state.outbox.setdefault(site, {})[ref] = number


def resolve(state: State, site: SiteName, *refs: CommandRef) -> None:
    """Commands are done with."""
    box = state.outbox.get(site, {})
    for ref in refs:
        box.pop(ref, None)


def reported(state: State, site: SiteName, record: Record) -> None:
    """Note the number of a report, which stands at the end of its record's request."""
    incarnation, _, number = record.request.rpartition("/")
    if incarnation == f"{site}/{state.sites[site].incarnation}":
        state.sites[site].reports_through = int(number)


def index_data(indexes: Indexes, job: Job) -> None:
    """Bring the index of jobs with moving data up to date."""
    if keeps_data(job):
        indexes.data_jobs[job.job] = None
    else:
        indexes.data_jobs.pop(job.job, None)
