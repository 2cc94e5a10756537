"""Where a job, its datasets and its checkpoints may be: the rules travel with the data."""

from moyai.control.state import Job, State, dataset_key
from moyai.model.ids import SiteName
from moyai.model.site import SiteProfile, within

Rule = tuple[str, tuple[str, ...]]
"""(who demands it, the codes allowed); every rule must hold."""


def rules(state: State, job: Job) -> tuple[Rule, ...]:
    """The residency rules of a job: its own, and those of every dataset it reads. Its checkpoints inherit them all."""
    found: list[Rule] = [("workload", job.order.residency)] if job.order.residency else []
    for use in job.order.data:
        profile = state.datasets[dataset_key(use.dataset, use.version)].profile
        if profile.residency:
            found.append((f"{profile.name}@{profile.version}", profile.residency))
    return tuple(found)


def allowed(profile: SiteProfile, demands: tuple[Rule, ...]) -> bool:
    """Whether a site satisfies every rule."""
    return all(within(profile.jurisdiction, codes) for _, codes in demands)


def reachable_sites(state: State) -> list[SiteName]:
    """The sites whose agents hold a lease, by name."""
    return sorted(name for name, site in state.sites.items() if site.reachable)
