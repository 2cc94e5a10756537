"""What must be done before a rank can run: its directory, its code, its data, its checkpoint, its environment.

Runs in a thread, may be cut short by a crash, and starts from nothing each time.
"""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moyai.agent import laying
from moyai.agent.engines.host.mounts import Mount, wrap
from moyai.agent.laying import CannotPrepare
from moyai.agent.messages import Start
from moyai.agent.places import Places
from moyai.agent.workdir import unpack
from moyai.data.io.tree import give_out, tree_path
from moyai.model.commands import Launch
from moyai.model.workload import JobText

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Host:
    """What the engine knows of its machine and its site. `bwrap`: the program, "" where mounts don't work."""

    site: str
    places: Places
    bwrap: str
    shell: str
    head_bytes: int  # of each rank's output that is kept from its begin
    tail_bytes: int  # and from its end
    inherits: bool = True  # whether jobs see `KEPT_ENV` of the agent: not where they run on other machines


def prepare(host: Host, launch: Launch, text: JobText) -> Start:
    """Make the attempt's directory and return the order for the supervisor.

    Raises CannotPrepare, MountRefused, TreeError, BadManifest, BadArchive, OSError (a full disk among them).
    """
    place = host.places.attempt(launch.attempt)
    work, kept = laying.clear(place)
    if launch.workdir is not None:
        unpack(host.places.blob(launch.workdir), work)
    if launch.restore is not None:
        give_out(host.places.objects, launch.restore, kept)
    mounts: list[Mount] = []
    env = environment(laying.inherited() if host.inherits else {}, host.site, launch, text)
    paths = wanted_paths(text)
    for use in launch.inputs:
        tree = tree_path(host.places.objects, use.manifest)
        name = use.name or use.dataset
        path = paths.get(name, [])
        seen = _show(host, tree, path.pop(0) if path else "", work, mounts, writable=False)
        env[variable(name)] = seen
    if launch.checkpoint is not None:
        env["MOYAI_CHECKPOINT"] = _show(host, kept, text.checkpoint_path, work, mounts, writable=True)
    command = [host.shell, "-c", script(text)]
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


def environment(base: Mapping[str, str], site: str, launch: Launch, text: JobText) -> dict[str, str]:
    """What a rank's environment holds, its data and checkpoints apart. `base`: what the job sees of its machine's."""
    env = dict(base)
    env |= dict.fromkeys(THREADS, str(max(1, launch.need.cores)))
    env["PYTHONUNBUFFERED"] = "1"  # so that its output can be followed
    env |= dict(text.env)
    env |= {
        "MOYAI_JOB": launch.job,
        "MOYAI_ATTEMPT": launch.attempt,
        "MOYAI_SITE": site,
        "MOYAI_NODES": str(len(launch.nodes)),
        "MOYAI_RESTORED": "1" if launch.restore is not None else "0",
    }
    return env


def wanted_paths(text: JobText) -> Mapping[str, list[str]]:
    """Where a job wants to see each of its datasets."""
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
    laying.show(work, path, source)
    return str(laying.link_path(work, path))


def variable(dataset: str) -> str:
    """The variable that holds where a dataset lies."""
    return "MOYAI_DATA_" + re.sub(r"\W", "_", dataset, flags=re.ASCII).upper()


def script(text: JobText) -> str:
    """The setup, whose failure is the end, and the run line in the same shell, so that what it exports stays."""
    return f"set -e\n{text.setup}\nset +e\n{text.run}" if text.setup.strip() else text.run
