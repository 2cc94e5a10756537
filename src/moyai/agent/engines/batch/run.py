"""One attempt in the batch engine: what is known of it from its guards and from the scheduler, and what follows."""

import asyncio
from dataclasses import dataclass, field

from moyai.agent.core.effects import EngineEnd
from moyai.agent.engines.batch.base import Job
from moyai.agent.engines.batch.ends import RankSeen, end_by_guards, end_by_job, joined, settled, since_us
from moyai.agent.messages import Began, Ended, Over, Stop
from moyai.model.commands import Launch
from moyai.model.ids import AttemptId, NodeName
from moyai.model.units import Instant

WORD_US = 3_000_000
"""So long after a job's end its guards' records may take to appear on a shared file system."""
JOIN_US = 10_000_000
"""So long the scheduler's word on an end is waited for once all guards gave theirs."""


@dataclass(frozen=True, slots=True)
class Begun:
    """All ranks run: since `since_us` of this machine's boot clock."""

    at: Instant
    since_us: int
    nodes: tuple[NodeName, ...]


@dataclass(slots=True)
class Run:
    """What the engine knows of an attempt."""

    launch: Launch
    nonce: str = ""  # of the start that has the claim
    task: asyncio.Task[None] | None = None  # its way to the scheduler
    submitted_us: int = 0  # 0 before it was handed over
    job: Job | None = None
    ranks: dict[int, RankSeen] = field(default_factory=dict[int, RankSeen])
    stop: Stop | None = None
    stopped: bool = False  # the agent wanted its end, and not because a rank of it failed
    missing_us: int = 0  # since when the scheduler doesn't know it
    silent_us: int = 0  # since when the scheduler is down and none of its guards is heard
    lost: bool = False  # that was said
    all_over_us: int = 0
    job_over_us: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)  # its end was told

    @property
    def attempt(self) -> AttemptId:
        """Its id."""
        return self.launch.attempt

    @property
    def all_over(self) -> bool:
        """Whether the guards of all ranks told their end."""
        seen = (self.ranks.get(rank) for rank in range(len(self.launch.nodes)))
        return all(rank is not None and rank.over is not None for rank in seen)

    @property
    def since_us(self) -> int:
        """When its first rank began, by this machine's boot clock; 0 where none is known to have."""
        return min((seen.since_us for seen in self.ranks.values() if seen.since_us), default=0)

    def see(self, word: Began | Over, *, heard: bool) -> bool:
        """Take what a guard said, or left in its record. Whether that is news."""
        rank = word.rank if isinstance(word, Began) else word.end.rank
        if word.nonce != self.nonce or not self.nonce or not 0 <= rank < len(self.launch.nodes):
            return False
        seen = self.ranks.setdefault(rank, RankSeen())
        if isinstance(word, Over):
            news = seen.over is None
            seen.over = seen.over or word
            return news
        news = seen.began is None
        if news:
            seen.began, seen.since_us = word, since_us(word, heard=heard)
        return news

    def begun(self) -> Begun | None:
        """Its start, once all ranks run."""
        ranks = [self.ranks.get(rank) for rank in range(len(self.launch.nodes))]
        words = [seen.began for seen in ranks if seen is not None and seen.began is not None]
        if len(words) < len(ranks):
            return None
        at = max(word.began_wall_us for word in words)
        since = max(seen.since_us for seen in ranks if seen is not None)
        return Begun(Instant(at), since, tuple(NodeName(word.node) for word in words))

    def guards_end(self, now_us: int, *, job_over: bool) -> EngineEnd | None:
        """The end, where all guards told theirs and nothing more is to be waited for."""
        self.all_over_us = self.all_over_us or now_us
        enough = job_over or self.missing_us or now_us - self.all_over_us > JOIN_US
        if not enough and not settled(self.ranks, stopped=self.stopped):
            return None
        return self._by_guards(self.job if job_over else None)

    def _by_guards(self, job: Job | None) -> EngineEnd:
        return end_by_guards(self.launch, self.ranks, job, stopped=self.stopped, asked=self.stop is not None)

    def job_end(self, job: Job, said: str, title: str) -> EngineEnd:
        """The end of a job that is over, where not all guards left a word. `said`: its script's last words."""
        words = [seen for seen in self.ranks.values() if seen.over is not None]
        if words and joined(self.ranks, stopped=self.stopped).first != -1:
            return self._by_guards(job)  # one failed, and the others went with it
        return end_by_job(self.launch, job, self.nonce, said=said, title=title)

    def record(self) -> Ended | None:
        """The ends of its ranks as one; None where no guard told any."""
        if all(seen.over is None for seen in self.ranks.values()):
            return None
        return joined(self.ranks, stopped=self.stopped)
