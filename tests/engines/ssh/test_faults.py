"""What agents, supervisors, machines and the network between them may do in the middle of a job."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.desk import alive
from agent.fake_control import FakeControl
from agent.site import launch, text
from engines.proxy import Proxy
from engines.ssh.machines import TestMachine
from engines.ssh.site import SshSite, capacity, file, host, joined
from moyai.model.events import AttemptEnded, AttemptStarted, Outcome
from moyai.model.exchange import AskKind
from moyai.model.reasons import Code
from moyai.model.workload import OnPartition

Machines = Callable[[int], list[TestMachine]]
MakeSite = Callable[..., SshSite]
WAIT = "echo up; while [ ! -e $HOME/go ]; do sleep 0.05; done; echo over; exit 5"


async def test_the_agent_killed_in_mid_job_and_started_again_tells_the_end_once(
    machines: Machines, site: MakeSite
) -> None:
    async with FakeControl() as control:
        made = machines(2)
        one = await joined(control, site(control.address, made), 2)
        await control.command("tokyo", launch("a.1", nodes=2), text(WAIT.replace("exit 5", "exit 0")))
        await control.report("tokyo", AttemptStarted)
        one.kill()
        one.start()
        await control.until(lambda: len(control.site("tokyo").hellos) == 2)
        assert control.site("tokyo").hellos[1].attempts == ("a.1",)
        for machine in made:
            (machine.home / "go").touch()
        assert (await control.report("tokyo", AttemptEnded)).outcome is Outcome.SUCCEEDED
        assert [one.output("a.1", rank) for rank in (0, 1)] == ["up\nover\n"] * 2
        assert len(control.site("tokyo").bodies(AttemptEnded)) == len(control.site("tokyo").bodies(AttemptStarted)) == 1


async def test_an_end_while_no_agent_is_there_is_told_by_the_next(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        made = machines(1)
        one = await joined(control, site(control.address, made), 1)
        await control.command("tokyo", launch("a.1"), text(WAIT))
        await control.report("tokyo", AttemptStarted)
        one.kill()
        (made[0].home / "go").touch()
        await file(made[0].site / "attempts/a.1/exit.json")
        one.start()
        assert (await control.report("tokyo", AttemptEnded)).reason.found == 5
        headers, data = await control.ask("tokyo", AskKind.OUTPUT, "a.1")
        assert (data, headers["x-moyai-eof"]) == (b"up\nover\n", "1")


async def test_a_killed_supervisor_is_noticed_and_a_new_one_works(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        made = machines(1)
        await joined(control, site(control.address, made), 1)
        await control.command("tokyo", launch("a.1"), text("setsid sleep 1000 & echo up; wait"))
        await control.report("tokyo", AttemptStarted)
        pids = [pid for pid in made[0].processes() if b"supervise" in cmdline(pid)]
        assert len(pids) == 1
        os.kill(pids[0], signal.SIGKILL)
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.outcome, ended.reason.code) == (Outcome.FAILED, Code.SUPERVISOR_LOST)
        assert "died" in ended.reason.detail
        assert not [pid for pid in made[0].processes() if b"sleep\x001000" in cmdline(pid)]
        await control.command("tokyo", launch("b.1"), text("exit 3"))
        assert (await control.report("tokyo", AttemptEnded, "b.1")).reason.found == 3


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("on_partition", [OnPartition.STOP, OnPartition.WAIT])
async def test_a_machine_that_is_restarted_is_a_lost_node_and_then_works_again(
    machines: Machines, site: MakeSite, isolated: bool, on_partition: OnPartition
) -> None:
    if not isolated:
        pytest.skip("only root can give a machine a boot id of its own, by a mount namespace")
    async with FakeControl() as control:
        made = machines(2)
        one = await joined(control, site(control.address, made), 2)
        await control.command("tokyo", launch("g.1", nodes=2, on_partition=on_partition), text("echo up; sleep 1000"))
        await control.report("tokyo", AttemptStarted)
        other = [pid for pid in made[0].processes() if b"sleep\x001000" in cmdline(pid)]
        assert other
        made[1].power_off()
        made[1].start()
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.outcome, ended.reason.code) == (Outcome.FAILED, Code.SUPERVISOR_LOST)
        assert ended.reason.detail == "node lost: m1 was restarted"
        assert not any(alive(pid) for pid in other)
        await capacity(control, "tokyo", 2)
        await control.command("tokyo", launch("b.1", nodes=2), text("exit 0"))
        assert (await control.report("tokyo", AttemptEnded, "b.1")).outcome is Outcome.SUCCEEDED
        assert one.output("g.1").startswith("up")


async def test_a_machine_that_is_gone_ends_what_ran_there_by_its_lease(machines: Machines, site: MakeSite) -> None:
    async with FakeControl(lease_us=3_000_000) as control:
        made = machines(2)
        await joined(control, site(control.address, made), 2)
        await control.command("tokyo", launch("g.1", nodes=2), text("echo up; sleep 1000"))
        await control.report("tokyo", AttemptStarted)
        made[1].power_off()
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.outcome, ended.reason.code) == (Outcome.FAILED, Code.SUPERVISOR_LOST)
        assert "node lost: m1 can't be reached" in ended.reason.detail
        await control.command("tokyo", launch("b.1"), text("exit 3"))  # the other machine goes on
        assert (await control.report("tokyo", AttemptEnded, "b.1")).reason.found == 3


@pytest.mark.parametrize("fault", ["cut", "hole"])
async def test_a_network_cut_shorter_than_the_lease_is_not_noticed(
    machines: Machines, site: MakeSite, key: Path, fault: str
) -> None:
    async with FakeControl(lease_us=60_000_000) as control:
        made = machines(1)
        async with Proxy(made[0].port) as proxy:
            one = site(control.address, made, hosts=(host(made[0], key, port=proxy.port),))
            one.known.write_text(made[0].known(proxy.port))
            await joined(control, one, 1)
            await control.command("tokyo", launch("a.1"), text(WAIT))
            await control.report("tokyo", AttemptStarted)
            if fault == "cut":
                proxy.refuse = True
                proxy.cut()
            else:
                proxy.hole()
            (made[0].home / "go").touch()
            await file(made[0].site / "attempts/a.1/exit.json")
            await asyncio.sleep(1)
            proxy.heal()
            ended = await control.report("tokyo", AttemptEnded)
            assert (ended.reason.code, ended.reason.found) == (Code.EXIT, 5)
            assert one.output("a.1") == "up\nover\n"


async def test_a_network_cut_longer_than_the_lease_stops_what_ran_there(
    machines: Machines, site: MakeSite, key: Path
) -> None:
    async with FakeControl(lease_us=3_000_000) as control:
        made = machines(1)
        async with Proxy(made[0].port) as proxy:
            one = site(control.address, made, hosts=(host(made[0], key, port=proxy.port),))
            one.known.write_text(made[0].known(proxy.port))
            await joined(control, one, 1)
            await control.command("tokyo", launch("a.1"), text("echo up; sleep 1000"))
            await control.report("tokyo", AttemptStarted)
            left = [pid for pid in made[0].processes() if b"sleep\x001000" in cmdline(pid)]
            proxy.refuse = True
            proxy.cut()
            ended = await control.report("tokyo", AttemptEnded)
            assert ended.reason.code in {Code.SUPERVISOR_LOST, Code.LEASE_EXPIRED}
            assert not any(alive(pid) for pid in left)  # its supervisor did that by itself, before the end was told
            proxy.heal()
            await control.command("tokyo", launch("b.1"), text("exit 3"))
            assert (await control.report("tokyo", AttemptEnded, "b.1")).reason.found == 3
            assert len([b for b in control.site("tokyo").bodies(AttemptEnded) if b.attempt == "a.1"]) == 1
