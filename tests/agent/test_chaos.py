"""Agents and supervisors killed −9 at random while jobs come in: each attempt runs once at most and ends once."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.fake_control import FakeControl
from agent.site import Site, launch, text
from moyai.model.events import AttemptEnded, CapacityReported, Outcome

JOBS = 20


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_attempt_runs_once_at_most_and_ends_once(
    sites: Callable[..., Site], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    async with FakeControl() as control:
        site = sites("tokyo", control.address).start()
        await control.report("tokyo", CapacityReported)

        async def feed() -> None:
            for number in range(JOBS):
                run = f"echo x >> {tmp_path}/ran.{number}.$MOYAI_RANK; sleep 0.{chance.randrange(4)}"
                await control.command("tokyo", launch(f"t{number}.1", nodes=chance.choice((1, 1, 2))), text(run))
                await asyncio.sleep(0.05)

        feeding = asyncio.create_task(feed())
        for turn in range(4):
            await asyncio.sleep(chance.uniform(0.1, 1.2))
            if turn == 2 - seed % 2:
                os.kill(site.supervisor(), 9)
            site.kill()
            site.start()
        await feeding
        await control.until(lambda: len(control.site("tokyo").bodies(AttemptEnded)) >= JOBS)
        ends = control.site("tokyo").bodies(AttemptEnded)
        assert Counter(end.attempt for end in ends) == {f"t{number}.1": 1 for number in range(JOBS)}
        runs = {path.name: path.read_text() for path in tmp_path.glob("ran.*")}
        assert set(runs.values()) <= {"x\n"}
        for end in ends:
            if end.outcome is Outcome.SUCCEEDED:
                assert f"ran.{end.attempt[1:-2]}.0" in runs
