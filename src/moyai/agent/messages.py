"""What agent, supervisor and guard say to each other over a local socket: one JSON list a line. Standard library only.

Times are µs of CLOCK_BOOTTIME unless a name says wall. Unknown kinds and missing fields raise BadMessage.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

LINE_LIMIT = 8 * 1024 * 1024


class BadMessage(ValueError):
    """A line that is no message; the text says why."""


class Start(NamedTuple):
    """Agent → supervisor: run `ranks` processes of `argv` once the start claim is granted."""

    attempt: str
    ranks: int
    argv: list[str]
    env: dict[str, str]  # the supervisor adds MOYAI_RANK and MOYAI_NONCE
    cwd: str
    directory: str  # where output and the exit record go
    grace_us: int
    stop_signal: int
    limit_us: int  # 0: none
    memory_bytes: int  # of each rank; 0: no limit. Enforced only where the supervisor says that it can
    head_bytes: int  # of each rank's output: kept from its begin
    tail_bytes: int  # and from its end


class Stop(NamedTuple):
    """Agent → supervisor: signal, grace, kill. One that waits for its claim is dropped."""

    attempt: str
    signal: int
    grace_us: int


class Poke(NamedTuple):
    """Agent → supervisor: send a signal to those processes of an attempt that have a handler for it."""

    attempt: str
    signal: int


class Forget(NamedTuple):
    """Agent → supervisor: the end of this attempt is in the agent's journal."""

    attempt: str


class Claimed(NamedTuple):
    """Agent → supervisor or guard: the answer to `Claim`. The lease counts from the sending of the claim."""

    attempt: str
    nonce: str
    granted: bool
    left_us: int
    lease_us: int
    detail: str


class Again(NamedTuple):
    """Agent → supervisor: the site had not joined when the claim came, and has now: claim again, on a new clock."""

    attempt: str


class Renewed(NamedTuple):
    """Agent → supervisor or guard: the answer to `Renew`, with its `sent_us`."""

    sent_us: int
    left_us: dict[str, int]
    lease_us: int


class Known(NamedTuple):
    """An attempt that the supervisor has: "claiming", "running" or "ended"."""

    attempt: str
    nonce: str
    phase: str
    started_us: int
    started_wall_us: int


class State(NamedTuple):
    """Supervisor → agent, first of all: what it can and what it has."""

    pid: int
    memory: str  # how memory limits are enforced: "cgroup1", "cgroup2", or "" for not
    known: list[Known]


class Claim(NamedTuple):
    """Supervisor or guard → agent: may these ranks of the start `nonce` run?"""

    attempt: str
    nonce: str
    ranks: list[int]


class Renew(NamedTuple):
    """Supervisor or guard → agent: how long may these go on?"""

    sent_us: int
    attempts: list[str]


class Started(NamedTuple):
    """Supervisor → agent: all ranks run."""

    attempt: str
    nonce: str
    started_us: int
    started_wall_us: int


class RankEnd(NamedTuple):
    """How one rank ended. `status` is the wait status; −1 where it never ran."""

    rank: int
    status: int
    cpu_us: int
    peak_bytes: int
    out_of_memory: bool
    output_bytes: int
    left_out_bytes: int  # of its output


class Ended(NamedTuple):
    """Supervisor → agent, and the exit record on disk. `first`: the rank that failed first, −1 for none.

    `cause`: "exit" (by itself), "limit", "lease", "stop", "launch" (could not be run), "refused" (no claim),
    "shutdown" (the supervisor was told to leave).
    """

    attempt: str
    nonce: str
    cause: str
    detail: str
    first: int
    started_us: int
    started_wall_us: int
    ended_wall_us: int
    run_us: int
    ranks: list[RankEnd]


Message = Start | Stop | Poke | Forget | Claimed | Again | Renewed | State | Claim | Renew | Started | Ended
_KINDS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (Start, Stop, Poke, Forget, Claimed, Again, Renewed, State, Claim, Renew, Started, Ended)
}


def encode(message: Message) -> bytes:
    """One line."""
    return json.dumps([type(message).__name__, *message], separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message in a line. Raises BadMessage."""
    try:
        name, *fields = json.loads(line)
        message = _KINDS[name](*fields)
        if isinstance(message, Ended):
            return message._replace(ranks=[RankEnd(*rank) for rank in message.ranks])
        if isinstance(message, State):
            return message._replace(known=[Known(*known) for known in message.known])
        return message
    except (ValueError, KeyError, TypeError) as error:
        raise BadMessage(f"not a message: {error!r}") from None


class Lines:
    """Bytes of a stream, cut into messages."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises BadMessage."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_LIMIT:
            raise BadMessage(f"a line of more than {LINE_LIMIT} bytes")
        for line in lines:
            yield decode(line)
