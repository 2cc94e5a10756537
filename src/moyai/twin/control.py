"""The control plane of the twin: the real `Control` over a log in memory that keeps, at a crash, what was committed.

It does what the real server does: group commit, no answer and no command before its records are durable, one plan at a
time, made on a copy and taken up later.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from moyai.control import requests as r
from moyai.control.core import Control, Refused, replay
from moyai.control.lease import LeaseTable
from moyai.control.state import State, state_bytes, state_from
from moyai.model.envelope import GENESIS, Record, open_record
from moyai.model.exchange import Ack, Batch, Commands, Hello, Welcome
from moyai.model.ids import SiteName
from moyai.plan.place import LivePlanner
from moyai.plan.types import Plan, Planner, Policy
from moyai.twin.agent import POLL_US, Exchange
from moyai.twin.network import Network
from moyai.twin.world import SECOND, Machine, World

LEASE_US = 10 * SECOND
DRIFT_PPM = 50_000
"""ρ: how far a boot clock may be off. Far more than real ones, so that it matters within one lease of seconds."""

TICK_US = 300_000
PLAN_GAP_US = SECOND // 5
POLICY = Policy(
    exact_below_cells=0, preempt_gain_milli=200, migrations_per_round=2, migrate_gain_milli=50, migrate_after_us=SECOND
)
"""Greedy alone: an exact solver that stops by the clock would not give the same world twice. Eager to stop work."""
MOVE_TICKS = 20
"""Between two looks for what to move."""
SCALE_SHARE = 0.25
"""Of the worlds in which every queue is planned in the form for long ones."""

Answer = Callable[[], None]


@dataclass(slots=True)
class Log:
    """What is durable: bytes of records, the epoch, and a checkpoint of the state now and then."""

    records: list[bytes] = field(default_factory=list[bytes])
    head: str = GENESIS
    epoch: int = 0
    checkpoint: tuple[int, bytes] | None = None  # (seq, state)

    def append(self, epoch: int, records: list[Record]) -> None:
        """Commit records. Raises AssertionError where they don't follow, or an older leader wrote them."""
        if epoch != self.epoch:
            raise AssertionError(f"an append of epoch {epoch} came after epoch {self.epoch} had taken over")
        for record in records:
            assert record.seq == len(self.records) + 1
            assert record.prev_hash == self.head
            self.records.append(record.data)
            self.head = record.hash

    def read(self, after: int = 0, head: str = GENESIS) -> Iterator[Record]:
        """Open the records behind `after`, whose hash is `head`. Raises CorruptRecord."""
        for seq in range(after + 1, len(self.records) + 1):
            record = open_record(self.records[seq - 1], seq, head)
            head = record.hash
            yield record

    def load(self) -> State:
        """The state at the head, from the newest checkpoint on."""
        if self.checkpoint is None:
            return replay(State(), self.read())
        seq, data = self.checkpoint
        state = state_from(data)
        return replay(state, self.read(seq, state.head_hash))


@dataclass(slots=True)
class _Poll:
    after: int
    term: int
    answer: Callable[[Commands], None]
    number: int


class ControlNode(Exchange):
    """The machine on which control runs. Its log outlives its processes."""

    def __init__(self, world: World, net: Network, drift_ppm: int, lease_us: int = LEASE_US) -> None:
        self.world, self.net = world, net
        self.machine = Machine(world, drift_ppm)
        self.log = Log()
        self.control: Control | None = None
        self.lease_us = lease_us
        self.wait_share = 1.0  # of the wait for a silent site's lease; less is a switched-off rule
        self.crash_share = 0.0  # of the commits around which it dies
        self.plan_us: tuple[int, int] = (1_000, 400_000)
        self.policy = replace(POLICY, scale_from=0) if world.chance(SCALE_SHARE) else POLICY
        self.planner: Planner = LivePlanner()
        self.commit_us: tuple[int, int] = (100, 8_000)
        self.lives = 0
        self.plans = 0
        self._ticks = 0
        self._pending: list[Record] = []
        self._answers: list[Answer] = []
        self._committing = False
        self._planning = False
        self._polls: dict[SiteName, _Poll] = {}
        self._poll_count = 0

    # -- life and death --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A leader takes over: the epoch rises first, then the log is read."""
        if self.control is not None:
            return
        self.lives += 1
        self.planner = LivePlanner()
        self.log.epoch += 1
        self.world.say(f"control: epoch {self.log.epoch} takes over at event {len(self.log.records)}")
        leases = LeaseTable(self.lease_us, DRIFT_PPM)
        if self.wait_share < 1.0:
            leases.wait_us = int(leases.wait_us * self.wait_share)
        self.control = Control(self.log.load(), self.log.epoch, leases)
        self._queue(self.control.take_over("twin", self.machine.wall(), self.machine.boot()))
        self.world.after(TICK_US, self._tick, self.lives)

    def kill(self) -> None:
        """Control dies −9 with all that is not committed."""
        if self.control is None:
            return
        self.world.say("control: dies")
        self.control = None
        self._pending, self._answers, self._polls = [], [], {}
        self._committing = self._planning = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be committed."""
        return self.control is not None and not self._pending and not self._answers

    # -- group commit ----------------------------------------------------------------------------------------------

    def _queue(self, records: tuple[Record, ...], answer: Answer | None = None) -> None:
        """Commit records soon; answer when they, and all that were made before them, are durable."""
        self._pending += records
        if answer is not None:
            self._answers.append(answer)
        if not self._committing:
            self._committing = True
            self.world.after(self.world.between(*self.commit_us), self._commit, self.lives)
        for site in sorted(self._polls):  # woken early, they must still find only what is durable
            self._answer_poll(site)

    def _commit(self, life: int) -> None:
        if life != self.lives or self.control is None:
            return
        dies = self.world.between(1, 3) if self.world.chance(self.crash_share) else 0
        if dies == 1:  # before the append
            self.kill()
            return
        if self.world.trace is not None:
            for record in self._pending:
                self.world.say(f"log {record.seq}: {record.kind} {record.body}")
        self.log.append(self.control.epoch, self._pending)
        if self._pending and self.world.chance(0.02):
            self.log.checkpoint = (self.control.state.seq, state_bytes(self.control.state))
        answers, self._answers, self._pending = self._answers, [], []
        self._committing = False
        if dies == 2:  # after the append, before or amid the answers
            answers = answers[: self.world.between(0, len(answers))]
        for answer in answers:
            answer()
        for site in sorted(self._polls):
            self._answer_poll(site)
        if dies:
            self.kill()
            return
        if self.control.needs_plan:
            self._plan_soon()

    # -- planning --------------------------------------------------------------------------------------------------

    def _plan_soon(self) -> None:
        if not self._planning:
            self._planning = True
            self.world.after(PLAN_GAP_US, self._plan, self.lives)

    def _plan(self, life: int) -> None:
        if life != self.lives or self.control is None:
            return
        now = self.machine.wall()
        snapshot, queue = self.control.snapshot(now)
        if not queue:
            self._planning = False
            return
        self.plans += 1
        made = self.planner(snapshot, queue, now, self.policy)
        self.world.after(self.world.between(*self.plan_us), self._planned, life, made)

    def _planned(self, life: int, made: Plan) -> None:
        if life != self.lives or self.control is None:
            return
        self._planning = False
        now = self.machine.wall()
        self._queue(self.control.planned(made, now))
        if made.due is not None:
            self.world.after(made.due - now, self._due, life)

    def _due(self, life: int) -> None:
        if life == self.lives and self.control is not None:
            self.control.needs_plan = True
            self._plan_soon()

    def _tick(self, life: int) -> None:
        if life != self.lives or self.control is None:
            return
        records = self.control.tick(self.machine.wall(), self.machine.boot())
        self._ticks += 1
        if self._ticks % MOVE_TICKS == 0:
            records += self.control.migrate(self.machine.wall(), self.policy)
        if records:
            self._queue(records)
        if self.control.needs_plan:
            self._plan_soon()
        self.world.after(TICK_US, self._tick, life)

    # -- what comes in ---------------------------------------------------------------------------------------------

    def ask(self, request: r.Request, answer: Callable[[Refused | None], None]) -> None:
        """A person's request. No answer comes while control is down."""
        if self.control is None:
            return
        try:
            records = self.control.request(request, self.machine.wall())
        except Refused as refused:
            words = refused
            self._queue((), lambda: answer(words))
            return
        self._queue(records, lambda: answer(None))

    def hello(self, hello: Hello, answer: Callable[[Welcome | None], None]) -> None:
        """See `Exchange`."""
        if self.control is None:
            return
        try:
            records, welcome = self.control.hello(hello, self.machine.wall(), self.machine.boot())
        except Refused:
            self._queue((), lambda: answer(None))
            return
        self._queue(records, lambda: answer(welcome))

    def batch(self, site: SiteName, batch: Batch, answer: Callable[[Ack], None]) -> None:
        """See `Exchange`."""
        if self.control is None:
            return
        try:
            records, ack = self.control.reports(site, batch, self.machine.wall(), self.machine.boot())
        except Refused:
            return
        self._queue(records, lambda: answer(ack))

    def poll(self, site: SiteName, after: int, term: int, answer: Callable[[Commands], None]) -> None:
        """See `Exchange`. The newest poll of a site takes the place of the one before."""
        if self.control is None:
            return
        self._poll_count += 1
        self._polls[site] = _Poll(after, term, answer, self._poll_count)
        self._answer_poll(site)
        self.world.after(POLL_US, self._poll_over, site, self._poll_count)

    def _answer_poll(self, site: SiteName, *, anyway: bool = False) -> None:
        control, poll = self.control, self._polls[site]
        if control is None or site not in control.state.sites:
            return
        term = control.state.sites[site].term
        found = control.commands(site, poll.after, len(self.log.records)) if term == poll.term else ()
        if found or anyway:
            del self._polls[site]
            poll.answer(Commands(control.epoch, term, tuple(replace(n, text="{}") for n in found)))

    def _poll_over(self, site: SiteName, number: int) -> None:
        held = self._polls.get(site)
        if held is not None and held.number == number:
            self._answer_poll(site, anyway=True)
