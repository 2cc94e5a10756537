"""The guard: under an engine that is not ours, every rank starts under it. Standard library only, as small as can be.

`guard --order FILE --agent unix:PATH --agent tcp:HOST:PORT --rank R --nonce N`, or, with the command in the line,
`guard --socket PATH --attempt A --rank R --nonce N -- command …`

It gets the attempt's start claim from the agent, or leaves without running anything. While the command runs it renews
the lease, and when the lease is over everything that belongs to the rank is dead. Signals it gets are handed on. Under
an order it keeps the rank's output and a record of its begin and its end in the attempt's directory.
"""

from __future__ import annotations

import argparse
import os
import pwd
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from moyai.agent import killing
from moyai.agent.clocks import boot_id, boot_us, wall_us
from moyai.agent.guarding.line import Line
from moyai.agent.guarding.rank import HANDED_ON, Rank
from moyai.agent.guarding.record import RankRecord
from moyai.agent.lease import Lease
from moyai.agent.messages import Again, BadMessage, Began, Claim, Claimed, Over, RankEnd, Start, decode
from moyai.agent.spawn import spawn
from moyai.agent.supervisor.output import OutputFile

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSED = 75
"""Exit code where the start was refused: nothing ran."""
LEASE_OVER = 76
"""Exit code where the lease ran out: everything was killed."""
CANNOT_RUN = 127
RECORD_TRIES = 30


def _claim(line: Line, order: Start, rank: int, nonce: str, patience_us: int) -> tuple[Lease | None, str]:
    """The lease of the granted start, or why there is none."""
    until = boot_us() + patience_us
    while boot_us() < until:
        sent = boot_us()
        if not line.connect() or not line.send(Claim(order.attempt, nonce, [rank])):
            time.sleep(0.1)
        again = False
        while line.socket is not None and not again and boot_us() < until:  # not asked twice: that would be refused
            for message in line.receive():
                if isinstance(message, Claimed) and message.attempt == order.attempt:
                    if not message.granted:
                        return None, message.detail
                    return Lease(sent, message.left_us, message.lease_us), ""
                again = again or isinstance(message, Again)  # the site has joined only now: on a new clock
    return None, f"the agent can't be reached: {line.problem}"


def _say(text: str) -> None:
    print(f"moyai guard: {text}", file=sys.stderr, flush=True)


def _order(chosen: argparse.Namespace) -> Start:
    """What to run. Raises OSError, BadMessage."""
    if not chosen.order:
        grace_us, number = chosen.grace_us, chosen.stop_signal
        return Start(chosen.attempt, 1, chosen.command, {}, os.getcwd(), "", grace_us, number, 0, 0, 0, 0)
    with open(chosen.order, "rb") as file:
        message = decode(file.read())
    if not isinstance(message, Start):
        raise BadMessage("it is no order")
    return message


def _environment(order: Start, rank: int, nonce: str) -> dict[str, str]:
    """The engine's own variables, those of the order, and the marks of this start."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("BASH_FUNC_")}
    if order.directory:
        try:
            user = pwd.getpwuid(os.getuid())
        except KeyError:
            env.setdefault("HOME", order.cwd)
        else:
            own = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": user.pw_shell}
            env = own | env
    return env | order.env | {"MOYAI_ATTEMPT": order.attempt, "MOYAI_NONCE": nonce, "MOYAI_RANK": str(rank)}


def _run(line: Line, order: Start, rank: int, nonce: str, lease: Lease) -> int:
    """Run the rank under its lease, and say and keep how it ended. Returns the exit code to leave with."""
    killing.prctl(killing.PR_SET_CHILD_SUBREAPER, 1)
    now = boot_us()
    began = Began(order.attempt, nonce, rank, _node(), boot_id(), now, wall_us(), 0)
    record, output, pipe, write_end = None, None, -1, None
    try:
        if order.directory:
            record = RankRecord(order.directory, began)
            output = OutputFile(order.directory, rank, order.head_bytes, order.tail_bytes)
            pipe, write_end = os.pipe()
            os.set_blocking(pipe, False)
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)  # until the rank is watched
        pid = spawn(order.argv, _environment(order, rank, nonce), order.cwd, write_end)
    except OSError as error:
        detail = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        _say(detail)
        end = RankEnd(rank, CANNOT_RUN << 8, 0, 0, False, 0, 0)
        _tell(line, order, record, Over(order.attempt, nonce, "launch", detail, 0, 0, wall_us(), end))
        return CANNOT_RUN
    if write_end is not None:
        os.close(write_end)
    over = Rank(line, order, began, lease, pid, pipe, output).run()
    _tell(line, order, record, over)
    if over.cause == "lease":
        _say(f"the lease of {order.attempt} is over: rank {rank} was stopped")
        return LEASE_OVER
    status = over.end.status
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _tell(line: Line, order: Start, record: RankRecord | None, over: Over) -> None:
    """Keep the end, then say it. A disk that is full is waited for, within reason."""
    for _ in range(RECORD_TRIES if record is not None else 0):
        try:
            assert record is not None
            record.over(over)
            break
        except OSError as error:
            _say(f"the record of rank {over.end.rank} can't be written: {error}")
            time.sleep(1)
    if order.directory and line.connect():
        line.send(over)
    line.drop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a rank under its lease. Returns its exit code (128 + n for signal n), REFUSED or LEASE_OVER."""
    parser = argparse.ArgumentParser("moyai guard")
    parser.add_argument("--order", default="", help="the file that says what to run")
    parser.add_argument("--agent", action="append", default=[], help="unix:PATH or tcp:HOST:PORT")
    parser.add_argument("--socket", default="", help="the agent's guard.sock")
    parser.add_argument("--attempt", default="")
    parser.add_argument("--rank", required=True, help="its number, or the variable that holds it")
    parser.add_argument("--nonce", required=True, help="of this start, the same for all its ranks")
    parser.add_argument("--grace-us", type=int, default=10_000_000)
    parser.add_argument("--stop-signal", type=int, default=int(signal.SIGTERM))
    parser.add_argument("--patience-us", type=int, default=5_000_000, help="how long to look for the agent")
    parser.add_argument("command", nargs="*")
    chosen = parser.parse_args(arguments)
    try:
        order = _order(chosen)
        rank = int(chosen.rank if chosen.rank.isdigit() else os.environ.get(chosen.rank, ""))
    except (OSError, ValueError) as error:
        _say(f"{chosen.order or chosen.rank}: {error}")
        return CANNOT_RUN
    line = Line(chosen.agent + ([f"unix:{chosen.socket}"] if chosen.socket else []), order.attempt, order.directory)
    lease, refusal = _claim(line, order, rank, chosen.nonce, chosen.patience_us)
    if lease is None or boot_us() >= lease.stop_at_us(order.grace_us):
        _say(f"rank {rank} of {order.attempt} does not start: {refusal or 'the lease is over'}")
        return REFUSED
    return _run(line, order, rank, chosen.nonce, lease)


if __name__ == "__main__":
    sys.exit(main())
