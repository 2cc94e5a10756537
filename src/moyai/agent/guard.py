"""The guard: under an engine that is not ours, every rank starts under it. Standard library only, as small as can be.

`python -m moyai.agent.guard --socket S --attempt A --rank R --nonce N -- command …`

It gets the attempt's start claim from the agent, or leaves without running anything. While the command runs it renews
the lease, and when the lease is over everything that belongs to the rank is dead. Signals it gets are handed on.
"""

import argparse
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence

from moyai.agent import killing, local
from moyai.agent.clocks import boot_us
from moyai.agent.lease import Lease
from moyai.agent.messages import BadMessage, Claim, Claimed, Lines, Message, Renew, Renewed, encode
from moyai.agent.spawn import spawn

REFUSED = 75
"""Exit code where the start was refused: nothing ran."""
LEASE_OVER = 76
"""Exit code where the lease ran out: everything was killed."""
CANNOT_RUN = 127

_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
_AGAIN_US = 200_000


class _Agent:
    """A connection to the agent, made again whenever it is gone."""

    def __init__(self, path: str) -> None:
        self._directory, self._name = os.path.split(os.path.abspath(path))
        self.socket: socket.socket | None = None
        self._lines = Lines()

    def send(self, message: Message) -> bool:
        """Send, connecting first where needed. False where the agent can't be reached now."""
        try:
            if self.socket is None:
                self.socket = local.connect(self._directory, self._name)
                self.socket.settimeout(0.5)
                self._lines = Lines()
            self.socket.sendall(encode(message))
        except OSError:
            self._drop()
            return False
        return True

    def receive(self) -> list[Message]:
        """What has come; waits for half a second at most."""
        if self.socket is None:
            return []
        try:
            data = self.socket.recv(1 << 16)
            if data:
                return list(self._lines.feed(data))
        except TimeoutError:
            return []
        except (OSError, BadMessage):
            pass
        self._drop()
        return []

    def _drop(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def _claim(agent: _Agent, order: argparse.Namespace) -> tuple[Lease | None, str]:
    """The lease of the granted start, or why there is none."""
    until = boot_us() + order.patience_us
    while boot_us() < until:
        sent = boot_us()
        if not agent.send(Claim(order.attempt, order.nonce, [order.rank])):
            time.sleep(0.1)
        while agent.socket is not None and boot_us() < until:  # not asked twice: the second would be refused
            for message in agent.receive():
                if isinstance(message, Claimed) and message.attempt == order.attempt:
                    if not message.granted:
                        return None, message.detail
                    return Lease(sent, message.left_us, message.lease_us), ""
    return None, "the agent can't be reached"


class _Guarded:
    """The rank while it runs."""

    def __init__(self, agent: _Agent, order: argparse.Namespace, lease: Lease, pid: int) -> None:
        self._agent = agent
        self._order = order
        self._lease = lease
        self._pid = pid
        self._wake, write_end = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (*_HANDED_ON, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        self._stopping = self._over = False

    def _on_signal(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            killing.send(-self._pid, number)

    def run(self) -> int:
        """Watch it until it and all it left behind are dead. Returns the exit code to leave with."""
        lease, order = self._lease, self._order
        renew_at = boot_us()
        while (status := self._ended()) is None:
            now = boot_us()
            if not lease.endless:
                if now >= lease.kill_at_us:
                    self._over = True
                    self._kill()
                elif now >= lease.stop_at_us(order.grace_us) and not self._stopping:
                    self._stopping = True
                    killing.send(-self._pid, order.stop_signal)
                if now >= renew_at and not self._stopping:
                    sent = self._agent.send(Renew(now, [order.attempt]))
                    renew_at = now + (lease.renew_after_us(now, order.grace_us) if sent else _AGAIN_US)
            self._sleep(renew_at)
        self._kill()
        os.waitpid(self._pid, 0)
        if self._over or self._stopping:
            _say(f"the lease of {order.attempt} is over: rank {order.rank} was stopped")
            return LEASE_OVER
        return status

    def _sleep(self, renew_at: int) -> None:
        lease, due = self._lease, boot_us() + 60_000_000
        if not lease.endless:
            due = min(due, lease.kill_at_us)
            if not self._stopping:
                due = min(due, renew_at, lease.stop_at_us(self._order.grace_us))
        if self._over:
            due = boot_us() + 20_000
        sources = [self._wake] if self._agent.socket is None else [self._wake, self._agent.socket.fileno()]
        ready, _, _ = select.select(sources, [], [], max(0, due - boot_us()) / 1_000_000)
        if self._wake in ready:
            os.read(self._wake, 512)
        if len(ready) > (self._wake in ready):
            for message in self._agent.receive():
                if isinstance(message, Renewed) and self._order.attempt in message.left_us and not self._stopping:
                    lease.renew(message.sent_us, message.left_us[self._order.attempt], message.lease_us)

    def _ended(self) -> int | None:
        for pid in killing.own_children():  # orphans of the rank
            if pid != self._pid:
                os.waitpid(pid, os.WNOHANG)
        info = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else 128 + info.si_status

    def _kill(self) -> None:
        """Everything that belongs to this rank: its session, what it started, what was reparented to this program."""
        killing.send(-self._pid, signal.SIGKILL)
        for _ in range(500):
            children = killing.own_children()  # all of them are the rank or were reparented to this program
            left = [pid for pid in killing.descendants(children) if pid != self._pid]
            for pid in children:
                if pid != self._pid:
                    os.waitpid(pid, os.WNOHANG)
            if not left:
                return
            killing.kill_all(left)
            time.sleep(0.005)


def _say(text: str) -> None:
    print(f"moyai guard: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command under its lease. Returns its exit code (128 + n for signal n), REFUSED or LEASE_OVER."""
    parser = argparse.ArgumentParser("moyai guard")
    parser.add_argument("--socket", required=True, help="the agent's guard.sock")
    parser.add_argument("--attempt", required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--nonce", required=True, help="of this start, the same for all its ranks")
    parser.add_argument("--grace-us", type=int, default=10_000_000)
    parser.add_argument("--stop-signal", type=int, default=int(signal.SIGTERM))
    parser.add_argument("--patience-us", type=int, default=5_000_000, help="how long to look for the agent")
    parser.add_argument("command", nargs="+")
    order = parser.parse_args(arguments)
    agent = _Agent(order.socket)
    lease, refusal = _claim(agent, order)
    if lease is None or boot_us() >= lease.stop_at_us(order.grace_us):
        _say(f"rank {order.rank} of {order.attempt} does not start: {refusal or 'the lease is over'}")
        return REFUSED
    killing.prctl(killing.PR_SET_CHILD_SUBREAPER, 1)
    marks = {"MOYAI_ATTEMPT": order.attempt, "MOYAI_NONCE": order.nonce, "MOYAI_RANK": str(order.rank)}
    try:
        pid = spawn(order.command, dict(os.environ) | marks, os.getcwd())
    except OSError as error:
        _say(f"{order.command[0]}: {error.strerror or error}")
        return CANNOT_RUN
    return _Guarded(agent, order, lease, pid).run()


if __name__ == "__main__":
    sys.exit(main())
