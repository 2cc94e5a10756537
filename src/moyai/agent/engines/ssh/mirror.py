"""What an attempt leaves on its machines, brought to the agent while it runs and once more at its end.

Its output lies here in the same files as on a host, so that whoever reads it needs no machine. A checkpoint that is
complete where rank 0 runs comes with what the other machines have under its name, and is complete here then.
"""

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moyai.agent.engines.ssh.carry import fetch
from moyai.agent.engines.ssh.machine import Machine, MachineDown, Unwilling

LOG = logging.getLogger("moyai.agent.ssh")
HAD = "had.json"
"""The names of checkpoints that need not be fetched (again)."""
KEPT = 2
"""So many checkpoints stay here beside the objects that were made of them: a newer one makes them useless."""
AGAIN_S = 5.0
"""Before a checkpoint that could not be fetched is tried again."""


class Mirror:
    """One attempt's. `ranks`: of each machine, the one with rank 0 among them."""

    def __init__(self, attempt: str, place: Path, ranks: Mapping[str, Sequence[int]], restored: Sequence[str]) -> None:
        """`restored`: names of checkpoints that it began with."""
        self.attempt = attempt
        self.place = place
        self.lead = next(name for name, numbers in ranks.items() if 0 in numbers)
        self._ranks = ranks
        self._had = _read_had(place) or set(restored)
        self._under_way: set[str] = set()
        self._not_before: dict[str, float] = {}
        (place / "ckpt").mkdir(parents=True, exist_ok=True)
        (place / "work").mkdir(exist_ok=True)

    def wanted(self, machine: str) -> dict[str, object]:
        """What to ask a machine about."""
        known = sorted({*self._had, *self._under_way}) if machine == self.lead else []
        return {"outputs": {name: path.stat().st_size for name, path in self._outputs(machine)}, "known": known}

    def _outputs(self, machine: str) -> list[tuple[str, Path]]:
        """(name, path) of the pieces of output that lie here and come from that machine."""
        own = set(self._ranks[machine])
        with os.scandir(self.place) as scan:
            return [(e.name, Path(e.path)) for e in scan if (rank := _rank(e.name)) is not None and rank in own]

    def take(self, machine: str, told: dict[str, Any], data: memoryview) -> tuple[int, list[str]]:
        """Write the output that came. Returns how many bytes it was, and the names of new complete checkpoints."""
        used = 0
        for name, offset, size in told["pieces"]:
            if _rank(name) in self._ranks[machine]:
                _put(self.place / name, offset, data[used : used + size])
            used += size
        for name, path in self._outputs(machine):
            if name not in told["files"]:
                path.unlink(missing_ok=True)  # an older piece, dropped there to make room
        if machine != self.lead:
            return used, []
        now = asyncio.get_running_loop().time()
        names = [name for _, name in told["complete"] if "/" not in name and not name.startswith(".")]
        return used, [name for name in names if name not in self._had and self._not_before.get(name, 0) <= now]

    def behind(self, machine: str, told: dict[str, Any]) -> bool:
        """Whether that machine has output that isn't here."""
        here = {name: path.stat().st_size for name, path in self._outputs(machine)}
        return any(here.get(name, 0) < size for name, size in told["files"].items())

    async def checkpoints(self, machines: Mapping[str, Machine], names: Sequence[str]) -> bool:
        """Fetch these, oldest first. False where one could not be fetched now."""
        well = True
        for name in names:
            if name in self._had or name in self._under_way:
                continue
            self._under_way.add(name)
            try:
                await self._checkpoint(machines, name)
            except Unwilling as error:
                LOG.warning("%s: the checkpoint %s can't be had: %s", self.attempt, name, error)
                self._note(name)
            except (MachineDown, OSError) as error:
                LOG.warning("%s: the checkpoint %s can't be had now: %s", self.attempt, name, error)
                self._not_before[name] = asyncio.get_running_loop().time() + AGAIN_S
                well = False
            finally:
                self._under_way.discard(name)
        return well

    async def _checkpoint(self, machines: Mapping[str, Machine], name: str) -> None:
        here = self.place / "ckpt"
        whole = here / f".whole-{name[:200]}"
        shutil.rmtree(whole, ignore_errors=True)
        try:
            await fetch(machines[self.lead], self.attempt, f"ckpt/{name}", whole)
            for other in (other for other in self._ranks if other != self.lead):
                beside = here / f".beside-{name[:200]}"
                try:
                    await fetch(machines[other], self.attempt, f"ckpt/{name}", beside)
                    await asyncio.to_thread(_merge, beside, whole)
                except Unwilling:
                    continue  # it wrote nothing there
                finally:
                    await asyncio.to_thread(shutil.rmtree, beside, True)
            whole.rename(here / name)
        finally:
            await asyncio.to_thread(shutil.rmtree, whole, True)
        self._note(name)
        await asyncio.to_thread(self._tidy)

    def _note(self, name: str) -> None:
        self._had.add(name)
        temporary = self.place / f"{HAD}.tmp"
        temporary.write_text(json.dumps(sorted(self._had)), "utf-8")
        temporary.rename(self.place / HAD)

    def _tidy(self) -> None:
        with os.scandir(self.place / "ckpt") as scan:
            found = [entry for entry in scan if not entry.name.startswith(".") and entry.is_dir()]
        for entry in sorted(found, key=lambda e: e.stat().st_ctime_ns)[:-KEPT]:
            shutil.rmtree(entry.path, ignore_errors=True)

    async def file(self, machines: Mapping[str, Machine], path: str) -> None:
        """Fetch what lies at `path` of the working directory, from the first machine that has it. Raises MachineDown.

        Where none has it nothing comes, and whoever wants it says so.
        """
        target = Path(os.path.normpath(self.place / "work" / path))
        if not target.is_relative_to(self.place / "work") or target == self.place / "work":
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        for name in sorted(self._ranks, key=lambda n: n != self.lead):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            try:
                await fetch(machines[name], self.attempt, f"work/{path}", target)
            except Unwilling as error:
                LOG.info("%s: %s", self.attempt, error)
            else:
                return


def _rank(name: str) -> int | None:
    """The rank whose output a file holds, or None where it holds none."""
    what, _, rest = name.partition(".")
    rank, _, offset = rest.partition(".")
    if what != "output" or not rank.isdecimal() or (offset and not offset.isdecimal()):
        return None
    return int(rank)


def _put(path: Path, offset: int, data: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while data:
            wrote = os.pwrite(descriptor, data, offset)
            data, offset = data[wrote:], offset + wrote
    finally:
        os.close(descriptor)


def _merge(source: Path, target: Path) -> None:
    """Move the files below `source` to `target`, but for those that are there."""
    for folder, _, names in os.walk(source):
        into = target / Path(folder).relative_to(source)
        into.mkdir(exist_ok=True)
        for name in names:
            if not os.path.lexists(into / name):
                os.rename(f"{folder}/{name}", into / name)


def _read_had(place: Path) -> set[str] | None:
    try:
        return set(json.loads((place / HAD).read_text("utf-8")))
    except (FileNotFoundError, ValueError):
        return None
