"""What agent, supervisor and guard say to each other over a local socket: one JSON list a line. Standard library only.

Times are µs of CLOCK_BOOTTIME unless a name says wall. Unknown kinds and missing fields raise BadMessage.

A supervisor outlives its agent, and may be of an older version. So new fields come last and have a default, and what
has its default is not sent: the older side is only told what it can't know where it is needed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LINE_LIMIT = 8 * 1024 * 1024
VERSION = 1
"""Of what agent and supervisor say to each other; told in `State`. 0 is before there was any."""


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
    numbers: Sequence[int] = ()  # of its ranks, where some run on other machines; empty for 0 to ranks - 1
    nonce: str = ""  # of the start, where several supervisors share it; "" to draw one


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
    version: int = 0  # of the protocol
    boot: str = ""  # which start of its machine this is
    boot_us: int = 0  # its clock now: another machine's than the agent's, perhaps
    code: str = ""  # what it was started from, where that is an archive


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


class Began(NamedTuple):
    """Guard → agent, first of all on each line it gets, and the begin of its record: a rank runs."""

    attempt: str
    nonce: str
    rank: int
    node: str
    boot: str  # the id of that machine's boot: only there `began_us` means something
    began_us: int
    began_wall_us: int
    ago_us: int  # how long it had run when this was said


class Over(NamedTuple):
    """Guard → agent, and the end of its record: all of a rank is dead.

    `cause`: "exit", "limit", "lease", "stop" (the agent wanted it), "launch" (could not be run). `signalled`: the first
    signal to end that came from elsewhere before it did; 0 for none.
    """

    attempt: str
    nonce: str
    cause: str
    detail: str
    signalled: int
    run_us: int
    ended_wall_us: int
    end: RankEnd


class Challenge(NamedTuple):
    """Agent → guard, first of all where they meet over TCP."""

    challenge: str


class Proof(NamedTuple):
    """Guard → agent, then agent → guard: that each knows the attempt's secret."""

    attempt: str
    challenge: str  # the guard's own
    mac: str


Message = Union[  # noqa: UP007 — guards run under Python 3.9 too
    Start,
    Stop,
    Poke,
    Forget,
    Claimed,
    Again,
    Renewed,
    State,
    Claim,
    Renew,
    Started,
    Ended,
    Began,
    Over,
    Challenge,
    Proof,
]
_KINDS: dict[str, Any] = {cls.__name__: cls for cls in Message.__args__}
_NONE = object()


def encode(message: Message) -> bytes:
    """One line."""
    fields = list(message)
    defaults = [message._field_defaults.get(name, _NONE) for name in message._fields]
    while fields and fields[-1] == defaults[len(fields) - 1]:
        fields.pop()
    return json.dumps([type(message).__name__, *fields], separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """The message in a line. Raises BadMessage."""
    try:
        name, *fields = json.loads(line)
        message = _KINDS[name](*fields)
        if isinstance(message, Ended):
            return message._replace(ranks=[RankEnd(*rank) for rank in message.ranks])
        if isinstance(message, State):
            return message._replace(known=[Known(*known) for known in message.known])
        if isinstance(message, Over):
            return message._replace(end=RankEnd(*message.end))
        return message
    except (ValueError, KeyError, TypeError) as error:
        raise BadMessage(f"not a message: {error!r}") from None


class Lines:
    """Bytes of a stream, cut into messages. `unseal` is given each line first, where lines are sealed."""

    __slots__ = ("_rest", "_unseal")

    def __init__(self, unseal: Callable[[bytes], bytes] | None = None) -> None:
        self._rest = b""
        self._unseal = unseal

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises BadMessage."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_LIMIT:
            raise BadMessage(f"a line of more than {LINE_LIMIT} bytes")
        for line in lines:
            yield decode(line if self._unseal is None else self._unseal(line))
