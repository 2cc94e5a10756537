"""Machines, agent and network fail at random while jobs run: every job ends exactly once, and nothing runs twice."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.fake_control import FakeControl
from agent.site import launch, text
from engines.proxy import Proxy
from engines.ssh.machines import TestMachine
from engines.ssh.site import SshSite, host, joined
from moyai.model.events import AttemptEnded, Outcome
from moyai.model.reasons import Code

JOBS = 16
FAULTS = 6
SAID = {Code.EXIT, Code.SUPERVISOR_LOST, Code.LEASE_EXPIRED, Code.LAUNCH_FAILED, Code.START_REFUSED}


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_job_ends_once_whatever_fails(
    machines: Callable[[int], list[TestMachine]], site: Callable[..., SshSite], key: Path, seed: int
) -> None:
    chance = random.Random(seed)
    async with FakeControl(lease_us=6_000_000) as control:
        made = machines(2)
        async with Proxy(made[0].port) as first, Proxy(made[1].port) as second:
            proxies = (first, second)
            hosts = tuple(host(m, key, port=p.port) for m, p in zip(made, proxies, strict=True))
            one = site(control.address, made, hosts=hosts)
            one.known.write_text("".join(m.known(p.port) for m, p in zip(made, proxies, strict=True)))
            await joined(control, one, 2)

            async def fault() -> None:
                number = chance.randrange(2)
                match chance.choice(["agent", "cut", "hole", "power"]):
                    case "agent":
                        one.kill()
                        one.start()
                    case "cut":
                        proxies[number].cut()
                    case "hole":
                        proxies[number].hole()
                        await asyncio.sleep(chance.uniform(0.2, 2.0))
                        proxies[number].heal()
                    case _:
                        await asyncio.to_thread(made[number].power_off)
                        await asyncio.to_thread(made[number].start)

            for number in range(JOBS):
                run = f"echo ran >> $HOME/ran-{number}; sleep {chance.uniform(0, 1.5):.2f}; exit {number % 3}"
                await control.command("tokyo", launch(f"j{number}.1", nodes=1 + number % 2), text(run))
                if number % (JOBS // FAULTS) == 0:
                    await asyncio.sleep(chance.uniform(0.1, 0.8))
                    await fault()
            await control.until(lambda: len(control.site("tokyo").bodies(AttemptEnded)) >= JOBS, 90)
            await asyncio.sleep(0.5)
            ends = control.site("tokyo").bodies(AttemptEnded)
            assert Counter(end.attempt for end in ends) == Counter(f"j{number}.1" for number in range(JOBS))
            for end in ends:
                number = int(end.attempt[1:-2])
                assert end.reason.code in SAID, end
                if end.reason.code is Code.EXIT and end.reason.found < 126:
                    assert end.reason.found == number % 3
                    assert (end.outcome is Outcome.SUCCEEDED) == (number % 3 == 0)
                for machine in made:  # one start of each rank at most
                    ran = machine.home / f"ran-{number}"
                    assert not ran.exists() or ran.read_text() == "ran\n"
