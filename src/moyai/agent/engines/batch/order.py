"""What must lie in an attempt's directory before its script is handed over: all that the host engine puts there, the
order for its guards, and the secret by which they know the agent.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from moyai.agent.engines.batch.base import Submission
from moyai.agent.engines.host.prepare import Host, prepare
from moyai.agent.guarding.proof import SECRET, draw
from moyai.agent.messages import encode
from moyai.agent.places import Places
from moyai.model.commands import Launch
from moyai.model.engine import GuardSettings
from moyai.model.workload import JobText

ORDER = "order.json"
ENGINE_OUT = "engine.out"
"""What the script around the guards says, such as that there is no Python."""
PATIENCE_US = 120_000_000
"""How long a guard looks for its agent before it gives its nodes back. Nothing of the attempt runs meanwhile."""
SHELL = "/bin/bash"


@dataclass(frozen=True, slots=True)
class Site:
    """What all attempts of a site have in common. `archive`: the guard's, `socket`: the agent's for guards."""

    name: str
    places: Places
    guard: GuardSettings
    archive: Path
    socket: Path
    head_bytes: int
    tail_bytes: int


def lay_out(site: Site, launch: Launch, text: JobText) -> Submission:
    """Make the attempt's directory ready.

    Raises CannotPrepare, MountRefused, TreeError, BadManifest, BadArchive, OSError (a full disk among them).
    """
    host = Host(site.name, site.places, "", SHELL, site.head_bytes, site.tail_bytes, inherits=False)
    order = prepare(host, launch, text)
    place = site.places.attempt(launch.attempt)
    _put(place / SECRET, draw().encode())
    _put(place / ORDER, encode(order))
    return Submission(launch, order, place, tuple(_guard(site, place)))


def _guard(site: Site, place: Path) -> list[str]:
    words = [site.guard.python, str(site.archive), "--order", str(place / ORDER), "--agent", f"unix:{site.socket}"]
    if site.guard.listen:
        words += ["--agent", f"tcp:{site.guard.listen}"]
    return [*words, "--patience-us", str(PATIENCE_US)]


def _put(path: Path, data: bytes) -> None:
    """Write a file that nobody else may read, whole or not at all. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    temporary.rename(path)


def tail(place: Path, most: int = 400) -> str:
    """The last words of the script around the guards, in one line; "" where there are none."""
    try:
        with (place / ENGINE_OUT).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4 * most))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())[-most:]
