"""What must be done before a rank can run: its directory, its code, its data, its checkpoint, its environment.

Runs in a thread, may be cut short by a crash, and starts from nothing each time.
"""

import os
import re
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moyai.agent.engines.host.mounts import Mount, wrap
from moyai.agent.messages import Start
from moyai.agent.places import Places
from moyai.agent.workdir import unpack
from moyai.data.io.tree import give_out, tree_path
from moyai.model.commands import Launch
from moyai.model.workload import JobText

KEPT_ENV = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV|SSL_CERT_(FILE|DIR)|NO_COLOR"
)
"""What a job sees of the agent's own environment; all else is the agent's business."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class CannotPrepare(Exception):
    """The attempt can't be started here; the message says why."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the engine knows of its machine and its site. `bwrap`: the program, "" where mounts don't work."""

    site: str
    places: Places
    bwrap: str
    shell: str
    head_bytes: int  # of each rank's output that is kept from its begin
    tail_bytes: int  # and from its end


def prepare(host: Host, launch: Launch, text: JobText) -> Start:
    """Make the attempt's directory and return the order for the supervisor.

    Raises CannotPrepare, MountRefused, TreeError, BadManifest, BadArchive, OSError (a full disk among them).
    """
    place = host.places.attempt(launch.attempt)
    work, kept = place / "work", host.places.checkpoints(launch.attempt)
    for left in (work, kept):
        if left.exists():
            shutil.rmtree(left)
        left.mkdir(parents=True)
    if launch.workdir is not None:
        unpack(host.places.blob(launch.workdir), work)
    if launch.restore is not None:
        give_out(host.places.objects, launch.restore, kept)
    mounts: list[Mount] = []
    env = _environment(host, launch, text)
    paths = _wanted_paths(text)
    for use in launch.inputs:
        tree = tree_path(host.places.objects, use.manifest)
        name = use.name or use.dataset
        path = paths.get(name, [])
        seen = _show(host, tree, path.pop(0) if path else "", work, mounts, writable=False)
        env[f"MOYAI_DATA_{_variable(name)}"] = seen
    if launch.checkpoint is not None:
        env["MOYAI_CHECKPOINT"] = _show(host, kept, text.checkpoint_path, work, mounts, writable=True)
    command = [host.shell, "-c", _script(text)]
    rule = launch.checkpoint
    return Start(
        attempt=launch.attempt,
        ranks=len(launch.nodes),
        argv=wrap(host.bwrap, mounts, str(work)) + command if mounts else command,
        env=env,
        cwd=str(work),
        directory=str(place),
        grace_us=launch.grace_us,
        stop_signal=signal_number(rule.stop_signal if rule else "SIGTERM"),
        limit_us=launch.limit_us,
        memory_bytes=launch.need.memory_bytes,
        head_bytes=host.head_bytes,
        tail_bytes=host.tail_bytes,
    )


def signal_number(name: str) -> int:
    """The number of a signal by its name. Raises CannotPrepare."""
    try:
        return int(signal.Signals[name])
    except KeyError:
        raise CannotPrepare(f"this machine has no signal {name!r}") from None


def _environment(host: Host, launch: Launch, text: JobText) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if KEPT_ENV.fullmatch(name)}
    env |= dict.fromkeys(THREADS, str(max(1, launch.need.cores)))
    env["PYTHONUNBUFFERED"] = "1"  # so that its output can be followed
    env |= dict(text.env)
    env |= {
        "MOYAI_JOB": launch.job,
        "MOYAI_ATTEMPT": launch.attempt,
        "MOYAI_SITE": host.site,
        "MOYAI_NODES": str(len(launch.nodes)),
        "MOYAI_RESTORED": "1" if launch.restore is not None else "0",
    }
    return env


def _wanted_paths(text: JobText) -> Mapping[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for dataset, path in text.mounts:
        paths.setdefault(dataset.partition("@")[0], []).append(path)
    return paths


def _show(host: Host, source: Path, path: str, work: Path, mounts: list[Mount], *, writable: bool) -> str:
    """Let the job see `source` at `path`: bound there if absolute, linked in its working directory if relative."""
    if not path:
        return str(source)
    if path.startswith("/"):
        if not host.bwrap:
            raise CannotPrepare(f"this site can't put anything at {path}: its engine has no mounts")
        mounts.append(Mount(source, path, writable))
        return path
    link = Path(os.path.normpath(work / path))
    if not link.is_relative_to(work) or link == work:
        raise CannotPrepare(f"the path {path!r} leads out of the working directory")
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.parent.resolve().is_relative_to(work.resolve()):
        raise CannotPrepare(f"the path {path!r} leads out of the working directory")
    try:
        link.symlink_to(source)
    except FileExistsError:
        raise CannotPrepare(f"the working directory has {path!r} already") from None
    return str(link)


def _variable(dataset: str) -> str:
    return re.sub(r"\W", "_", dataset, flags=re.ASCII).upper()


def _script(text: JobText) -> str:
    """The setup, whose failure is the end, and the run line in the same shell, so that what it exports stays."""
    return f"set -e\n{text.setup}\nset +e\n{text.run}" if text.setup.strip() else text.run
