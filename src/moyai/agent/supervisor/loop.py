"""The supervisor's loop: one agent at a time, its attempts, their pipes, the death of children, and time."""

import os
import selectors
import signal
import socket
from collections import deque

from moyai.agent import killing, local
from moyai.agent.clocks import boot_id, boot_us
from moyai.agent.lease import RENEW_LEAST_US
from moyai.agent.messages import (
    VERSION,
    Again,
    BadMessage,
    Claim,
    Claimed,
    Ended,
    Forget,
    Known,
    Lines,
    Message,
    Poke,
    Renew,
    Renewed,
    Start,
    Started,
    State,
    Stop,
    encode,
)
from moyai.agent.supervisor.attempt import NEVER, Attempt, Shared
from moyai.agent.supervisor.memory import MemoryGroups

SOCKET = "supervisor.sock"
IDLE_US = 30_000_000  # without an agent and without work it leaves after that long
BACKLOG = 64 << 20  # bytes an agent may leave unread before its connection is dropped
AT_ONCE = 8  # messages taken in one turn: a start costs a millisecond, and leases and pipes must not wait


class Peer:
    """The agent that is connected."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.lines = Lines()
        self.inbox: deque[Message] = deque()
        self.out = bytearray()

    def flush(self) -> bool:
        """Send what can be sent. False where the agent is gone or doesn't read."""
        try:
            while self.out:
                sent = self.connection.send(self.out)
                del self.out[:sent]
        except BlockingIOError:
            return len(self.out) <= BACKLOG
        except OSError:
            return False
        return True


class Supervisor:
    """Runs until nobody needs it. Single-threaded: everything happens in `run`."""

    def __init__(self, directory: str, memory: MemoryGroups, code: str = "") -> None:
        """`code`: what it was started from, where that is an archive."""
        self._code = code
        self._server = local.listen(directory, SOCKET)
        self._server.setblocking(False)
        self._memory = memory
        self._attempts: dict[str, Attempt] = {}
        self._peer: Peer | None = None
        self._told: set[str] = set()  # ends that this agent was told
        self._renew_at = NEVER
        self._idle_since = boot_us()
        self._told_to_leave = self._leaving = False
        self._selector = selectors.DefaultSelector()
        self._shared = Shared(memory, self._watch, self._selector.unregister)
        self._wake, wake_write = os.pipe()
        for end in (self._wake, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self._on_child)
        signal.signal(signal.SIGTERM, self._on_leave)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._selector.register(self._server, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)

    def run(self) -> None:
        """Serve. Returns when it was told to leave and all is dead, or when it was idle for long without an agent."""
        while not self._done():
            for key, events in self._selector.select(self._timeout()):
                if isinstance(key.data, Attempt):
                    self._drain(key.data, key.fd)
                else:
                    key.data(events)
            self._take_some()
            if self._told_to_leave and not self._leaving:
                self._leave()
            now = boot_us()
            for attempt in list(self._attempts.values()):
                if attempt.due_us() <= now:
                    attempt.tick()
            self._tell_ends()
            self._renew(now)
            if self._peer is not None and not self._peer.flush():
                self._hang_up()
            self._watch_peer()

    def _done(self) -> bool:
        working = any(a.phase == "running" or not a.saved for a in self._attempts.values() if a.phase != "claiming")
        if self._leaving:
            return not working
        if working or self._peer is not None:
            self._idle_since = boot_us()
        return boot_us() - self._idle_since > IDLE_US

    def _timeout(self) -> float:
        if self._peer is not None and self._peer.inbox:
            return 0
        now = boot_us()
        due = min((a.due_us() for a in self._attempts.values()), default=NEVER)
        due = min(due, self._renew_at, now + IDLE_US)
        return max(0, due - now) / 1_000_000

    # -- the agent -------------------------------------------------------------------------------------------------

    def _accept(self, _: int) -> None:
        try:
            connection, _address = self._server.accept()
        except OSError:
            return
        if not local.peer_allowed(connection):
            connection.close()
            return
        if self._peer is not None:
            self._last_words()
        self._peer = Peer(connection)
        self._told.clear()
        self._selector.register(connection, selectors.EVENT_READ, self._talk)
        known = [Known(n, a.nonce, a.phase, a.started_us, a.started_wall_us) for n, a in self._attempts.items()]
        state = State(os.getpid(), self._memory.kind, known, VERSION, boot_id(), boot_us(), self._code)
        self._send(state)
        for attempt in self._attempts.values():
            if attempt.phase == "claiming":
                self._claim(attempt)
        self._renew_at = boot_us()

    def _last_words(self) -> None:
        """The agent is gone: what it said before counts."""
        peer = self._peer
        try:
            while peer is not None and (data := peer.connection.recv(1 << 16)):
                peer.inbox.extend(peer.lines.feed(data))
        except (OSError, BadMessage):
            pass
        while self._peer is not None and self._peer.inbox:
            self._take(self._peer.inbox.popleft())
        if self._peer is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        assert self._peer is not None
        self._selector.unregister(self._peer.connection)
        self._peer.connection.close()
        self._peer = None
        self._renew_at = NEVER

    def _watch_peer(self) -> None:
        """Ask to be woken when an agent that could not take everything can take more."""
        if self._peer is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._peer.out else 0)
            if self._selector.get_key(self._peer.connection).events != events:
                self._selector.modify(self._peer.connection, events, self._talk)

    def _send(self, message: Message) -> None:
        if self._peer is not None:
            self._peer.out += encode(message)

    def _talk(self, events: int) -> None:
        peer = self._peer
        if peer is None or not events & selectors.EVENT_READ or len(peer.inbox) > AT_ONCE:
            return
        try:
            data = peer.connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._last_words()
            return
        try:
            peer.inbox.extend(peer.lines.feed(data))
        except BadMessage:
            self._hang_up()  # not our agent, or another version of it: it may come again

    def _take_some(self) -> None:
        for _ in range(AT_ONCE):
            if self._peer is None or not self._peer.inbox:
                return
            self._take(self._peer.inbox.popleft())

    def _take(self, message: Message) -> None:
        if isinstance(message, Start):
            self._start(message)
            return
        if isinstance(message, Renewed):
            for name, left_us in message.left_us.items():
                if name in self._attempts:
                    self._attempts[name].renew(message.sent_us, left_us, message.lease_us)
            return
        if not isinstance(message, Claimed | Again | Stop | Poke | Forget):
            self._hang_up()  # nothing that an agent says
            return
        attempt = self._attempts.get(message.attempt)
        if attempt is None:
            return
        if isinstance(message, Claimed):
            if attempt.answered(message):
                self._send(Started(message.attempt, attempt.nonce, attempt.started_us, attempt.started_wall_us))
            self._renew_at = min(self._renew_at, boot_us() + RENEW_LEAST_US)
        elif isinstance(message, Again):
            if attempt.phase == "claiming":
                self._claim(attempt)
        elif isinstance(message, Stop):
            attempt.stop("stop", message.signal, message.grace_us)
        elif isinstance(message, Poke):
            attempt.poke(message.signal)
        elif attempt.phase == "ended" and attempt.saved:
            del self._attempts[message.attempt]
            self._told.discard(message.attempt)

    def _start(self, order: Start) -> None:
        known = self._attempts.get(order.attempt)
        if known is not None:
            self._told.discard(order.attempt)  # say again how it ended, if it did
            return
        attempt = self._attempts[order.attempt] = Attempt(order, self._shared)
        if self._leaving:
            attempt.stop("shutdown", signal.SIGKILL, 0)
        else:
            self._claim(attempt)

    def _claim(self, attempt: Attempt) -> None:
        attempt.asked_us = boot_us()
        self._send(Claim(attempt.order.attempt, attempt.nonce, attempt.numbers))

    def _renew(self, now: int) -> None:
        if self._peer is None or now < self._renew_at:
            return
        held = {name: a for name, a in self._attempts.items() if a.lease is not None}
        waits = [a.lease.renew_after_us(now, a.order.grace_us) for a in held.values() if a.lease is not None]
        self._renew_at = now + min(waits) if waits else NEVER
        if held:
            self._send(Renew(now, list(held)))

    def _tell_ends(self) -> None:
        for name, attempt in self._attempts.items():
            end: Ended | None = attempt.end
            if self._peer is not None and end is not None and attempt.saved and name not in self._told:
                self._told.add(name)
                self._send(end)

    # -- the ranks -------------------------------------------------------------------------------------------------

    def _watch(self, pipe: int, attempt: Attempt) -> None:
        self._selector.register(pipe, selectors.EVENT_READ, attempt)

    @staticmethod
    def _drain(attempt: Attempt, pipe: int) -> None:
        for rank in attempt.ranks:
            if rank.pipe == pipe:
                rank.read()

    def _woken(self, _: int) -> None:
        """A signal came: a child may have ended."""
        try:
            while len(os.read(self._wake, 512)) == 512:
                pass
        except BlockingIOError:
            pass
        for attempt in list(self._attempts.values()):
            if attempt.phase == "running":
                attempt.look()
        self._reap_orphans()

    def _reap_orphans(self) -> None:
        orphans = [pid for pid in killing.own_children() if pid not in self._shared.ranks]
        if orphans and not self._shared.ranks:
            killing.kill_all(
                killing.descendants(orphans)
            )  # nothing runs: whatever hid from its attempt's end, ends now
        reaped = False
        for pid in orphans:
            try:
                reaped = os.waitpid(pid, os.WNOHANG)[0] != 0 or reaped
            except ChildProcessError:
                continue
        if reaped:
            for attempt in list(self._attempts.values()):
                if attempt.phase == "running":
                    attempt.look()

    def _on_child(self, _number: int, _frame: object) -> None:
        """SIGCHLD: the wake-up descriptor has said so already."""

    def _on_leave(self, _number: int, _frame: object) -> None:
        """SIGTERM: the machine goes down, or an operator wants it so."""
        self._told_to_leave = True

    def _leave(self) -> None:
        """All it runs is stopped with its grace."""
        self._leaving = True
        for attempt in self._attempts.values():
            if attempt.phase != "ended":
                attempt.stop("shutdown", attempt.order.stop_signal, attempt.order.grace_us)
