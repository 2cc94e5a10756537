"""The tables and lines of jobs, sites and reasons: what views say, in words."""

import os

from moyai.cli.output import table
from moyai.locale import Language, language, reason_text, t
from moyai.locale import figures as f
from moyai.model.lifecycle import ATTEMPT_LIVE, JOB_ENDED, AttemptState, JobState
from moyai.model.reasons import Code, Considered, Reason
from moyai.model.units import MICROS_PER_SECOND
from moyai.model.views import AttemptView, DatasetView, JobView, SiteState, SiteStatus, WhyView

FOR_GOOD = frozenset(
    {
        Code.RESIDENCY,
        Code.NO_FLAVOR,
        Code.TOO_FEW_NODES,
        Code.POWER_CAP,
        Code.PURPOSE,
        Code.ENGINE_LACKS,
    }
)
"""Rules that exclude a site whatever happens there; the others may pass."""


def lang() -> Language:
    """The reader's language."""
    return language(os.environ)


def words(reason: Reason) -> str:
    """A reason in the reader's language."""
    return reason_text(reason, lang())


def considered_table(rows: tuple[Considered, ...], now: int, err: bool = False) -> None:
    """The sites considered: the chosen one with ✔, the other feasible ones, then the excluded ones with their rule."""
    several = {row.site for row in rows if sum(other.site == row.site for other in rows) > 1}

    def name(row: Considered) -> str:
        return f"{row.site}/{row.flavor}" if row.site in several and row.flavor else row.site

    feasible = sorted(
        (r for r in rows if r.feasible), key=lambda r: (r.reason.code is not Code.CHOSEN, r.start, name(r))
    )
    excluded = sorted((r for r in rows if not r.feasible), key=name)
    if feasible:
        table(
            ("", t("head.site"), t("head.start"), t("head.cost"), "kWh", "kg CO2", t("head.moved"), t("head.why")),
            [
                (
                    "✔" if row.reason.code is Code.CHOSEN else "·",
                    name(row),
                    starts(row.start, now),
                    f.yen(row.cost_micro_yen, lang()),
                    f.kwh(row.energy_j).removesuffix(" kWh"),
                    f.kg(row.carbon_mg).removesuffix(" kg"),
                    f.size(row.moved_bytes),
                    words(row.reason),
                )
                for row in feasible
            ],
            right=(2, 3, 4, 5, 6),
            fold=(1, 7),
            styles=["bold green" if row.reason.code is Code.CHOSEN else "" for row in feasible],
            err=err,
        )
    if excluded:
        table((), [("✘", name(row), words(row.reason)) for row in excluded], fold=(2,), err=err)


def starts(start: int | None, now: int) -> str:
    """When something starts, seen from now: "now", "+2 h 10 min"; "" where it doesn't."""
    if not start:
        return ""
    return t("word.now") if start - now < MICROS_PER_SECOND else f"+{f.span(start - now, lang())}"


def impossible(view: WhyView) -> bool:
    """Whether every site is excluded by a rule that no waiting can change."""
    return bool(view.considered) and all(not row.feasible and row.reason.code in FOR_GOOD for row in view.considered)


def jobs_table(jobs: tuple[JobView, ...], now: int) -> None:
    """`moyai ps`."""
    table(
        tuple(t(f"head.{key}") for key in ("job", "state", "site", "age", "run-time", "cost", "why")),
        [
            (
                job.job,
                job_state(job),
                job.site,
                f.span(max(0, now - job.submitted_at), lang()),
                f.span(run_us(job, now), lang()) if job.started_at else "",
                f.yen(job.cost_micro_yen, lang()) if job.cost_micro_yen else "",
                words(job.reason) if job.reason and job.state is not JobState.SUCCEEDED else "",
            )
            for job in jobs
        ],
        right=(3, 4, 5),
        fold=(0, 6),
        styles=[_STYLES.get(job.state, "") for job in jobs],
    )


_STYLES = {
    JobState.ACTIVE: "bold",
    JobState.SUCCEEDED: "",
    JobState.FAILED: "red",
    JobState.CANCELLED: "dim",
    JobState.CANCELLING: "yellow",
}


def run_us(job: JobView, now: int) -> int:
    """Run time of all attempts, the live one's to now included."""
    live = [a for a in job.attempts if a.state in ATTEMPT_LIVE and a.started_at]
    return job.run_us + sum(max(0, now - (a.started_at or now)) for a in live if not a.run_us)


def job_state(job: JobView) -> str:
    """A job's state; an active one's by its newest attempt."""
    if job.state is JobState.ACTIVE and job.attempts:
        return t(f"attempt.{job.attempts[-1].state}")
    return t(f"job.{job.state}")


def attempts_table(job: JobView) -> None:
    """Each try to run a job."""
    table(
        tuple(t(f"head.{key}") for key in ("attempt", "site", "state", "start", "run-time", "cost", "energy", "why")),
        [
            (
                str(a.ordinal),
                a.site,
                t(f"attempt.{a.state}"),
                f.moment(a.started_at or 0, now=job.submitted_at),
                f.span(a.run_us, lang()) if a.run_us else "",
                f.yen(a.cost_micro_yen, lang()) if a.cost_micro_yen else "",
                f.kwh(a.energy_j) if a.energy_j else "",
                attempt_words(a),
            )
            for a in job.attempts
        ],
        right=(4, 5, 6),
        fold=(1, 7),
    )


def attempt_words(attempt: AttemptView) -> str:
    """Why an attempt ended, and what it resumed from."""
    parts = [words(attempt.reason)] if attempt.reason else []
    if attempt.restore:
        parts.append(t("cli.run.restored-short", span=attempt.covered_us))
    return "; ".join(parts)


def turn_words(job: JobView, attempt: AttemptView) -> str:
    """One line for a change of an attempt; "" where nobody needs one."""
    values = {"site": attempt.site, "ordinal": attempt.ordinal, "job": job.job}
    why = words(attempt.reason) if attempt.reason else t(f"attempt.{attempt.state}")
    match attempt.state:
        case AttemptState.ISSUED:
            if attempt.ordinal == 1:
                return t("cli.run.issued", **values)
            return t("cli.run.reissued", **values)
        case AttemptState.RUNNING:
            if attempt.restore:
                return t("cli.run.resumed", span=attempt.covered_us, **values)
            return t("cli.run.running", **values)
        case AttemptState.STOPPING:
            return t("cli.run.stopping", why=why, **values)
        case AttemptState.LOST:
            return t("cli.run.lost", why=why, **values)
        case AttemptState.FAILED | AttemptState.STOPPED:
            return t("cli.run.ended", why=why, **values)
        case AttemptState.SUCCEEDED:
            return ""


def summary(job: JobView) -> str:
    """The line after a job's end: what became of it, where, how long it ran, and its modelled cost."""
    return t(
        "cli.run.summary",
        job=job.job,
        state=t(f"job.{job.state}"),
        why=f" ({words(job.reason)})" if job.reason and job.state is not JobState.SUCCEEDED else "",
        site=job.site or "-",
        run=job.run_us,
        cost=job.cost_micro_yen,
        energy=job.energy_j,
        carbon=job.carbon_mg,
    )


def exit_code(job: JobView) -> int:
    """The exit code that a job gives to `run`: its own, 128 + its signal, or 3 where it had no end of its own."""
    if job.state is JobState.SUCCEEDED:
        return 0
    if job.state not in JOB_ENDED or job.state is JobState.CANCELLED:
        return 3
    reasons = [r for r in (job.reason, job.attempts[-1].reason if job.attempts else None) if r]
    for reason in reasons:
        if reason.code in (Code.EXIT, Code.COMMAND_NOT_FOUND) and reason.found:
            return reason.found
        if reason.code is Code.SIGNAL:
            return 128 + reason.found
    return 3


def sites_table(sites: tuple[SiteStatus, ...]) -> None:
    """`moyai sites`."""
    cells: list[tuple[str, ...]] = []
    for site in sites:
        state = t(f"site.{_SITE_WORDS[site.state]}")
        profile = site.profile
        nodes = sum(flavor.count for flavor in site.flavors)
        busy = sum(flavor.busy_nodes for flavor in site.flavors)
        cores = sum(flavor.count * flavor.cores for flavor in site.flavors)
        used = sum(flavor.used_cores for flavor in site.flavors)
        cap = f.watts(profile.power_cap_w) if profile.power_cap_w else "-"
        cells.append(
            (
                site.site,
                state + ("*" if profile.synthetic else ""),
                profile.jurisdiction,
                f"{busy}/{nodes}",
                f"{used}/{cores}",
                f"{f.watts(site.power_w)}/{cap}",
                f.yen(profile.price_micro_yen_per_kwh, lang()),
                f"{profile.carbon_mg_per_kwh / 1_000:.0f}",
            )
        )
    table(
        (*(t(f"head.{key}") for key in ("site", "state", "place", "nodes", "cores", "power")), "¥/kWh", "gCO2/kWh"),
        cells,
        right=(3, 4, 5, 6, 7),
        fold=(0,),
    )


_SITE_WORDS = {
    SiteState.WAITING: "not-joined",
    SiteState.JOINED: "joined",
    SiteState.DRAINING: "draining",
    SiteState.LOST: "lost",
}


def datasets_table(datasets: tuple[DatasetView, ...]) -> None:
    """`moyai data ls`."""
    table(
        (*(t(f"head.{key}") for key in ("dataset", "state", "size", "sites", "residency", "purposes", "why")),),
        [
            (
                f"{d.dataset}@{d.version}",
                t(f"cli.data.{d.state}"),
                f.size(d.size_bytes) if d.manifest else "",
                ", ".join(d.sites) or d.registered_site,
                ", ".join(d.residency) or "-",
                ", ".join(d.purposes) or "-",
                d.problem,
            )
            for d in datasets
        ],
        right=(2,),
        fold=(0, 3, 6),
    )
