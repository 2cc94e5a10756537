"""Planning beside the server: one plan at a time in a thread, soon after something changed, and only then.

What a plan says is advice: control checks each part again when it comes back.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from moyai.model.units import Instant
from moyai.plan.types import Plan, Policy, QueuedJob, Snapshot
from moyai.server import clock
from moyai.server.writer import NotStored, Writer

SOON_S = 0.002
"""Pause before a plan when it was quiet: what comes together is planned together."""
REST_SHARE = 0.5
"""Pause after a plan as a share of the time that it took, so that planning never takes the whole machine."""
LONGEST_REST_S = 2.0
FAILED_REST_S = 5.0

PlanFunction = Callable[[Snapshot, tuple[QueuedJob, ...], Instant, Policy], Plan]
T = TypeVar("T")

_LOG = logging.getLogger("moyai.server")


def real_plan() -> PlanFunction:
    """The planner. It imports NumPy and the solver when it first needs them."""
    from moyai.plan.place import LivePlanner

    return LivePlanner()


@dataclass(slots=True)
class PlanFigures:
    """Of the plans made so far."""

    plans: int = 0
    took_us: int = 0  # the newest
    gap_milli: int = 0  # the newest
    problem: str = ""


class Planner:
    """Plans when control needs it."""

    def __init__(self, writer: Writer, policy: Policy, load: Callable[[], PlanFunction] = real_plan) -> None:
        self.figures = PlanFigures()
        self.on_plan: list[Callable[[float], None]] = []  # told how long each plan took, in seconds
        self._writer = writer
        self.policy = policy
        self._load = load
        self._plan: PlanFunction | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="plan")
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[PlanFunction] | None = None

    def start(self) -> None:
        """Begin to plan."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="plan")

    async def stop(self) -> None:
        """Make no further plan. One that is under way in the thread ends by itself, and counts no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._thread.shutdown(wait=False, cancel_futures=True)

    def look(self) -> None:
        """Something may have changed: plan soon, if control says so."""
        if self._writer.control.needs_plan:
            self._wake.set()

    async def warm(self) -> None:
        """Import the planner now, in its thread, so that the first plan need not wait for that."""
        await self._loaded()

    async def plan_once(self, snapshot: Snapshot, queue: tuple[QueuedJob, ...], now: Instant) -> Plan:
        """A plan that nobody acts on, such as a dry run's."""
        function = await self._loaded()
        return await self._in_thread(lambda: function(snapshot, queue, now, self.policy))

    async def _loaded(self) -> PlanFunction:
        if self._plan is None:
            self._plan = await self._in_thread(self._load)
        return self._plan

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(SOON_S)
            self._wake.clear()
            if not self._writer.writing or not self._writer.control.needs_plan:
                continue
            try:
                rest = await self._cycle()
            except NotStored:
                rest = FAILED_REST_S  # what it would have issued is planned again when the log can be written
            except Exception as error:  # noqa: BLE001
                # A planner that fails must not take control with it: jobs wait, what runs goes on, and it is said.
                _LOG.exception("the planner failed")
                self.figures.problem = f"{type(error).__name__}: {error}"
                self._writer.control.needs_plan = True
                self._plan_at(asyncio.get_running_loop().time() + FAILED_REST_S)
                rest = FAILED_REST_S
            await asyncio.sleep(rest)
            self.look()

    async def _cycle(self) -> float:
        """One plan; how long to rest after it, in seconds."""
        control = await self._writer.loaded()
        if not control.indexes.pending:
            control.needs_plan = False
            return 0.0
        loop = asyncio.get_running_loop()
        snapshot, queue = control.snapshot(clock.now())
        begun = loop.time()
        plan = await self.plan_once(snapshot, queue, clock.now())
        took = loop.time() - begun
        await self._writer.do(lambda c: (c.planned(plan, clock.now()), None))
        self.figures.plans += 1
        self.figures.took_us = round(took * 1e6)
        self.figures.gap_milli = round(1_000 * plan.gap)
        self.figures.problem = ""
        for told in self.on_plan:
            told(took)
        self._plan_at_reservations(plan)
        return min(took * REST_SHARE, LONGEST_REST_S)

    def _plan_at_reservations(self, plan: Plan) -> None:
        """A placement that is to be issued later needs a plan then, and so may a job that waits for a better time."""
        if plan.due is not None:
            self._plan_at(asyncio.get_running_loop().time() + max(0.05, (plan.due - clock.now()) / 1e6))

    def _plan_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._due)

    def _due(self) -> None:
        self._writer.control.needs_plan = True
        self._wake.set()
