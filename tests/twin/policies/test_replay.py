"""Every policy through a whole replay: production control takes each of its placements."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from moyai.model import events as e
from moyai.model.units import Instant
from moyai.plan.types import Plan, Policy, QueuedJob, Snapshot
from moyai.twin.policies import NAMES, Knowledge, make
from moyai.twin.replay.run import replay
from moyai.twin.replay.setup import Change, Fault, Mishap, Setup
from twin.replay.small import ACME, EAST, GPU, HOUR, SECOND, WEST, Log, dataset, job, setup


def work(count: int) -> Setup:
    """Jobs of one and two nodes, some of parts of a node, with data, deadlines, failures and checkpoints."""
    jobs = [
        job(
            n,
            n * 200 * SECOND,
            HOUR // (1 + n % 4),
            need=GPU if n % 3 else replace(GPU, accelerators=2),
            nodes=1 + (n % 5 == 4),
            failing=int(n % 9 == 3),
            saves_us=HOUR // 3 if n % 2 else 0,
            data=("corpus",) if n % 6 == 1 else (),
            deadline_us=n * 200 * SECOND + 2 * HOUR if n % 2 else 0,
        )
        for n in range(count)
    ]
    made = setup(*jobs)
    faults = (Fault(HOUR, WEST, Mishap.LOST), Fault(3 * HOUR, WEST, Mishap.BACK))
    changes = (Change(HOUR // 2, EAST, e.Signal.PRICE, 90_000_000),)
    return replace(made, datasets=(dataset("corpus", EAST, 10**10),), faults=faults, changes=changes)


class Counted:
    """A planner, and how much it placed."""

    def __init__(self, name: str, knowledge: Knowledge) -> None:
        self._planner = make(name, knowledge)
        self.placed = 0

    def __call__(self, snapshot: Snapshot, queue: Sequence[QueuedJob], now: Instant, policy: Policy, /) -> Plan:
        plan = self._planner(snapshot, queue, now, policy)
        self.placed += sum(p.issue_at <= now for p in plan.placements)
        return plan


@pytest.mark.parametrize("name", [name for name in NAMES if name != "moyai"])
def test_control_takes_every_placement_and_every_job_ends(name) -> None:
    """A site is lost and comes back, prices change, jobs fail: nothing that was placed is turned down as stale."""
    made = work(30)
    knowledge = Knowledge({a.job: a.work.total_us for a in made.arrivals}, {ACME: EAST}, seed=1)
    planner, log = Counted(name, knowledge), Log()
    outcome = replay(made, planner, policy=name, watch=log)
    assert all(row.succeeded for row in outcome.jobs)
    assert len(log.bodies(e.AttemptIssued)) == planner.placed
    if name == "home":
        assert {row.site for row in outcome.jobs} == {EAST}
    again = replay(made, make(name, knowledge), policy=name)
    assert again.head == outcome.head
