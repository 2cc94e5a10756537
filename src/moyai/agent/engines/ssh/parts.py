"""The parts of an attempt on its machines, and the one end they make together. Pure.

A part is over when its supervisor has said so, or is lost when nothing of it can be alive any more. As soon as one has
failed or is lost the others are stopped, and the attempt is over when all are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moyai.agent.core.effects import EngineEnd
from moyai.agent.engines.host.ends import engine_end, supervisor_lost
from moyai.agent.messages import Ended, RankEnd, Started

_WORST = ("limit", "exit", "lease", "launch", "refused", "shutdown", "stop")
"""Causes of an end, the most telling first: where one part fails, the rest is stopped, or fails for want of it."""


@dataclass(slots=True)
class Parts:
    """What is known of each machine's part. `ranks`: which ranks run there."""

    ranks: Mapping[str, Sequence[int]]
    claims: set[str] = field(default_factory=set[str])  # machines whose supervisor has asked for its start
    started: dict[str, Started] = field(default_factory=dict[str, Started])
    ended: dict[str, Ended] = field(default_factory=dict[str, Ended])
    lost: dict[str, str] = field(default_factory=dict[str, str])  # machine → how its part was lost

    @property
    def open(self) -> list[str]:
        """Machines on which something of it may run."""
        return [name for name in self.ranks if name not in self.ended and name not in self.lost]

    @property
    def over(self) -> bool:
        """Whether nothing of it runs any more."""
        return not self.open

    @property
    def failed(self) -> bool:
        """Whether the attempt can't succeed any more."""
        return bool(self.lost) or any(bad(ended) for ended in self.ended.values())


def bad(ended: Ended) -> bool:
    """Whether a part ended in any way but well."""
    return ended.cause != "exit" or ended.first >= 0


def combined(attempt: str, nonce: str, parts: Parts) -> Ended | None:
    """The record of the whole attempt; None where a part was lost, so that nobody knows all of it."""
    ends = [parts.ended[name] for name in parts.ranks if name in parts.ended]
    if parts.lost or not ends:
        return None
    failing = [end for end in ends if bad(end)]
    first = min(failing, key=lambda e: (_WORST.index(e.cause), e.ended_wall_us)) if failing else ends[0]
    by_rank: list[RankEnd] = sorted((rank for end in ends for rank in end.ranks), key=lambda rank: rank.rank)
    ran = [end for end in ends if end.started_us]
    return Ended(
        attempt,
        nonce,
        first.cause,
        first.detail,
        first.first,
        min((end.started_us for end in ran), default=0),
        min((end.started_wall_us for end in ran), default=0),
        max(end.ended_wall_us for end in ends),
        max(end.run_us for end in ends),
        by_rank,
    )


def verdict(attempt: str, nonce: str, parts: Parts, limit_us: int, memory_bytes: int) -> EngineEnd:
    """How the attempt ended. `limit_us`, `memory_bytes`: what it was allowed."""
    whole = combined(attempt, nonce, parts)
    if whole is not None:
        return engine_end(whole, limit_us, memory_bytes)
    detail = "; ".join(parts.lost[name] for name in parts.ranks if name in parts.lost)
    return supervisor_lost(nonce, detail)
