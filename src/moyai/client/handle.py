"""A job that was submitted, as a program holds it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from moyai.client.connection import Connection
from moyai.client.errors import MoyaiError
from moyai.model.lifecycle import ATTEMPT_LIVE, JOB_ENDED, AttemptState, JobState
from moyai.model.views import AttemptView, JobView, WhyView

_PIECE_BYTES = 1 << 20
_POLL_S = 1.0
"""How long the server may hold a request for output that is not there yet."""
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
_SILENT_S = 20.0
"""How long an ended attempt may withhold the rest of its output before it is given up."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some output of one rank of an attempt, from `offset` (bytes) on. `left_out` bytes before it were dropped."""

    attempt: str
    rank: int
    offset: int
    data: bytes
    eof: bool
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """Something happened to the job: an attempt changed its state, or (attempt None) the job ended."""

    job: JobView
    attempt: AttemptView | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing came for a moment while the job does not run: said again and again, so that a caller may speak."""

    job: JobView


class JobHandle:
    """One job at a server. Every method may raise MoyaiError; all but `cancel` change nothing."""

    def __init__(self, connection: Connection, job: str) -> None:
        self._connection = connection
        self._path = f"/v1/jobs/{quote(job, safe='')}"
        self.id = job

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r})"

    def view(self) -> JobView:
        """Everything about it now."""
        return self._connection.get(self._path, JobView)

    @property
    def state(self) -> JobState:
        """Where it stands now."""
        return self.view().state

    def why(self) -> WhyView:
        """Why it stands where it stands, with every site that was considered."""
        return self._connection.get(f"{self._path}/why", WhyView)

    def cancel(self) -> JobView:
        """Ask for its end. A job that has ended stays as it is."""
        return self._connection.post(f"{self._path}/cancel", JobView)

    def wait(self, timeout: float | None = None) -> JobView:
        """Wait for its end; `timeout` in seconds, None: as long as it takes. Raises MoyaiError "timeout"."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE_S
        while (view := self.view()).state not in JOB_ENDED:
            if deadline is not None and time.monotonic() + pause > deadline:
                raise MoyaiError("timeout", f"{self.id} is still {view.state} after {timeout:g} s")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_S)
        return view

    def output(self, attempt: int | None = None, rank: int = 0) -> str:
        """What it printed so far, as text: the newest attempt's, or that of the attempt with this ordinal."""
        return self.output_bytes(attempt, rank).decode("utf-8", "replace")

    def output_bytes(self, attempt: int | None = None, rank: int = 0) -> bytes:
        """The same as bytes."""
        return b"".join(piece.data for piece in self.pieces(attempt, rank))

    def pieces(self, attempt: int | None = None, rank: int = 0) -> Iterator[Piece]:
        """The same piece by piece, at most 1 MiB each; none before the first attempt."""
        chosen = _chosen(self.view(), attempt)
        offset, more = 0, chosen is not None
        while chosen is not None and more:
            piece = self.piece(chosen.attempt, rank, offset)
            yield piece
            offset = piece.offset + len(piece.data)
            more = bool(piece.data) and not piece.eof

    def piece(self, attempt: str, rank: int = 0, offset: int = 0, wait_s: float = 0.0) -> Piece:
        """Output from `offset` on, at most 1 MiB; empty where there is none within `wait_s` seconds."""
        answer = self._connection.raw(
            "GET",
            f"{self._path}/output",
            params={
                "attempt": attempt,
                "rank": rank,
                "offset": offset,
                "limit": _PIECE_BYTES,
                "wait": f"{wait_s:g}",
            },
            wait_s=wait_s,
        )
        said = answer.headers
        return Piece(
            said.get("X-Moyai-Attempt", attempt),
            rank,
            int(said.get("X-Moyai-Offset", offset)),
            answer.content,
            said.get("X-Moyai-Eof") == "1",
            int(said.get("X-Moyai-Left-Out", 0)),
        )

    def follow(self, rank: int = 0, since: int | None = None) -> Iterator[Piece | Turn | Waiting]:
        """Its output and its turns as they come, to its end, over the attempts from `since` on (None: the newest).

        Leaving the loop leaves the job running. The output of an attempt that was lost is followed as far as it came.
        """
        return _Following(self, rank, since).run()


def _chosen(view: JobView, ordinal: int | None) -> AttemptView | None:
    if ordinal is None:
        return view.attempts[-1] if view.attempts else None
    found = next((attempt for attempt in view.attempts if attempt.ordinal == ordinal), None)
    if found is None:
        raise MoyaiError("unknown-attempt", f"{view.job} has no attempt {ordinal}; it has {len(view.attempts)}")
    return found


class _Following:
    """One walk through a job's output. Attempts are read in their order; each until its end or its loss."""

    def __init__(self, handle: JobHandle, rank: int, since: int | None) -> None:
        self._handle = handle
        self._rank = rank
        self._since = since
        self._seen: dict[str, AttemptState] = {}
        self._done: set[str] = set()
        self._offset: dict[str, int] = {}
        self._heard_at: dict[str, float] = {}

    def run(self) -> Iterator[Piece | Turn | Waiting]:
        """See JobHandle.follow."""
        pause = _FIRST_PAUSE_S
        while True:
            view = self._handle.view()
            if self._since is None:
                self._since = view.attempts[-1].ordinal if view.attempts else 1
            yield from self._turns(view)
            reading = next((a for a in view.attempts if a.ordinal >= self._since and a.attempt not in self._done), None)
            if reading is None:
                if view.state in JOB_ENDED:
                    yield Turn(view)
                    return
                yield Waiting(view)
                time.sleep(pause)
                pause = min(1.5 * pause, _LONGEST_PAUSE_S)
                continue
            moved = False
            for piece in self._read(reading):
                moved = True
                yield piece
            if moved or reading.attempt in self._done:
                pause = _FIRST_PAUSE_S
            elif reading.state is AttemptState.ISSUED:
                yield Waiting(view)
                time.sleep(pause)
                pause = min(1.5 * pause, _LONGEST_PAUSE_S)

    def _turns(self, view: JobView) -> Iterator[Turn]:
        for attempt in view.attempts:
            if attempt.ordinal >= (self._since or 1) and self._seen.get(attempt.attempt) is not attempt.state:
                self._seen[attempt.attempt] = attempt.state
                yield Turn(view, attempt)

    def _read(self, attempt: AttemptView) -> Iterator[Piece]:
        """What is there of one attempt. Marks it done where nothing more can come."""
        live = attempt.state in ATTEMPT_LIVE
        if attempt.state is AttemptState.LOST or (attempt.state is AttemptState.ISSUED and not attempt.started_at):
            if not live:
                self._done.add(attempt.attempt)
            return
        offset = self._offset.get(attempt.attempt, 0)
        try:
            piece = self._handle.piece(attempt.attempt, self._rank, offset, _POLL_S if live else 0.0)
        except MoyaiError as error:
            # The site may be away for a while, or for good; only an attempt that still lives is waited for.
            if error.status == 410 or (not live and self._silent(attempt)):
                self._done.add(attempt.attempt)
            elif error.status < 500:
                raise
            else:
                time.sleep(_LONGEST_PAUSE_S)
            return
        self._offset[attempt.attempt] = piece.offset + len(piece.data)
        if piece.data:
            self._heard_at[attempt.attempt] = time.monotonic()
            yield piece
        if piece.eof or (not live and not piece.data and self._silent(attempt)):
            self._done.add(attempt.attempt)
        elif not live and not piece.data:
            time.sleep(_FIRST_PAUSE_S)

    def _silent(self, attempt: AttemptView) -> bool:
        now = time.monotonic()
        return now - self._heard_at.setdefault(attempt.attempt, now) > _SILENT_S
