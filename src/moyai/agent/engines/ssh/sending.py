"""What a machine needs before a rank can run there: code, data, a checkpoint, a directory. And the order itself."""

import asyncio
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from moyai.agent.engines.host.prepare import environment, script, signal_number, variable, wanted_paths
from moyai.agent.engines.ssh.carry import put_blob, put_object
from moyai.agent.engines.ssh.machine import About, Machine, MachineDown, Process
from moyai.agent.laying import CannotPrepare
from moyai.agent.messages import Start
from moyai.agent.places import Places
from moyai.model.commands import Launch
from moyai.model.ids import ManifestId
from moyai.model.workload import JobText

KEPT_BYTES = 64 << 30
"""Of objects and code that a machine keeps for later attempts; what was used longest ago goes first."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What is the same for all attempts of a site."""

    site: str
    places: Places
    head_bytes: int
    tail_bytes: int
    kept_bytes: int = KEPT_BYTES


async def send(
    sender: Sender,
    machine: Machine,
    launch: Launch,
    text: JobText,
    *,
    ranks: Sequence[int],
    nonce: str,
    hosts: Sequence[str],
    wanted: Collection[str],
) -> Start:
    """Bring everything there; returns the order for its supervisor.

    `hosts`: the address of each rank's machine, by which they find each other. `wanted`: what other attempts there use.

    Raises CannotPrepare, MachineDown, Unwilling, TreeError, BadManifest, BadArchive, OSError.
    """
    about = machine.about
    if about is None:
        raise MachineDown(machine.problem or f"{machine.name} can't be reached")
    links, env = _seen(about, launch, text)
    await _bring(sender, machine, launch, wanted)
    await _lay(machine, launch, links)
    place = f"{about.directory}/attempts/{launch.attempt}"
    rule = launch.checkpoint
    return Start(
        attempt=launch.attempt,
        ranks=len(ranks),
        argv=[about.shell, "-c", script(text)],
        env=environment(about.env, sender.site, launch, text) | env | {"MOYAI_HOSTS": ",".join(hosts)},
        cwd=f"{place}/work",
        directory=place,
        grace_us=launch.grace_us,
        stop_signal=signal_number(rule.stop_signal if rule else "SIGTERM"),
        limit_us=launch.limit_us,
        memory_bytes=launch.need.memory_bytes,
        head_bytes=sender.head_bytes,
        tail_bytes=sender.tail_bytes,
        numbers=list(ranks),
        nonce=nonce,
    )


def _seen(about: About, launch: Launch, text: JobText) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The links to be made, (path, object; "" for the checkpoints), and the variables that say where things lie."""
    place = f"{about.directory}/attempts/{launch.attempt}"
    links: list[tuple[str, str]] = []
    env: dict[str, str] = {}
    paths = wanted_paths(text)
    for use in launch.inputs:
        name = use.name or use.dataset
        path = paths.get(name, [])
        wish = path.pop(0) if path else ""
        env[variable(name)] = _path(place, wish, f"{about.directory}/objects/{use.manifest}")
        if wish:
            links.append((wish, use.manifest))
    if launch.checkpoint is not None:
        env["MOYAI_CHECKPOINT"] = _path(place, text.checkpoint_path, f"{place}/ckpt")
        if text.checkpoint_path:
            links.append((text.checkpoint_path, ""))
    return links, env


def _path(place: str, wish: str, source: str) -> str:
    if wish.startswith("/"):
        raise CannotPrepare(f"this site can't put anything at {wish}: its engine has no mounts")
    return f"{place}/work/{wish}" if wish else source


async def _bring(sender: Sender, machine: Machine, launch: Launch, wanted: Collection[str]) -> None:
    """What isn't kept there yet is sent."""
    objects: list[ManifestId] = [use.manifest for use in launch.inputs]
    if launch.restore is not None:
        objects.append(launch.restore)
    blobs = [launch.workdir] if launch.workdir is not None else []
    if not objects and not blobs:
        return
    here, _ = await machine.ask({"do": "has", "objects": objects, "blobs": blobs})
    sent = False
    for manifest in dict.fromkeys(objects):
        if manifest not in here["object"]:
            await put_object(machine, sender.places.objects, manifest)
            sent = True
    for blob in blobs:
        if blob not in here["blob"]:
            await put_blob(machine, sender.places.blob(blob), blob)
            sent = True
    if sent:
        keep = sorted({*wanted, *objects, *blobs})
        await machine.ask({"do": "tidy", "wanted": keep, "bytes": sender.kept_bytes})


async def _lay(machine: Machine, launch: Launch, links: Sequence[tuple[str, str]]) -> None:
    order = {
        "attempt": launch.attempt,
        "blob": launch.workdir or "",
        "restore": launch.restore or "",
        "links": links,
    }
    if launch.workdir is None and launch.restore is None:
        await machine.ask({"do": "lay", **order})
    else:  # it may take long: others must not wait for the hand meanwhile
        await machine.transfer(_nothing, "lay", json.dumps(order))


async def _nothing(_: Process) -> None:
    await asyncio.sleep(0)
