"""Machines fall out of capacity after a while, and come back; what runs keeps its number."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from agent.site import profile
from engines.ssh.machines import TestMachine
from engines.ssh.site import SshSite
from moyai.agent.engines.ssh.engine import SshEngine
from moyai.agent.places import Places
from moyai.model.site import Flavor

Machines = Callable[[int], list[TestMachine]]


class Desk:
    """Hears about capacity alone."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.failure: BaseException | None = None

    def capacity_changed(self, flavors: tuple[Flavor, ...]) -> None:
        """Notes what changed."""
        if self.counts[-1:] != [flavors[0].count]:
            self.counts.append(flavors[0].count)

    def lease_left_us(self, attempts: Sequence[str]) -> tuple[dict[str, int], int]:
        """No lease yet."""
        return {}, 0

    def fail(self, error: BaseException) -> None:
        """Notes what broke."""
        self.failure = error


async def test_a_machine_that_stays_away_is_no_capacity(
    machines: Machines, site: Callable[..., SshSite], tmp_path: Path
) -> None:
    made = machines(2)
    one = site("unix:/nowhere", made)
    base = profile("tokyo")
    big = replace(base, engine="ssh", flavors=(replace(base.flavors[0], count=2),))
    engine = SshEngine(big, one.settings, Places(one.dir), lost_after_s=1.0)
    desk = Desk()

    async def until(counts: list[int]) -> None:
        async with asyncio.timeout(40):
            while desk.counts != counts:
                assert desk.failure is None
                await asyncio.sleep(0.05)

    await engine.open()
    try:
        assert engine.capacity()[0].count == 2
        assert engine.capabilities[0] == "guard"
        engine.begin(desk, ())  # type: ignore[arg-type]
        await until([2])
        made[0].power_off()
        await until([2, 1])
        made[0].start()
        await until([2, 1, 2])
    finally:
        await engine.close()
    assert desk.failure is None
