"""The way from a site to a control plane elsewhere: whether it answers, is of our CA, and has the same time."""

from pathlib import Path

from moyai.agent.doctor import web
from moyai.agent.doctor.check import Check, bad, ok
from moyai.agent.doctor.clock import check_wall_clock
from moyai.agent.identity import IDENTITY, Identity, NoIdentity, bare_context
from moyai.agent.lines import check_address, words
from moyai.agent.places import Places

NAME = "control"
ROOT_PATH = "/v1/root.pem"
"""What a control plane shows to everybody: the root of its CA."""


def check_remote(address: str, root: Path | None = None, now_s: float | None = None) -> list[Check]:
    """A control plane at "https://HOST:PORT". `root`: the directory of an agent; its identity is used where it has one.

    `now_s`: our wall clock in seconds since 1970; None for now. Raises ValueError where that is no address.
    """
    check_address(address)
    place = Places(root).identity if root is not None else None
    try:
        joined = place is not None and (place / IDENTITY).exists()
        context = Identity(place).load().context() if place is not None and joined else bare_context()
    except NoIdentity as error:
        return [bad(NAME, "remote-identity", problem=str(error))]
    uds = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
    base = "http://control" if uds is not None else address.rstrip("/")
    try:
        found = web.get(base + ROOT_PATH, uds=uds, verify=context)
    except web.NoAnswer as error:
        return [bad(NAME, "remote-away", address=address, problem=words(error))]
    if found.status != 200 or b"BEGIN CERTIFICATE" not in found.body:
        return [bad(NAME, "remote-other", address=address, status=found.status, said=found.said)]
    said = ok(NAME, "remote-ours" if joined else "remote-answers", address=address)
    return [said, check_wall_clock(found.date_s, "control", now_s)]
