"""An agent of newer code comes: what runs goes on under the older supervisor, which is replaced once it is empty."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import moyai
from agent.fake_control import FakeControl
from agent.site import launch, text
from engines.ssh.machines import TestMachine
from engines.ssh.site import SshSite, joined
from moyai.model.events import AttemptEnded, AttemptStarted

Machines = Callable[[int], list[TestMachine]]


def archives(machine: TestMachine) -> set[str]:
    """What the supervisors of a machine were started from."""
    found: set[str] = set()
    for pid in machine.processes():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found |= {Path(word.decode()).name for word in words if word.endswith(b".pyz") and b"supervise" in words}
    return found


async def test_an_upgrade_with_work_running(
    machines: Machines, site: Callable[..., SshSite], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tmp_path / "moyai"
    shutil.copytree(Path(moyai.__file__).parent, newer, ignore=shutil.ignore_patterns("__pycache__"))
    with (newer / "agent/remote/hand.py").open("a") as changed:
        changed.write("\n# newer\n")
    async with FakeControl() as control:
        made = machines(1)
        one = await joined(control, site(control.address, made), 1)
        await control.command("tokyo", launch("a.1"), text("while [ ! -e $HOME/go ]; do sleep 0.05; done; exit 5"))
        await control.report("tokyo", AttemptStarted)
        before = archives(made[0])
        assert len(before) == 1
        one.kill()
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        one.start()
        await control.until(lambda: len(control.site("tokyo").hellos) == 2)
        await control.command("tokyo", launch("b.1"), text("exit 3"))  # the older one takes new work too
        assert (await control.report("tokyo", AttemptEnded, "b.1")).reason.found == 3
        assert archives(made[0]) == before
        (made[0].home / "go").touch()
        assert (await control.report("tokyo", AttemptEnded, "a.1")).reason.found == 5
        async with asyncio.timeout(20):
            while archives(made[0]) == before or not archives(made[0]):
                await asyncio.sleep(0.05)
        await control.command("tokyo", launch("c.1"), text("exit 4"))
        assert (await control.report("tokyo", AttemptEnded, "c.1")).reason.found == 4
