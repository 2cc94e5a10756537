"""What a job printed: ranges of bytes from the site where it ran, by the relay. Never in the log, never kept here."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response

from moyai.control.core import Control
from moyai.control.state import Attempt, Job
from moyai.model.exchange import AskKind
from moyai.model.ids import AttemptId, attempt_id
from moyai.model.lifecycle import ATTEMPT_LIVE, JOB_ENDED
from moyai.server.answers import ApiError
from moyai.server.relay import PIECE_BYTES, Answer, AnswerStatus
from moyai.server.routes_jobs import MAX_ID, job_of
from moyai.server.schema import raw
from moyai.server.shell import Shell

MAX_WAIT_S = 60.0
MAX_OFFSET = 2**53
AGAIN_S = (0.03, 0.06, 0.12, 0.25)
"""Pauses between two looks for output that is not there yet; the last one repeats."""

_HEADERS = {
    "X-Moyai-Attempt": "The attempt whose output this is; empty where there is none yet.",
    "X-Moyai-Offset": "Where these bytes begin.",
    "X-Moyai-Eof": "1 where nothing can follow them.",
    "X-Moyai-Left-Out": "Bytes that the site's bound on output dropped.",
}


def output_routes(shell: Shell) -> APIRouter:
    """The route of output."""
    routes = APIRouter(tags=["jobs"])

    @routes.get("/v1/jobs/{job}/output", response_class=Response, responses=raw("Output.", _HEADERS))
    async def output(
        job: str,
        *,
        attempt: Annotated[str, Query(max_length=MAX_ID, description="Its id or ordinal; the newest if empty.")] = "",
        rank: Annotated[int, Query(ge=0, le=100_000)] = 0,
        offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
        limit: Annotated[int, Query(ge=1, le=PIECE_BYTES)] = 1 << 20,
        wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds, while there is nothing.")] = 0.0,
    ) -> Response:
        """What a rank of an attempt printed, from `offset` on."""
        loop = asyncio.get_running_loop()
        end, tries = loop.time() + wait, 0
        left = wait
        while True:
            shell.grown.clear()
            control = await shell.writer.loaded()
            held = job_of(control, job)
            chosen = choose(control, held, attempt)
            found = None
            if chosen is not None and (chosen.started_at or chosen.state not in ATTEMPT_LIVE):
                wait_us = max(0, round(left * 1_000_000))
                found = await _ask(shell, control, chosen, rank=rank, offset=offset, limit=limit, wait_us=wait_us)
            over = _over(held, chosen)
            if found is not None and (found.data or found.eof):
                return _answer(chosen, found, offset, eof=found.eof)
            left = end - loop.time()
            if over or left <= 0 or shell.stopping.is_set():
                return _answer(chosen, found, offset, eof=over)
            if chosen is None or not chosen.started_at:
                await shell.rings(shell.grown, left)
            else:
                await asyncio.sleep(min(left, AGAIN_S[min(tries, len(AGAIN_S) - 1)]))
                tries += 1

    return routes


def choose(control: Control, job: Job, said: str) -> Attempt | None:
    """The attempt that is meant: by its id, by its ordinal, or the newest. Raises ApiError where there is none such."""
    name = said or job.newest or ""
    if said.isascii() and said.isdecimal():
        name = attempt_id(job.job, int(said[:9]))
    attempt = control.state.attempts.get(AttemptId(name))
    if said and (attempt is None or attempt.job != job.job):
        raise ApiError(404, f"{job.job} has no attempt {said!r}", f"it has {job.attempts} so far")
    return attempt


def _over(job: Job, attempt: Attempt | None) -> bool:
    """Whether nothing more can come, as far as control knows."""
    return job.state in JOB_ENDED if attempt is None else attempt.state not in ATTEMPT_LIVE


async def _ask(
    shell: Shell, control: Control, attempt: Attempt, *, rank: int, offset: int, limit: int, wait_us: int
) -> Answer | None:
    """What the site has, or None where it has nothing yet. Raises ApiError."""
    live = attempt.state in ATTEMPT_LIVE
    if rank >= len(attempt.placement.nodes):
        raise ApiError(404, f"{attempt.attempt} has no rank {rank}", f"it has {len(attempt.placement.nodes)} from 0 on")
    if not control.state.sites[attempt.site].reachable:
        raise ApiError(502 if live else 410, f"{attempt.site}, where {attempt.attempt} ran, is out of reach")
    found = await shell.relay.ask(
        attempt.site,
        AskKind.OUTPUT,
        attempt.attempt,
        file=rank,
        offset=offset,
        limit=limit,
        wait_us=wait_us if live else 0,
    )
    match found.status:
        case AnswerStatus.OK:
            return found
        case AnswerStatus.GONE if live:
            return None
        case AnswerStatus.GONE if not attempt.started_at:
            return Answer(AnswerStatus.OK, b"", eof=True, total=0)
        case AnswerStatus.GONE:
            raise ApiError(410, f"{attempt.site} no longer has the output of {attempt.attempt}")
        case AnswerStatus.ERROR:
            said = found.data[:500].decode("utf-8", "replace")
            raise ApiError(502, f"{attempt.site} can't read the output of {attempt.attempt}: {said}")


def _answer(attempt: Attempt | None, found: Answer | None, offset: int, eof: bool) -> Response:
    headers = {
        "X-Moyai-Attempt": attempt.attempt if attempt else "",
        "X-Moyai-Offset": str(offset if found is None or found.offset is None else found.offset),
        "X-Moyai-Eof": "1" if eof else "0",
        "X-Moyai-Left-Out": str(found.left_out if found else 0),
    }
    return Response(found.data if found else b"", 200, headers, "application/octet-stream")
