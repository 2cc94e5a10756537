"""Jobs on machines that are reached by SSH: a real agent, real sshds, a fake control plane."""

import asyncio
from collections.abc import Callable

import pytest

from agent.desk import alive
from agent.fake_control import FakeControl
from agent.site import launch, text
from engines.ssh.machines import TestMachine
from engines.ssh.site import SshSite, file, joined
from moyai.model.commands import Stop
from moyai.model.events import AttemptEnded, AttemptStarted, Outcome
from moyai.model.exchange import AskKind
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason

Machines = Callable[[int], list[TestMachine]]
MakeSite = Callable[..., SshSite]


@pytest.mark.parametrize(
    ("run", "outcome", "code", "found"),
    [
        ("echo hi", Outcome.SUCCEEDED, Code.EXIT, 0),
        ("echo hi; exit 3", Outcome.FAILED, Code.EXIT, 3),
        ("echo hi; kill -9 $$", Outcome.FAILED, Code.SIGNAL, 9),
    ],
)
async def test_a_job_runs_and_its_end_is_told(
    machines: Machines, site: MakeSite, *, run: str, outcome: Outcome, code: Code, found: int
) -> None:
    async with FakeControl() as control:
        made = machines(1)
        one = await joined(control, site(control.address, made), 1)
        await control.command("tokyo", launch("a.1"), text(run))
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.outcome, ended.reason.code, ended.reason.found) == (outcome, code, found)
        assert [b.nodes for b in control.site("tokyo").bodies(AttemptStarted)] == [("m0",)]
        assert one.output("a.1") == "hi\n"
        async with asyncio.timeout(10):
            while (made[0].site / "attempts/a.1").exists():  # nothing is left on the machine
                await asyncio.sleep(0.05)


async def test_a_job_sees_the_environment_of_its_machine(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        made = machines(1)
        one = await joined(control, site(control.address, made), 1)
        await control.command("tokyo", launch("job-1.2"), text("env", env=(("MINE", "ü"), ("MOYAI_JOB", "forged"))))
        await control.report("tokyo", AttemptEnded)
        env = dict(line.split("=", 1) for line in one.output("job-1.2").splitlines())
        assert (env["HOME"], env["MINE"], env["MOYAI_JOB"]) == (str(made[0].home), "ü", "job-1")
        assert (env["MOYAI_SITE"], env["MOYAI_RANK"], env["MOYAI_NODES"]) == ("tokyo", "0", "1")
        assert "SSH_CONNECTION" not in env


async def test_output_is_there_while_the_job_runs_and_a_stop_ends_it(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        made = machines(1)
        await joined(control, site(control.address, made), 1)
        await control.command("tokyo", launch("a.1"), text("echo first; setsid sleep 1000 & echo $! > pid; wait"))
        async with asyncio.timeout(30):
            data = b""
            while data != b"first\n":
                headers, data = await control.ask("tokyo", AskKind.OUTPUT, "a.1", wait_us=1_000_000)
        assert headers["x-moyai-eof"] == "0"
        await file(made[0].site / "attempts/a.1/work/pid")
        left = [pid for pid in made[0].processes() if b"sleep" in cmdline(pid)]
        assert left
        await control.command("tokyo", Stop(AttemptId("a.1"), Reason(Code.PREEMPTED, subject="b")))
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.outcome, ended.reason) == (Outcome.STOPPED, Reason(Code.PREEMPTED, subject="b"))
        assert not any(alive(pid) for pid in left)
        headers, data = await control.ask("tokyo", AskKind.OUTPUT, "a.1")
        assert (data, headers["x-moyai-eof"]) == (b"first\n", "1")


def cmdline(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as source:
            return source.read()
    except OSError:
        return b""


async def test_much_output_keeps_its_begin_and_its_end(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        one = await joined(control, site(control.address, machines(1)), 1)
        await control.command("tokyo", launch("a.1"), text("seq -f %09.0f 3000000"))
        ended = await control.report("tokyo", AttemptEnded)
        assert ended.output_bytes == 30_000_000
        assert one.output("a.1").startswith("000000001\n")
        headers, data = await control.ask("tokyo", AskKind.OUTPUT, "a.1", offset=29_999_990)
        assert (data, headers["x-moyai-total"]) == (b"003000000\n", "30000000")
        assert int(headers["x-moyai-left-out"]) > 0


async def test_a_launch_and_its_stop_in_one_poll_end_once(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        made = machines(1)
        await joined(control, site(control.address, made), 1)
        await control.command("tokyo", launch("a.1"), text("touch $HOME/ran; sleep 1000"))
        await control.command("tokyo", Stop(AttemptId("a.1"), Reason(Code.CANCELLED, subject="me")))
        assert (await control.report("tokyo", AttemptEnded)).outcome is Outcome.STOPPED
        await control.command("tokyo", launch("b.1"), text("true"))
        await control.report("tokyo", AttemptEnded, "b.1")
        assert len(control.site("tokyo").bodies(AttemptEnded)) == 2
