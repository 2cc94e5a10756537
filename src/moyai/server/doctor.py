"""A control plane looked at from outside: its directory, its server, its log or store, and its sites."""

import json
from pathlib import Path

from moyai.agent.doctor import web
from moyai.agent.doctor.agent import check_agent
from moyai.agent.doctor.check import Check, bad, ok, warn
from moyai.agent.doctor.clock import check_wall_clock
from moyai.agent.doctor.place import check_directory, check_disk
from moyai.agent.doctor.tls import check_certificate
from moyai.model.codec import DecodeError, decode
from moyai.model.envelope import CorruptRecord
from moyai.model.views import Health, Mode, SiteState, SiteStatus
from moyai.server.layout import Layout
from moyai.store.errors import LogError
from moyai.store.log import Log
from moyai.trust.io.cafiles import CERTIFICATE, KEY

QUICK_EVENTS = 20_000
"""The newest events of the log that are checked; `moyai log verify` checks all."""


def check_control(root: Path, store: str = "", now_s: float | None = None) -> list[Check]:
    """The control plane of a directory. `store`: the address of its database, where its log is not in the directory.

    `now_s`: our wall clock in seconds since 1970; None for now.
    """
    layout = Layout(root)
    if not layout.root.exists():
        return [warn("directory", "control-none", path=str(layout.root)), *([check_log(store)] if store else [])]
    checks = [check_directory(layout.root), check_disk(layout.root)]
    checks.extend(check_server(layout, now_s))
    if (layout.ca / CERTIFICATE).exists():
        checks.append(check_certificate(layout.ca / CERTIFICATE, layout.ca / KEY, now_s=now_s))
    if store or layout.log.exists():
        checks.append(check_log(store or str(layout.log)))
    return checks


def check_server(layout: Layout, now_s: float | None = None) -> list[Check]:
    """Whether the directory's server answers, whether it writes, and how its sites stand."""
    path = str(layout.root)
    try:
        said = json.loads(layout.said.read_bytes())
        socket, pid = Path(said["socket"]), int(said["pid"])
    except FileNotFoundError:
        return [warn("server", "server-none", path=path)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [bad("server", "server-unsaid", path=str(layout.said), problem=str(error))]
    try:
        found = web.get("http://localhost/v1/health", uds=socket)
        health = decode(found.body, Health)
        sites: tuple[SiteStatus, ...] = ()
        if health.mode is not Mode.STANDBY:  # the one that leads tells of the sites
            sites = decode(web.get("http://localhost/v1/sites", uds=socket).body, tuple[SiteStatus, ...])
    except web.NoAnswer as error:
        return [bad("server", "server-away", path=path, pid=pid, problem=str(error))]
    except DecodeError as error:
        return [bad("server", "server-other", path=path, pid=pid, problem=str(error))]
    checks = [check_health(health), check_wall_clock(found.date_s, "control", now_s)]
    for site in sites:
        checks.append(check_site(site, health.lease_us))
        if (layout.sites / site.site / "agent.json").exists():
            checks.extend(check_agent(layout.sites / site.site))
    return checks


def check_health(health: Health) -> Check:
    """Whether a server takes requests and plans."""
    if health.mode is Mode.STANDBY:
        return ok("server", "server-standby", pid=health.pid, said=health.problem)
    if health.mode is Mode.AWAY:
        return bad("server", "server-cut-off", problem=health.problem)
    if health.mode is Mode.FULL:
        return bad("server", "server-full", problem=health.problem)
    if health.mode is not Mode.WRITING:
        return bad("server", "server-broken", mode=health.mode.value, problem=health.problem)
    if health.plan_problem:
        return warn("server", "server-plan", problem=health.plan_problem)
    return ok("server", "server-fine", pid=health.pid, version=health.version, jobs=health.jobs, sites=health.sites)


def check_site(site: SiteStatus, lease_us: int) -> Check:
    """How a site stands, as control sees it."""
    name = f"site:{site.site}"
    match site.state:
        case SiteState.WAITING:
            return bad(name, "site-waiting", site=site.site, problem=site.problem or "-")
        case SiteState.LOST:
            return bad(name, "site-lost", site=site.site, problem=site.problem or "-")
        case SiteState.DRAINING:
            return warn(name, "site-draining", site=site.site)
        case SiteState.JOINED:
            if site.lease_left_us < lease_us // 4:
                return warn(name, "site-late", site=site.site, left=site.lease_left_us, lease=lease_us)
            return ok(name, "site-fine", site=site.site, left=site.lease_left_us)


def check_log(place: str) -> Check:
    """Whether the log opens, and its newest events hold: their bytes, hashes and chain, up to the head."""
    where = ""  # as the log calls itself: never with a password
    try:
        with Log.open(place, create=False, read_only=True) as log:
            where, head = log.place, log.head
            after = max(0, head.seq - QUICK_EVENTS)
            for _ in log.scan(after, head.seq):
                pass  # it raises at the first event that does not hold
    except CorruptRecord as error:
        return bad("log", "log-damaged", place=where, seq=error.seq, problem=error.problem, good=error.seq - 1)
    except (LogError, ValueError) as error:
        return bad("log", "log-away", problem=str(error))
    return ok("log", "log-fine", place=where, events=head.seq, seen=head.seq - after)
