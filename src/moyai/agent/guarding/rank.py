"""A rank under its guard: its output, its lease, its limit, its signals, its end. Standard library only."""

from __future__ import annotations

import os
import resource
import select
import signal
from typing import TYPE_CHECKING

from moyai.agent import killing
from moyai.agent.clocks import boot_us, wall_us
from moyai.agent.messages import Began, Over, Poke, RankEnd, Renew, Renewed, Start, Stop
from moyai.agent.supervisor.output import OutputFile

if TYPE_CHECKING:
    from moyai.agent.guarding.line import Line
    from moyai.agent.lease import Lease
    from moyai.agent.messages import Message

HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
AGAIN_US = 200_000  # after a renewal that could not be sent
LINE_US = 1_000_000  # between two looks at a line that is down
KILL_AGAIN_US = 20_000
NEVER = 2**62
CHUNK = 1 << 16
MOST_READS = 256  # of the pipe after the end: it holds no more, unless something that escaped goes on writing
STUBBORN = 500  # looks at what does not die


class Rank:
    """The rank while it runs. `pipe`: where its output comes from, −1 where that is not ours to keep."""

    def __init__(  # noqa: PLR0917 — each once, by the guard alone
        self, line: Line, order: Start, began: Began, lease: Lease, pid: int, pipe: int, output: OutputFile | None
    ) -> None:
        self._line = line
        self._order = order
        self._began = began
        self._lease = lease
        self._pid = pid
        self._pipe = pipe
        self._output = output
        self._cause = ""  # "" while nothing asked for its end
        self._detail = ""
        self._signalled = 0
        self._kill_at = NEVER
        self._killed = False
        self._told = True  # the line knows that it runs
        self._wake, write_end = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (*HANDED_ON, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)  # what came since it was started is handed on now
        self._oom_kills = _oom_kills()

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGCHLD:
            return
        killing.send(-self._pid, number)
        if number in TO_END and not self._cause and not self._signalled:
            self._signalled = number

    def run(self) -> Over:
        """Watch it until it and all it left behind are dead."""
        renew_at, line_at = boot_us(), boot_us()
        self._say_began()
        while not self._exited():
            now = boot_us()
            if now >= line_at:
                line_at = now + LINE_US
                self._meet((self._due_kill() - now) // 4)
            self._act(now)
            if not self._lease.endless and now >= renew_at and self._cause != "lease":
                sent = self._line.send(Renew(now, [self._order.attempt]))
                renew_at = now + (self._lease.renew_after_us(now, self._order.grace_us) if sent else AGAIN_US)
            self._sleep(min(renew_at, line_at))
        return self._finish()

    def _meet(self, within_us: int) -> None:
        """See that the line is up, and that the agent knows what runs."""
        if self._line.socket is None:
            self._told = False
            self._line.connect(within_us)
        if self._line.socket is not None and not self._told:
            self._say_began()

    def _say_began(self) -> None:
        if not self._order.directory:  # nobody there to whom it means something
            return
        began = self._began
        self._told = self._line.send(began._replace(ago_us=boot_us() - began.began_us))

    def _due_kill(self) -> int:
        return self._kill_at if self._lease.endless else min(self._kill_at, self._lease.kill_at_us)

    def _act(self, now: int) -> None:
        order, lease = self._order, self._lease
        if not self._cause and not lease.endless and now >= lease.stop_at_us(order.grace_us):
            self._ask("lease", order.stop_signal, lease.kill_at_us - now)
        if not self._cause and order.limit_us and now >= self._began.began_us + order.limit_us:
            self._ask("limit", order.stop_signal, order.grace_us)
        if now >= self._due_kill():
            if not self._lease.endless and now >= self._lease.kill_at_us:
                self._cause = "lease"
            self._killed = True
            self._kill()

    def _ask(self, cause: str, number: int, grace_us: int) -> None:
        """Signal, grace, kill; a later wish may shorten the grace, never lengthen it."""
        first = not self._cause
        self._cause = self._cause or cause
        if number == signal.SIGKILL:
            grace_us = 0
        elif first:
            killing.send(-self._pid, number)
        self._kill_at = min(self._kill_at, boot_us() + grace_us)

    def _sleep(self, due: int) -> None:
        now = boot_us()
        kill_at = self._due_kill()
        due = min(due, now + KILL_AGAIN_US if self._killed else kill_at)
        if not self._cause:
            if not self._lease.endless:
                due = min(due, self._lease.stop_at_us(self._order.grace_us))
            if self._order.limit_us:
                due = min(due, self._began.began_us + self._order.limit_us)
        sources = [self._wake]
        if self._pipe >= 0:
            sources.append(self._pipe)
        if self._line.socket is not None:
            sources.append(self._line.socket.fileno())
        ready, _, _ = select.select(sources, [], [], max(0, due - now) / 1_000_000)
        if self._wake in ready:
            os.read(self._wake, 512)
        if self._pipe in ready:
            self._read()
        if self._line.socket is not None and self._line.socket.fileno() in ready:
            for message in self._line.receive():
                self._take(message)

    def _take(self, message: Message) -> None:
        attempt = self._order.attempt
        if isinstance(message, Renewed):
            if attempt in message.left_us and self._cause != "lease":
                self._lease.renew(message.sent_us, message.left_us[attempt], message.lease_us)
        elif isinstance(message, Stop) and message.attempt == attempt:
            if not self._exited():
                self._ask("stop", message.signal, message.grace_us)
        elif isinstance(message, Poke) and message.attempt == attempt:
            for pid in killing.members(self._marks(), {self._pid}):
                if killing.catches(pid, message.signal):  # to the others it would be the end
                    killing.send(pid, message.signal)

    def _marks(self) -> tuple[bytes, ...]:
        return (*killing.marks(self._order.attempt, self._began.nonce), f"MOYAI_RANK={self._began.rank}".encode())

    def _read(self) -> bool:
        """Move a chunk of output. False where there is none now, or nothing more comes."""
        if self._pipe < 0:
            return False
        try:
            data = os.read(self._pipe, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            os.close(self._pipe)
            self._pipe = -1
            return False
        assert self._output is not None
        self._output.write(data)
        return True

    def _exited(self) -> bool:
        for pid in killing.own_children():  # orphans of the rank
            if pid != self._pid:
                os.waitpid(pid, os.WNOHANG)
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _kill(self) -> int:
        """Everything that belongs to this rank: its session, what it started, what was reparented to this program.

        Returns how many did not die.
        """
        killing.send(-self._pid, signal.SIGKILL)
        left: list[int] = []
        for _ in range(STUBBORN):
            children = killing.own_children()  # all of them are the rank or were reparented to this program
            left = [pid for pid in killing.descendants(children) if pid != self._pid]
            for pid in children:
                if pid != self._pid:
                    os.waitpid(pid, os.WNOHANG)
            if not left:
                break
            killing.kill_all(left)
            select.select([], [], [], 0.005)
        return len(left)

    def _finish(self) -> Over:
        """It has ended; so does what it left behind, with the rest of its grace where its end was asked for."""
        while self._cause and boot_us() < self._due_kill():
            left = [pid for pid in killing.descendants(killing.own_children()) if pid != self._pid]
            if not left:
                break
            self._sleep(boot_us() + KILL_AGAIN_US)
            self._exited()
        if stubborn := self._kill():
            self._detail = f"{stubborn} processes did not die"
        for _ in range(MOST_READS):
            if not self._read():
                break
        _, status, usage = os.wait4(self._pid, 0)
        others = resource.getrusage(resource.RUSAGE_CHILDREN)  # it, and what was reparented to this program
        cpu_us = round((max(usage.ru_utime, others.ru_utime) + max(usage.ru_stime, others.ru_stime)) * 1_000_000)
        out, total, left_out = self._output, 0, 0
        if out is not None:
            out.close()
            total, left_out = out.total, out.left_out
        oom = status != 0 and _oom_kills() > self._oom_kills
        end = RankEnd(self._began.rank, status, cpu_us, usage.ru_maxrss * 1024, oom, total, left_out)
        began = self._began
        run_us = boot_us() - began.began_us
        cause = self._cause or "exit"
        return Over(began.attempt, began.nonce, cause, self._detail, self._signalled, run_us, wall_us(), end)


def _oom_kills() -> int:
    """How often the kernel has killed something in this program's memory cgroup for want of memory."""
    try:
        with open("/proc/self/cgroup", encoding="ascii") as file:
            entries = [line.strip().split(":", 2) for line in file]
    except (OSError, ValueError):
        return 0
    for _, controllers, path in entries:
        if "memory" in controllers.split(","):
            name = f"/sys/fs/cgroup/memory{path}/memory.oom_control"
        elif not controllers:
            name = f"/sys/fs/cgroup{path}/memory.events"
        else:
            continue
        try:
            with open(name, encoding="ascii") as file:
                counts = dict(line.split() for line in file)
        except (OSError, ValueError):
            continue
        return int(counts.get("oom_kill", "0"))
    return 0
