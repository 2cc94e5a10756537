"""One attempt in the supervisor: its claim, its ranks, its lease, its end.

claiming ──granted──▶ running ──all of it dead──▶ ended
    └──refused, stopped, can't be run──────────────▲
"""

import os
import signal
from collections.abc import Callable

from moyai.agent import killing
from moyai.agent.clocks import boot_us, wall_us
from moyai.agent.lease import Lease
from moyai.agent.messages import Claimed, Ended, RankEnd, Start, encode
from moyai.agent.spawn import spawn
from moyai.agent.supervisor.memory import MemoryGroups
from moyai.agent.supervisor.output import OutputFile
from moyai.agent.supervisor.record import RecordFile

NEVER = 2**62
AGAIN_US = 10_000  # until the next look at what was killed; doubled each time
AGAIN_MOST_US = 1_000_000  # and until the next try to write
STUBBORN_US = 5_000_000  # after that long, what SIGKILL did not end is reported, not waited for
SAVES = 30  # tries to write a record before the agent is told without one
CHUNK = 1 << 16
MOST_READS = 256  # of a pipe after the end: it holds no more, unless something that escaped goes on writing


class Shared:
    """What the attempts of one supervisor share. `watch` and `unwatch` tell its loop about a pipe."""

    def __init__(
        self, memory: MemoryGroups, watch: Callable[[int, "Attempt"], None], unwatch: Callable[[int], object]
    ) -> None:
        self.memory = memory
        self.watch = watch
        self.unwatch = unwatch
        self.ranks: set[int] = set()  # pids of all ranks of all attempts, zombies included


class Rank:
    """One process of an attempt, its output and its memory group. `status` is None while it runs."""

    __slots__ = ("group", "number", "output", "pid", "pipe", "shared", "status")

    def __init__(self, number: int, pid: int, pipe: int, output: OutputFile, group: str, shared: Shared) -> None:  # noqa: PLR0917
        self.number = number
        self.pid = pid
        self.pipe = pipe  # −1 once it is closed
        self.output = output
        self.group = group
        self.shared = shared
        self.status: int | None = None

    def read(self) -> bool:
        """Move what is in the pipe to the output, one chunk. False where nothing is there, or nothing more comes."""
        if self.pipe < 0:
            return False
        try:
            data = os.read(self.pipe, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        self.output.write(data)
        return True

    def close(self) -> None:
        """Close the pipe."""
        if self.pipe >= 0:
            self.shared.unwatch(self.pipe)
            os.close(self.pipe)
            self.pipe = -1


class Attempt:
    """The state machine of one attempt. Times are `boot_us`. The loop calls it; it calls nobody but the kernel."""

    def __init__(self, order: Start, shared: Shared) -> None:
        self.order = order
        self.nonce = order.nonce or os.urandom(16).hex()
        self.asked_us = 0  # when the claim was last sent
        self.started_us = 0
        self.started_wall_us = 0
        self.ranks: list[Rank] = []
        self.end: Ended | None = None
        self.saved = False  # its record is on disk, or there is none to save
        self._shared = shared
        self._memory = shared.memory
        self._record: RecordFile | None = None
        self._lease = Lease(0, 0, 0)
        self._cause = ""  # "" while nothing asked for its end
        self._detail = ""
        self._first = -1
        self._kill_at = NEVER
        self._killed_us = 0
        self._again_at = NEVER
        self._tries = 0

    @property
    def phase(self) -> str:
        """ "claiming", "running" or "ended"."""
        if self.end is not None:
            return "ended"
        return "running" if self.ranks else "claiming"

    @property
    def numbers(self) -> list[int]:
        """Of its ranks here."""
        return list(self.order.numbers) or list(range(self.order.ranks))

    # -- its start -------------------------------------------------------------------------------------------------

    def answered(self, answer: Claimed) -> bool:
        """Take the answer to its claim and, where it is granted, run. Returns whether it runs now."""
        if self.phase != "claiming" or answer.nonce != self.nonce:
            return False
        if not answer.granted:
            self._never_ran("refused", answer.detail)
            return False
        self._lease = Lease(self.asked_us, answer.left_us, answer.lease_us)
        if boot_us() >= self._lease.stop_at_us(self.order.grace_us):
            self._never_ran("refused", "the lease was over before the start")
            return False
        try:
            self._record = RecordFile(self.order.directory, self.order.ranks)
            for number in self.numbers:
                self.ranks.append(self._run(number))
        except OSError as error:
            self._could_not_run(error)
            return False
        self.started_us, self.started_wall_us = boot_us(), wall_us()
        return True

    def _run(self, number: int) -> Rank:
        order = self.order
        output = OutputFile(order.directory, number, order.head_bytes, order.tail_bytes)
        group = ""
        pipe, write_end = os.pipe()
        try:
            if order.memory_bytes and self._memory.kind:
                group = self._memory.make(f"{order.attempt}.{number}", order.memory_bytes)
            env = order.env | {"MOYAI_RANK": str(number), "MOYAI_NONCE": self.nonce}
            pid = spawn(order.argv, env, order.cwd, write_end, [f"{group}/cgroup.procs"] if group else [])
        except OSError:
            os.close(pipe)
            output.close()
            if group:
                self._memory.remove(group)
            raise
        finally:
            os.close(write_end)
        os.set_blocking(pipe, False)
        self._shared.ranks.add(pid)
        self._shared.watch(pipe, self)
        return Rank(number, pid, pipe, output, group, self._shared)

    def _could_not_run(self, error: OSError) -> None:
        detail = str(error) if error.filename is None else f"{error.filename}: {error.strerror}"
        if not self.ranks:
            if self._record is not None:
                self._record.discard()
                self._record = None
            self._never_ran("launch", detail)
            return
        self.started_us, self.started_wall_us = boot_us(), wall_us()
        self._cause, self._detail = "launch", detail
        self._kill_at = self.started_us

    def _never_ran(self, cause: str, detail: str) -> None:
        self.end = Ended(self.order.attempt, self.nonce, cause, detail, -1, 0, 0, wall_us(), 0, [])
        self.saved = True  # nothing ran, so there is nothing that must not be forgotten

    # -- its end ---------------------------------------------------------------------------------------------------

    def stop(self, cause: str, number: int, grace_us: int) -> None:
        """Somebody wants its end: signal, grace, kill."""
        if self.phase == "claiming":
            self._never_ran(cause, "")
        elif self.phase == "running":
            self._ask(cause, number, grace_us)

    def poke(self, number: int) -> None:
        """Send a signal to those of its processes that have a handler for it: to the others it would be the end."""
        for pid in self._members():
            if killing.catches(pid, number):
                killing.send(pid, number)

    def renew(self, sent_us: int, left_us: int, lease_us: int) -> None:
        """Its lease goes on."""
        self._lease.renew(sent_us, left_us, lease_us)

    @property
    def lease(self) -> Lease | None:
        """Its lease, where it runs and may end for want of one."""
        return self._lease if self.phase == "running" and not self._lease.endless else None

    def _ask(self, cause: str, number: int, grace_us: int) -> None:
        if not self._cause:
            self.look()  # what has ended by now ended by itself
        if self.phase != "running":
            return
        first_time = not self._cause
        self._cause = self._cause or cause
        if number == signal.SIGKILL:
            grace_us = 0
        elif first_time:
            for rank in self.ranks:
                killing.send(-rank.pid, number)
        self._kill_at = min(self._kill_at, boot_us() + grace_us)

    def _kill_due_us(self) -> int:
        return self._kill_at if self._lease.endless else min(self._kill_at, self._lease.kill_at_us)

    def due_us(self) -> int:
        """When `tick` is next needed, whatever else happens."""
        if self.phase != "running":
            return self._again_at if self.end is not None and not self.saved else NEVER
        due = self._again_at
        if not self._killed_us:
            due = min(due, self._kill_due_us())
        if not self._cause:
            if not self._lease.endless:
                due = min(due, self._lease.stop_at_us(self.order.grace_us))
            if self.order.limit_us:
                due = min(due, self.started_us + self.order.limit_us)
        return due

    def tick(self) -> None:
        """Do what is due."""
        if self.end is not None:
            if not self.saved:
                self._save()
            return
        if self.phase != "running":
            return
        now, order = boot_us(), self.order
        if not self._lease.endless and not self._cause and now >= self._lease.stop_at_us(order.grace_us):
            self._ask("lease", order.stop_signal, self._lease.kill_at_us - now)
        if order.limit_us and not self._cause and now >= self.started_us + order.limit_us:
            self._ask("limit", order.stop_signal, order.grace_us)
        if now >= self._again_at:
            self._again_at = NEVER
        if self.phase == "running" and now >= self._kill_due_us():
            self._kill(now)
        self.look()

    def _kill(self, now: int) -> None:
        if not self._killed_us:
            self._killed_us = now
            for rank in self.ranks:
                killing.send(-rank.pid, signal.SIGKILL)
        killing.kill_all(self._members())
        self._look_again(now)

    def _look_again(self, now: int) -> None:
        self._again_at = now + min(AGAIN_US << self._tries, AGAIN_MOST_US)
        self._tries = min(self._tries + 1, 10)

    def _left(self) -> list[int]:
        """What still lives once all ranks have ended. Whatever lost its parent is a child of this program by now, so
        the whole of /proc is read only where one of those is the attempt's."""
        marks, sessions = killing.marks(self.order.attempt, self.nonce), {rank.pid for rank in self.ranks}
        strangers = [pid for pid in killing.own_children() if pid not in self._shared.ranks]
        grouped = any(self._memory.pids(rank.group) for rank in self.ranks if rank.group)
        return self._members() if grouped or any(killing.belongs(p, marks, sessions) for p in strangers) else []

    def _members(self) -> list[int]:
        found = set(killing.members(killing.marks(self.order.attempt, self.nonce), {r.pid for r in self.ranks}))
        for rank in self.ranks:
            if rank.group:
                found.update(self._memory.pids(rank.group))
        return sorted(found.difference(rank.pid for rank in self.ranks if rank.status is not None))

    def look(self) -> None:
        """See which ranks have ended. They stay zombies, so that no other process gets their ids, until all is dead."""
        if self.phase != "running":
            return
        for rank in self.ranks:
            if rank.status is None and self._exited(rank):
                self._rank_over(rank)
        if self.phase == "running" and all(rank.status is not None for rank in self.ranks):
            self._settle()

    @staticmethod
    def _exited(rank: Rank) -> bool:
        info = os.waitid(os.P_PID, rank.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return False
        killed = info.si_code != os.CLD_EXITED
        rank.status = info.si_status if killed else info.si_status << 8
        return True

    def _rank_over(self, rank: Rank) -> None:
        if not self._cause:
            killing.send(-rank.pid, signal.SIGKILL)  # what it left behind; nobody asked it to end, so no grace
            if rank.status != 0:
                self._first = rank.number
                if len(self.ranks) > 1:
                    self._ask("exit", self.order.stop_signal, self.order.grace_us)

    def _settle(self) -> None:
        """All ranks have ended: end the attempt once nothing else of it is alive."""
        now = boot_us()
        left = self._left()
        if left and self._cause and now < self._kill_at:
            return  # its grace goes on; the death of each wakes the loop
        if left:
            self._killed_us = self._killed_us or now
            if now - self._killed_us < STUBBORN_US:
                killing.kill_all(left)
                self._look_again(now)
                return
            self._detail = f"{len(left)} processes did not die, {left[0]} among them"
        self._finish(now)

    def _finish(self, now: int) -> None:
        ends: list[RankEnd] = []
        for rank in self.ranks:
            for _ in range(MOST_READS):
                if not rank.read():
                    break
            rank.close()
            rank.output.close()
            _, status, usage = os.wait4(rank.pid, 0)
            self._shared.ranks.discard(rank.pid)
            out_of_memory = bool(rank.group) and status != 0 and self._memory.killed(rank.group)
            cpu_us = round((usage.ru_utime + usage.ru_stime) * 1_000_000)
            ends.append(
                RankEnd(
                    rank.number,
                    status,
                    cpu_us,
                    usage.ru_maxrss * 1024,
                    out_of_memory,
                    rank.output.total,
                    rank.output.left_out,
                )
            )
            if rank.group:
                self._memory.remove(rank.group)
        order = self.order
        self.end = Ended(
            order.attempt,
            self.nonce,
            self._cause or "exit",
            self._detail,
            self._first,
            self.started_us,
            self.started_wall_us,
            wall_us(),
            now - self.started_us,
            ends,
        )
        self._tries = 0
        self._save()

    def _save(self) -> None:
        assert self.end is not None
        assert self._record is not None
        try:
            self._record.write(encode(self.end))
        except FileNotFoundError:
            pass  # the site's directory was deleted: nobody will ask for the record
        except OSError:
            self._tries += 1
            if self._tries < SAVES:
                self._again_at = boot_us() + AGAIN_MOST_US
                return
        self.saved, self._again_at = True, NEVER
