"""Gangs over machines that are reached by SSH."""

from collections.abc import Callable
from dataclasses import replace

from agent.fake_control import FakeControl
from agent.site import launch, text
from engines.ssh.machines import TestMachine
from engines.ssh.site import SshSite, joined
from moyai.model.events import AttemptEnded, AttemptStarted, Outcome
from moyai.model.reasons import Code, Reason

Machines = Callable[[int], list[TestMachine]]
MakeSite = Callable[..., SshSite]


async def test_a_gang_runs_over_two_machines_and_fails_as_one(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        one = await joined(control, site(control.address, machines(2)), 2)
        await control.command("tokyo", launch("g.1", nodes=2), text("echo $MOYAI_RANK of $MOYAI_NODES on $HOME"))
        assert (await control.report("tokyo", AttemptEnded, "g.1")).outcome is Outcome.SUCCEEDED
        assert [b.nodes for b in control.site("tokyo").bodies(AttemptStarted)] == [("m0", "m1")]
        said = [one.output("g.1", rank).split() for rank in (0, 1)]
        assert [words[:3] for words in said] == [["0", "of", "2"], ["1", "of", "2"]]
        assert said[0][-1] != said[1][-1]
        await control.command("tokyo", launch("h.1", nodes=2), text('[ "$MOYAI_RANK" = 1 ] && exit 9; sleep 1000'))
        ended = await control.report("tokyo", AttemptEnded, "h.1")
        assert (ended.outcome, ended.reason) == (Outcome.FAILED, Reason(Code.EXIT, subject="rank 1", found=9))


async def test_two_ranks_share_a_machine(machines: Machines, site: MakeSite) -> None:
    async with FakeControl() as control:
        one = await joined(control, site(control.address, machines(1)), 1)
        shared = replace(launch("g.1", nodes=2), nodes=(0, 0))
        await control.command("tokyo", shared, text("echo $MOYAI_RANK"))
        assert (await control.report("tokyo", AttemptEnded)).outcome is Outcome.SUCCEEDED
        assert [one.output("g.1", rank) for rank in (0, 1)] == ["0\n", "1\n"]
