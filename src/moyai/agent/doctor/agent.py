"""An agent looked at from outside, by what it says in its directory: its life, its lease, its journal."""

import socket
from pathlib import Path

from moyai.agent import local
from moyai.agent.doctor.check import Check, bad, ok, warn
from moyai.agent.doctor.tls import check_certificate
from moyai.agent.identity import IDENTITY, ROOT
from moyai.agent.places import Places
from moyai.agent.watched import SOCKET

WITHIN_S = 5.0
SCARCE_ROOM = 2_000
"""Reports that the journal has room for: fewer, and it soon takes no new work."""
OLD_REPORT_S = 30.0
_PIECE = 65_536


def check_agent(root: Path, now_s: float | None = None) -> list[Check]:
    """The agent of a site's directory. `now_s`: our wall clock in seconds since 1970; None for now."""
    site = root.name
    name = f"agent:{site}"
    checks = _certificates(root, now_s)
    try:
        figures = _figures(root)
    except (OSError, ValueError) as error:
        problem = str(error) or type(error).__name__
        return [bad(name, "agent-away", site=site, path=str(root), problem=problem), *checks]
    left_s = figures.get("moyai_agent_lease_left_seconds", 0.0)
    if left_s <= 0:
        checks.append(bad(name, "agent-no-lease", site=site))
    else:
        checks.append(ok(name, "agent-fine", site=site, left=round(left_s * 1e6)))
    room = int(figures.get("moyai_journal_room_entries", 0))
    oldest_s = figures.get("moyai_reports_oldest_seconds", 0.0)
    if room < SCARCE_ROOM:
        checks.append(bad(f"journal:{site}", "journal-full", site=site, room=room))
    elif oldest_s > OLD_REPORT_S:
        checks.append(warn(f"journal:{site}", "journal-late", site=site, age=round(oldest_s * 1e6)))
    else:
        checks.append(ok(f"journal:{site}", "journal-fine", site=site, room=room))
    return checks


def _certificates(root: Path, now_s: float | None) -> list[Check]:
    """The certificate by which the agent speaks to a control plane elsewhere, where it has one."""
    place = Places(root).identity
    certificate = place / IDENTITY  # with its key in the same file
    if not certificate.exists():
        return []
    return [check_certificate(certificate, certificate, place / ROOT, now_s)]


def _figures(root: Path) -> dict[str, float]:
    """The agent's figures without labels but the site's. Raises OSError, ValueError."""
    from prometheus_client.parser import text_string_to_metric_families

    with local.connect(str(root), SOCKET) as connection:
        connection.settimeout(WITHIN_S)
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n")
        said = _all_of(connection)
    head, _, body = said.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(head[:80].decode("ascii", "replace"))
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if set(sample.labels) <= {"site"}
    }


def _all_of(connection: socket.socket) -> bytes:
    said = b""
    while data := connection.recv(_PIECE):
        said += data
        if len(said) > 4 << 20:
            raise ValueError("more than 4 MiB came")
    return said
