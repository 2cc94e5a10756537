"""Who a machine is, who the agent is there, and what is said where that fails. And the way through another machine."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.fake_control import FakeControl
from agent.site import launch, text
from engines.ssh.machines import TestMachine, free_port, keygen
from engines.ssh.site import SshSite, capacity, host, joined
from moyai.agent.engines.registry import ENGINE_FILE
from moyai.model.codec import encode
from moyai.model.engine import EngineFile
from moyai.model.events import AttemptEnded, Outcome
from moyai.model.reasons import Code

Machines = Callable[[int], list[TestMachine]]
MakeSite = Callable[..., SshSite]


async def said(control: FakeControl, site: SshSite, words: str, count: int = 0) -> str:
    """The line of the agent's log with `words`, as soon as the site has so many nodes."""
    site.start()
    await capacity(control, site.name, count)
    return next(line for line in site.log().splitlines() if words in line)


async def test_an_unknown_host_key_is_refused_with_the_line_to_add(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        made = machines(1)
        one = site(control.address, made)
        one.known.write_text("")
        line = await said(control, one, "is unknown")
        print_ = subprocess.run(
            ["ssh-keygen", "-lf", str(made[0].home / "host_key.pub")], capture_output=True, text=True, check=True
        ).stdout.split()[1]
        assert print_ in line
        assert f"[127.0.0.1]:{made[0].port} {' '.join(made[0].host_key.split()[:2])}" in line
        one.known.write_text(line.rpartition("the line: ")[2] + "\n")  # the operator adds it: no restart is needed
        await capacity(control, "tokyo", 1)


async def test_a_changed_host_key_is_refused_with_a_warning(machines: Machines, site: MakeSite, ground: Path) -> None:
    async with FakeControl() as control:
        made = machines(2)
        one = site(control.address, made)
        other = keygen(ground / "other")
        one.known.write_text(f"[127.0.0.1]:{made[0].port} {other}" + made[1].known())
        line = await said(control, one, "CHANGED", 1)
        assert "somebody may answer in its place" in line
        assert f"ssh-keygen -f {one.known} -R '[127.0.0.1]:{made[0].port}'" in line
        await control.command("tokyo", launch("a.1"), text("echo $HOME"))  # the other machine serves
        assert (await control.report("tokyo", AttemptEnded)).outcome is Outcome.SUCCEEDED
        assert one.output("a.1") == f"{made[1].home}\n"


async def test_a_key_that_no_machine_takes_and_a_machine_that_is_not_there(
    machines: Machines, site: MakeSite, ground: Path
) -> None:
    async with FakeControl() as control:
        made = machines(1)
        keygen(ground / "stranger")
        wrong = host(made[0], ground / "stranger")
        nowhere = replace(wrong, name="m9", port=free_port())
        one = site(control.address, made, hosts=(wrong, nowhere))
        line = await said(control, one, "lets nobody in")
        assert f"by {ground}/stranger: add the public key to ~/.ssh/authorized_keys there" in line
        assert any(f"m9 (127.0.0.1:{nowhere.port})" in line for line in one.log().splitlines())
        await control.command("tokyo", launch("a.1"), text("true"))
        ended = await control.report("tokyo", AttemptEnded)
        assert ended.reason.code is Code.LAUNCH_FAILED
        assert "node 0 of cpu has no machine that can be reached" in ended.reason.detail


async def test_a_machine_behind_another_one(machines: Machines, site: MakeSite, key: Path) -> None:
    async with FakeControl() as control:
        made = machines(2)
        behind = host(made[1], key, jump="m0")
        one = await joined(control, site(control.address, made, hosts=(host(made[0], key), behind)), 2)
        await control.command("tokyo", launch("g.1", nodes=2), text("echo $HOME"))
        assert (await control.report("tokyo", AttemptEnded)).outcome is Outcome.SUCCEEDED
        assert [one.output("g.1", rank) for rank in (0, 1)] == [f"{m.home}\n" for m in made]
        assert "127.0.0.1" in (made[1].home / "sshd.log").read_text()


async def test_a_machine_without_a_python_of_ours_is_said(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        one = site(control.address, machines(1))
        settings = replace(one.settings, python="/nowhere/python3")
        (one.dir / ENGINE_FILE).write_bytes(encode(EngineFile(ssh=settings)))
        assert "/nowhere/python3" in await said(control, one, "m0 can't be set up")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("known", "the known host keys can't be read"),
        ("key", "the key of m0 can't be read"),
        ("locked", "can't be read: Passphrase must be specified"),
    ],
)
def test_what_is_wrong_on_our_side_stops_the_agent(
    machines: Machines, site: MakeSite, ground: Path, spoil: str, words: str
) -> None:
    made = machines(1)
    key = ground / "id"
    one = site("unix:/nowhere", made)
    if spoil == "known":
        one.known.unlink()
    elif spoil == "key":
        key.write_text("no key")
    else:
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(key)], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "moyai.agent", "--dir", one.dir, "--profile", one.profile, "--control", one.control],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
