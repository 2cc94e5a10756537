"""The agent as a process, against a fake control plane: what survives what, and that everything is told once."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.desk import alive
from agent.fake_control import FakeControl
from agent.site import Site, launch, text
from moyai.model.commands import Stop
from moyai.model.events import AttemptEnded, AttemptStarted, CapacityReported, Outcome
from moyai.model.exchange import AskKind
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason
from moyai.model.workload import OnPartition

Make = Callable[..., Site]


async def joined(control: FakeControl, sites: Make, name: str = "tokyo") -> Site:
    site = sites(name, control.address).start()
    await control.report(name, CapacityReported)
    return site


async def file(path: Path) -> str:
    async with asyncio.timeout(30):
        while not path.exists() or not path.read_text():
            await asyncio.sleep(0.02)
    return path.read_text()


@pytest.mark.parametrize(
    ("run", "outcome", "code", "found"),
    [
        ("echo hi", Outcome.SUCCEEDED, Code.EXIT, 0),
        ("exit 3", Outcome.FAILED, Code.EXIT, 3),
        ("no-such-command", Outcome.FAILED, Code.COMMAND_NOT_FOUND, 127),
        ("kill -9 $$", Outcome.FAILED, Code.SIGNAL, 9),
    ],
)
async def test_a_job_runs_and_its_end_is_told(sites: Make, run: str, outcome: Outcome, code: Code, found: int) -> None:
    async with FakeControl() as control:
        await joined(control, sites)
        await control.command("tokyo", launch("a.1"), text(run))
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.outcome, ended.reason.code, ended.reason.found) == (outcome, code, found)
        assert ended.energy_modelled
        assert [b.nodes for b in control.site("tokyo").bodies(AttemptStarted)] == [("cpu-0",)]


async def test_a_job_sees_its_environment_and_no_more(sites: Make) -> None:
    os.environ["MOYAI_SECRET_OF_THE_AGENT"] = "x"
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command(
            "tokyo",
            launch("job-1.2", nodes=2),
            text("env", setup="export FROM_SETUP=1", env=(("MINE", "ü"), ("MOYAI_JOB", "forged"))),
        )
        await control.report("tokyo", AttemptEnded)
        env = dict(line.split("=", 1) for line in site.output("job-1.2", 1).splitlines())
        del os.environ["MOYAI_SECRET_OF_THE_AGENT"]
        assert env["MOYAI_JOB"] == "job-1"
        assert (
            env["MOYAI_ATTEMPT"],
            env["MOYAI_SITE"],
            env["MOYAI_RANK"],
            env["MOYAI_NODES"],
            env["MOYAI_RESTORED"],
        ) == ("job-1.2", "tokyo", "1", "2", "0")
        assert (env["MINE"], env["FROM_SETUP"]) == ("ü", "1")
        assert "MOYAI_SECRET_OF_THE_AGENT" not in env


async def test_a_setup_that_fails_is_the_end(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command("tokyo", launch("a.1"), text("echo ran", setup="false\ntrue"))
        assert (await control.report("tokyo", AttemptEnded)).reason.found == 1
        assert site.output("a.1") == ""


async def test_the_agent_killed_in_mid_job_and_started_again_tells_the_end_once(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command(
            "tokyo", launch("a.1"), text("echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done; exit 5")
        )
        await control.report("tokyo", AttemptStarted)
        work = site.dir / "attempts/a.1/work"
        pid = int(await file(work / "pid"))
        site.kill()
        assert alive(pid)
        site.start()
        await control.until(lambda: len(control.site("tokyo").hellos) == 2)
        assert control.site("tokyo").hellos[1].attempts == ("a.1",)
        assert control.site("tokyo").hellos[1].incarnation == control.site("tokyo").hellos[0].incarnation
        (work / "go").touch()
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.reason.code, ended.reason.found) == (Code.EXIT, 5)
        await asyncio.sleep(0.3)
        assert len(control.site("tokyo").bodies(AttemptEnded)) == len(control.site("tokyo").bodies(AttemptStarted)) == 1


async def test_an_end_while_no_agent_is_there_is_told_by_the_next(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command("tokyo", launch("a.1"), text("while [ ! -e go ]; do sleep 0.05; done; echo over; exit 5"))
        await control.report("tokyo", AttemptStarted)
        site.kill()
        (site.dir / "attempts/a.1/work/go").touch()
        await file(site.dir / "attempts/a.1/exit.json")
        site.start()
        assert (await control.report("tokyo", AttemptEnded)).reason.found == 5
        headers, data = await control.ask("tokyo", AskKind.OUTPUT, "a.1")
        assert (data, headers["x-moyai-eof"]) == (b"over\n", "1")


async def test_a_killed_supervisor_is_noticed_what_it_ran_is_dead_and_a_new_one_works(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command("tokyo", launch("a.1"), text("setsid sleep 1000 & echo $! > pid; wait"))
        await control.report("tokyo", AttemptStarted)
        pid = int(await file(site.dir / "attempts/a.1/work/pid"))
        site.kill_supervisor()
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.outcome, ended.reason.code) == (Outcome.FAILED, Code.SUPERVISOR_LOST)
        assert not alive(pid)
        await control.command("tokyo", launch("b.1"), text("exit 3"))
        assert (await control.report("tokyo", AttemptEnded, "b.1")).reason.found == 3


async def test_agent_and_supervisor_both_killed_are_noticed_too(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command("tokyo", launch("a.1"), text("setsid sleep 1000 & echo $! > pid; wait"))
        await control.report("tokyo", AttemptStarted)
        pid = int(await file(site.dir / "attempts/a.1/work/pid"))
        site.kill()
        site.kill_supervisor()
        site.start()
        assert (await control.report("tokyo", AttemptEnded)).reason.code is Code.SUPERVISOR_LOST
        assert not alive(pid)


async def test_a_stop_ends_it_for_its_reason(sites: Make) -> None:
    async with FakeControl() as control:
        await joined(control, sites)
        await control.command("tokyo", launch("a.1"), text("sleep 1000"))
        await control.report("tokyo", AttemptStarted)
        await control.command("tokyo", Stop(AttemptId("a.1"), Reason(Code.PREEMPTED, subject="b")))
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.outcome, ended.reason) == (Outcome.STOPPED, Reason(Code.PREEMPTED, subject="b"))


async def test_a_launch_and_its_stop_in_one_poll_end_once(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        async with control.changed:
            pass
        await control.command("tokyo", launch("a.1"), text("sleep 1000; touch ran"))
        await control.command("tokyo", Stop(AttemptId("a.1"), Reason(Code.CANCELLED, subject="me")))
        ended = await control.report("tokyo", AttemptEnded)
        assert ended.outcome is Outcome.STOPPED
        await control.command("tokyo", launch("b.1"), text("true"))
        await control.report("tokyo", AttemptEnded, "b.1")
        assert len(control.site("tokyo").bodies(AttemptEnded)) == 2
        assert not (site.dir / "attempts/a.1/work/ran").exists()


async def test_a_gang_and_a_time_limit(sites: Make) -> None:
    async with FakeControl() as control:
        await joined(control, sites)
        await control.command("tokyo", launch("g.1", nodes=3), text('[ "$MOYAI_RANK" != 2 ] && sleep 1000; exit 9'))
        ended = await control.report("tokyo", AttemptEnded, "g.1")
        assert (ended.outcome, ended.reason) == (Outcome.FAILED, Reason(Code.EXIT, subject="rank 2", found=9))
        await control.command("tokyo", launch("l.1", limit_us=300_000), text("sleep 1000"))
        ended = await control.report("tokyo", AttemptEnded, "l.1")
        assert (ended.outcome, ended.reason.code, ended.reason.wanted) == (Outcome.STOPPED, Code.TIME_LIMIT, 300_000)


async def test_without_control_the_lease_stops_one_and_the_other_waits(sites: Make) -> None:
    async with FakeControl(lease_us=2_000_000) as control:
        await joined(control, sites)
        await control.command("tokyo", launch("s.1"), text("sleep 1000"))
        await control.command("tokyo", launch("w.1", on_partition=OnPartition.WAIT), text("sleep 5; exit 4"))
        await control.until(lambda: len(control.site("tokyo").bodies(AttemptStarted)) == 2)
        control.cut = True
        await asyncio.sleep(4)
        control.cut = False
        ended = await control.report("tokyo", AttemptEnded, "s.1")
        assert (ended.outcome, ended.reason.code) == (Outcome.STOPPED, Code.LEASE_EXPIRED)
        ended = await control.report("tokyo", AttemptEnded, "w.1")
        assert (ended.reason.code, ended.reason.found) == (Code.EXIT, 4)


async def test_a_cut_shorter_than_the_lease_stops_nothing(sites: Make) -> None:
    async with FakeControl(lease_us=6_000_000) as control:
        await joined(control, sites)
        await control.command("tokyo", launch("s.1"), text("sleep 4; exit 4"))
        await control.report("tokyo", AttemptStarted)
        control.cut = True
        await asyncio.sleep(1.5)
        control.cut = False
        assert (await control.report("tokyo", AttemptEnded)).reason.found == 4


async def test_a_term_that_is_over_is_joined_again_and_unknown_attempts_are_stopped(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command("tokyo", launch("a.1"), text("echo $$ > pid; exec sleep 1000"))
        await control.report("tokyo", AttemptStarted)
        pid = int(await file(site.dir / "attempts/a.1/work/pid"))
        control.site("tokyo").unknown = (AttemptId("a.1"),)
        control.site("tokyo").over = True
        await control.ring()
        ended = await control.report("tokyo", AttemptEnded)
        assert (ended.outcome, ended.reason.code) == (Outcome.STOPPED, Code.SITE_LOST)
        assert not alive(pid)
        assert len(control.site("tokyo").hellos) == 2


async def test_an_older_control_plane_is_not_obeyed(sites: Make) -> None:
    async with FakeControl(epoch=5) as control:
        site = await joined(control, sites)
        control.epoch = 4
        await control.command("tokyo", launch("a.1"), text("touch ran"))
        await asyncio.sleep(1)
        assert not (site.dir / "attempts/a.1").exists()
        control.epoch = 6
        await control.ring()
        await control.report("tokyo", AttemptEnded)


async def test_a_start_that_waits_for_its_claim_survives_the_agent_and_runs_once(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        site.kill()
        control.cut = True
        site.start()
        await control.command("tokyo", launch("a.1"), text("echo ran"))
        await asyncio.sleep(1)
        control.cut = False
        await control.report("tokyo", AttemptEnded)
        site.kill()
        site.start()
        await control.until(lambda: len(control.site("tokyo").hellos) == 3)
        await control.command("tokyo", launch("b.1"), text("true"))
        await control.report("tokyo", AttemptEnded, "b.1")
        assert site.output("a.1") == "ran\n"
        assert len(control.site("tokyo").bodies(AttemptEnded)) == 2


async def test_output_is_followed_while_it_is_written(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command(
            "tokyo", launch("a.1"), text("echo one; while [ ! -e go ]; do sleep 0.05; done; echo two")
        )
        await control.report("tokyo", AttemptStarted)
        headers, data = await control.ask("tokyo", AskKind.OUTPUT, "a.1", wait_us=5_000_000)
        assert (data, headers["x-moyai-eof"]) == (b"one\n", "0")
        waiting = asyncio.create_task(control.ask("tokyo", AskKind.OUTPUT, "a.1", offset=4, wait_us=20_000_000))
        await asyncio.sleep(0.3)
        (site.dir / "attempts/a.1/work/go").touch()
        headers, data = await waiting
        assert data == b"two\n"
        headers, data = await control.ask("tokyo", AskKind.OUTPUT, "a.1", offset=8, wait_us=20_000_000)
        assert (data, headers["x-moyai-eof"], headers["x-moyai-total"]) == (b"", "1", "8")
        headers, _ = await control.ask("tokyo", AskKind.OUTPUT, "nosuch.1")
        assert headers["x-moyai-status"] == "gone"
        headers, _ = await control.ask("tokyo", AskKind.OUTPUT, "../../etc")
        assert headers["x-moyai-status"] == "error"


async def test_sigterm_leaves_running_work_running(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command("tokyo", launch("a.1"), text("echo $$ > pid; exec sleep 1000"))
        await control.report("tokyo", AttemptStarted)
        pid = int(await file(site.dir / "attempts/a.1/work/pid"))
        assert site.process is not None
        site.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(site.process.wait, 20) == 0
        assert alive(pid)
        assert not list((site.dir / "attempts/a.1").glob("exit.json"))


async def test_a_second_agent_in_the_same_directory_refuses(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        command = [sys.executable, "-m", "moyai.agent", "--dir", str(site.dir), "--control", control.address]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "has an agent already: process" in done.stderr


async def test_two_agents_started_at_once_leave_one(sites: Make) -> None:
    async with FakeControl() as control:
        first, second = sites("tokyo", control.address), sites("tokyo", control.address)
        first.start()
        second.start()
        await control.report("tokyo", CapacityReported)
        codes = await control.until(
            lambda: [s.process.poll() for s in (first, second) if s.process and s.process.poll() is not None]
        )
        assert codes == [2]


@pytest.mark.parametrize("broken", ["{", '{"name": "tokyo"}'])
def test_a_broken_profile_is_said(tmp_path: Path, broken: str) -> None:
    profile = tmp_path / "p.json"
    profile.write_text(broken)
    command = [sys.executable, "-m", "moyai.agent", "--dir", str(tmp_path / "d"), "--control", "unix:/nowhere"]
    done = subprocess.run([*command, "--profile", str(profile)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is no site profile" in done.stderr


async def test_work_and_checkpoints_are_tidied_and_output_stays(sites: Make) -> None:
    async with FakeControl() as control:
        site = await joined(control, sites)
        await control.command("tokyo", launch("a.1"), text("echo x > big; echo kept"))
        await control.report("tokyo", AttemptEnded)
        await control.until(lambda: not (site.dir / "attempts/a.1/work").exists())
        assert site.output("a.1") == "kept\n"


async def test_control_that_comes_late_is_found(sites: Make) -> None:
    control = FakeControl()
    site = sites("tokyo", control.address).start()
    async with asyncio.timeout(30):
        while not (site.dir / "agent.log").exists() or "can't be reached" not in site.log():
            await asyncio.sleep(0.05)
    async with control:
        await control.report("tokyo", CapacityReported)


async def test_once_lost_it_leaves_if_told_so(sites: Make) -> None:
    async with FakeControl(lease_us=1_000_000) as control:
        site = sites("tokyo", control.address).start("--once-lost", "exit")
        await control.report("tokyo", CapacityReported)
        control.cut = True
        assert site.process is not None
        assert await asyncio.to_thread(site.process.wait, 40) == 0
