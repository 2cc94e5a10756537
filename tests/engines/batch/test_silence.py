"""A scheduler that stays down, and guards of which nothing is heard."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.site import launch, profile
from moyai.agent.engines.batch import engine as batch
from moyai.agent.engines.batch.base import Job, SchedulerDown
from moyai.agent.engines.batch.engine import BatchEngine
from moyai.agent.places import Places
from moyai.model.engine import GuardSettings
from moyai.model.ids import AttemptId
from moyai.model.reasons import Code, Reason
from moyai.model.site import Flavor


class Away:
    """A scheduler that never answers."""

    title = "Nobody"
    restless = False

    async def open(self) -> None:
        raise SchedulerDown("away")

    async def look(self, wanted: Sequence[AttemptId]) -> Sequence[Job] | None:
        raise SchedulerDown("away")

    async def capacity(self) -> tuple[Flavor, ...]:
        raise SchedulerDown("away")

    async def close(self) -> None:
        return


class Guards:
    """Says how many guards are on a line."""

    def __init__(self, heard: int) -> None:
        self.heard = heard

    def count(self, attempt: AttemptId) -> int:
        return self.heard

    def tell(self, message: object) -> int:
        return self.heard


class Desk:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.lost: list[tuple[AttemptId, Reason | None]] = []

    def forgotten(self, attempt: AttemptId, reason: Reason | None = None) -> None:
        self.lost.append((attempt, reason))

    def fail(self, error: BaseException) -> None:
        raise error


@pytest.mark.parametrize("heard", [0, 1])
async def test_only_what_is_not_heard_either_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: int
) -> None:
    monkeypatch.setattr(batch, "SILENT_US", 0)
    site, desk = profile("tokyo"), Desk()
    engine = BatchEngine(site, Places(tmp_path), Away(), GuardSettings(), 10_000)
    await engine.open()
    engine.meet(Guards(heard))
    engine.begin(desk, [AttemptId("a.1"), AttemptId("b.1")])
    engine.observe(launch("a.1"), "nonce")
    await asyncio.sleep(0.3)
    await engine.close()
    if heard:
        assert desk.lost == []
    else:
        assert {attempt for attempt, _ in desk.lost} == {"a.1"}
        assert desk.lost[0][1] == Reason(Code.ENGINE_FORGOT, detail="Nobody is down, and none of its guards is heard")
