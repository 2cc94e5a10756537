"""How an attempt on a host ended, in our words. The one table from the supervisor's record to outcome and reason."""

import os

from moyai.agent.core.effects import EngineEnd
from moyai.agent.messages import Ended, RankEnd
from moyai.model.events import Outcome
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant

COMMAND_NOT_FOUND = 127


def engine_end(ended: Ended, limit_us: int = 0, memory_bytes: int = 0) -> EngineEnd:
    """The end that a record tells. `limit_us`, `memory_bytes`: what the attempt was allowed."""
    outcome, reason = _verdict(ended, limit_us, memory_bytes)
    return EngineEnd(
        outcome,
        reason,
        run_us=ended.run_us,
        cpu_us=sum(rank.cpu_us for rank in ended.ranks),
        output_bytes=sum(rank.output_bytes for rank in ended.ranks),
        started_at=Instant(ended.started_wall_us),
        nonce=ended.nonce,
    )


def supervisor_lost(nonce: str, detail: str) -> EngineEnd:
    """The end of an attempt whose supervisor died and left no record; what was alive of it has been killed."""
    return EngineEnd(Outcome.FAILED, Reason(Code.SUPERVISOR_LOST, detail=detail), nonce=nonce)


def _verdict(ended: Ended, limit_us: int, memory_bytes: int) -> tuple[Outcome, Reason]:
    match ended.cause:
        case "refused":
            return Outcome.FAILED, Reason(Code.START_REFUSED, detail=ended.detail)
        case "launch":
            return Outcome.FAILED, Reason(Code.LAUNCH_FAILED, detail=ended.detail)
        case "lease":
            return Outcome.STOPPED, Reason(Code.LEASE_EXPIRED, detail=ended.detail)
        case "limit":
            return Outcome.STOPPED, Reason(Code.TIME_LIMIT, detail=ended.detail, wanted=limit_us, found=ended.run_us)
        case "stop":
            return Outcome.STOPPED, Reason(Code.CANCELLED, detail=ended.detail)
        case "shutdown":
            return Outcome.STOPPED, Reason(Code.SUPERVISOR_LOST, detail="the supervisor was told to leave")
        case _:
            pass
    first = next((rank for rank in ended.ranks if rank.rank == ended.first), None)
    if first is None:
        return Outcome.SUCCEEDED, Reason(Code.EXIT, detail=ended.detail)
    return Outcome.FAILED, _failure(first, len(ended.ranks), memory_bytes)


def _failure(rank: RankEnd, ranks: int, memory_bytes: int) -> Reason:
    which = f"rank {rank.rank}" if ranks > 1 else ""
    if rank.out_of_memory:
        return Reason(Code.OUT_OF_MEMORY, subject=which, wanted=memory_bytes, found=rank.peak_bytes)
    if os.WIFSIGNALED(rank.status):
        return Reason(Code.SIGNAL, subject=which, found=os.WTERMSIG(rank.status))
    code = os.waitstatus_to_exitcode(rank.status)
    if code == COMMAND_NOT_FOUND:
        return Reason(Code.COMMAND_NOT_FOUND, subject=which, found=code)
    return Reason(Code.EXIT, subject=which, found=code)
