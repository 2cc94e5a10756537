"""What the batch engine and another scheduler ask of each other. A new one is one class that is a `Scheduler`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from moyai.agent.messages import Start
from moyai.model.commands import Launch
from moyai.model.ids import AttemptId
from moyai.model.reasons import Reason
from moyai.model.site import Flavor


class Phase(StrEnum):
    """Where a job stands in the other scheduler."""

    QUEUED = "queued"
    RUNNING = "running"  # given its nodes; whether a rank runs is the guards' to say
    ENDED = "ended"  # nothing of it runs any more, as far as the scheduler knows


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the scheduler tells it. `ours` finds it again; its `number` is for talking about it, and no key."""

    attempt: AttemptId
    number: str
    phase: Phase
    state: str = ""  # in the scheduler's own words
    reason: Reason | None = None  # why the scheduler ended it; None where it ended by itself, or has not ended
    exit_code: int | None = None  # of its script, 128 + n for signal n; None where it isn't known
    suspect: bool = False  # ended, and yet a rank may be alive: its node was lost
    run_us: int = 0  # as the scheduler counts it; 0 where it doesn't say
    cpu_us: int = 0


@dataclass(frozen=True, slots=True)
class Submission:
    """An attempt whose directory is ready. `order` lies in it as `order.json`, where its guards read it."""

    launch: Launch
    order: Start
    place: Path
    guard: tuple[str, ...]  # the words of a guard's command line, but for its rank and its nonce

    def words(self, rank: str, nonce: str) -> list[str]:
        """The command line of one rank. `rank`: its number, or the name of the variable that holds it there.

        `nonce` is drawn anew by whatever starts all ranks, each time it runs, and is the same for all of them.
        """
        return [*self.guard, "--rank", rank, "--nonce", nonce]


class Scheduler(Protocol):
    """A scheduler that takes scripts. An attempt's id is the key of its job there, whatever number that gets."""

    @property
    def title(self) -> str:
        """What people call it, as in "Slurm at http://…"."""
        ...

    @property
    def restless(self) -> bool:
        """Whether the last look saw what changes its capacity: jobs of others came or went."""
        ...

    async def open(self) -> None:
        """Find out what it is. Raises EngineDown where it can't be used as it is set up, SchedulerDown for now."""
        ...

    def impossible(self, launch: Launch) -> str:
        """Why such an attempt can never run there, as far as is known; "" where it can."""
        ...

    async def submit(self, submission: Submission) -> str:
        """Hand it over; returns its number. One that is there already is no error.

        Raises Refused where it will never be taken, SchedulerDown where it may or may not have been.
        """
        ...

    async def look(self, wanted: Sequence[AttemptId]) -> Sequence[Job] | None:
        """Every job of this site's agent that it has, ended ones too.

        `wanted`: attempts that the last listing lacked; of them also what is only remembered.
        None where nothing changed since the last look. Raises SchedulerDown: then nothing is known.
        """
        ...

    async def cancel(self, job: Job) -> None:
        """End it now, queued or running. One that is gone is no error. Raises SchedulerDown."""
        ...

    async def capacity(self) -> tuple[Flavor, ...]:
        """The nodes that it has now, by the flavors of the profile. Raises SchedulerDown."""
        ...

    async def close(self) -> None:
        """Let go of it; what runs goes on."""
        ...


class SchedulerDown(Exception):
    """It can't be reached, or answers what makes no sense, for now; the message says what."""


class Refused(Exception):
    """It will not take this attempt; the message says why."""
