"""How an attempt under another scheduler ended: what its guards say, joined with what the scheduler says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from moyai.agent.clocks import boot_id, boot_us, wall_us
from moyai.agent.core.effects import EngineEnd
from moyai.agent.engines.batch.base import Job
from moyai.agent.engines.host.ends import engine_end
from moyai.agent.guard import CANNOT_RUN, LEASE_OVER, REFUSED
from moyai.agent.messages import Began, Ended, Over
from moyai.model.commands import Launch
from moyai.model.events import Outcome
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant

NOT_EXECUTABLE = 126
SCHEDULER_STOPS = frozenset({Code.TIME_LIMIT, Code.PREEMPTED, Code.CANCELLED})
"""Ends that a scheduler brought about where the attempt did nothing wrong itself."""


@dataclass(slots=True)
class RankSeen:
    """What is known of one rank. `since_us`: when it began, by this machine's boot clock."""

    began: Began | None = None
    since_us: int = 0
    over: Over | None = None


def since_us(began: Began, *, heard: bool) -> int:
    """When a rank began, by this machine's boot clock. `heard`: said just now, not read from its record."""
    if began.boot and began.boot == boot_id():
        return began.began_us
    ago_us = began.ago_us if heard else wall_us() - began.began_wall_us
    return max(1, boot_us() - max(0, ago_us))


def joined(ranks: Mapping[int, RankSeen], *, stopped: bool) -> Ended:
    """The ends of all ranks as one. `stopped`: the agent wanted its end. At least one rank is over."""
    overs = [seen.over for _, seen in sorted(ranks.items()) if seen.over is not None]
    begun = [seen for seen in ranks.values() if seen.began is not None]
    cause, first, detail = _cause(overs, stopped=stopped)
    return Ended(
        overs[0].attempt,
        overs[0].nonce,
        cause,
        detail,
        first,
        min((seen.since_us for seen in begun), default=0),
        min((seen.began.began_wall_us for seen in begun if seen.began is not None), default=0),
        max(over.ended_wall_us for over in overs),
        max(over.run_us for over in overs),
        [over.end for over in overs],
    )


def _cause(overs: Iterable[Over], *, stopped: bool) -> tuple[str, int, str]:
    """The cause of the end, the rank that failed first (−1 for none), and what there is to say."""
    by_cause: dict[str, list[Over]] = {}
    for over in overs:
        cause = over.cause
        if cause == "exit" and stopped and over.signalled:
            cause = "stop"
        elif cause == "exit" and over.end.status == 0:
            cause = "well"
        by_cause.setdefault(cause, []).append(over)
    for cause in ("launch", "exit"):
        if failed := by_cause.get(cause):
            worst = min(failed, key=lambda over: (over.ended_wall_us, over.end.rank))
            return cause, worst.end.rank, worst.detail
    for cause in ("lease", "limit", "stop"):
        if ended := by_cause.get(cause):
            return cause, -1, ended[0].detail
    return "exit", -1, ""


def settled(ranks: Mapping[int, RankSeen], *, stopped: bool) -> bool:
    """Whether the guards' word is enough: nothing that the scheduler says could change it."""
    ended = joined(ranks, stopped=stopped)
    if ended.cause != "exit":
        return True
    return ended.first == -1 and not any(seen.over is not None and seen.over.signalled for seen in ranks.values())


def end_by_guards(
    launch: Launch, ranks: Mapping[int, RankSeen], job: Job | None, *, stopped: bool, asked: bool
) -> EngineEnd:
    """The end that guards told. `job`: what the scheduler says, where it is known.

    `asked`: the scheduler was perhaps asked to end it, after a rank failed: that it did so is no reason then.
    """
    ended = joined(ranks, stopped=stopped)
    end = engine_end(ended, launch.limit_us, launch.need.memory_bytes)
    if settled(ranks, stopped=stopped):
        return end
    if job is None and ended.first == -1:
        number = max(seen.over.signalled for seen in ranks.values() if seen.over is not None)
        words = f"signal {number} from outside, and its scheduler does not say why"
        return replace(end, outcome=Outcome.STOPPED, reason=Reason(Code.PREEMPTED, detail=words))
    if job is None or job.reason is None:
        return end
    if job.reason.code is end.reason.code or (asked and job.reason.code is Code.CANCELLED):
        return end  # with its figures
    return replace(end, outcome=_outcome(job.reason), reason=job.reason)


def end_by_job(launch: Launch, job: Job, nonce: str, *, said: str, title: str) -> EngineEnd:
    """The end of an attempt of which guards left no word. `said`: the last words of its script. `nonce`: "" where no
    start of it was granted: nothing of it ran."""
    outcome, reason = _verdict(job, nonce, said, title)
    started = Instant(max(0, wall_us() - job.run_us)) if nonce else Instant(0)
    ran = job.run_us if nonce else 0
    return EngineEnd(outcome, reason, ran, job.cpu_us if nonce else 0, started_at=started, nonce=nonce)


def _verdict(job: Job, nonce: str, said: str, title: str) -> tuple[Outcome, Reason]:
    if job.reason is not None:
        return _outcome(job.reason), job.reason
    told = f"{title} says {job.state}" + (f": {said}" if said else "")
    code = job.exit_code
    if code == REFUSED:
        return Outcome.FAILED, Reason(Code.START_REFUSED, detail=said or told)
    if not nonce:
        return Outcome.FAILED, Reason(Code.LAUNCH_FAILED, detail=told)
    if code == LEASE_OVER:
        return Outcome.STOPPED, Reason(Code.LEASE_EXPIRED, detail=told)
    if code is None:
        return Outcome.FAILED, Reason(Code.SUPERVISOR_LOST, detail=told)
    if code == 0:
        return Outcome.SUCCEEDED, Reason(Code.EXIT)
    if code in (CANNOT_RUN, NOT_EXECUTABLE):
        return Outcome.FAILED, Reason(Code.COMMAND_NOT_FOUND, found=code)
    if code > 128:
        return Outcome.FAILED, Reason(Code.SIGNAL, found=code - 128)
    return Outcome.FAILED, Reason(Code.EXIT, found=code)


def _outcome(reason: Reason) -> Outcome:
    return Outcome.STOPPED if reason.code in SCHEDULER_STOPS else Outcome.FAILED
