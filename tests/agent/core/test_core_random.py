"""Any order of messages, claims, engine words and crashes: what must hold always."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.shop import LEASE_US, Shell, end, fetch, launch, numbered, stop
from moyai.agent.core.effects import FetchBlob, FetchObject, Limits, Start, StopEngine
from moyai.model.events import AttemptEnded, AttemptStarted, Outcome, TransferEnded
from moyai.model.exchange import Ack, Commands, Report, Welcome
from moyai.model.ids import AttemptId, BlobId
from moyai.model.reasons import Code
from moyai.model.units import Boot, Instant

RANKS = 2
JOBS = 4
LIMITS = Limits(reports=5, reserve=2, attempts=3, checkpoints=2)

# What control says, once and for all. It is delivered in any pieces, again and again, in any order.
SCRIPT = (
    numbered(2, launch("a.1", ranks=RANKS)),
    numbered(3, fetch("t1", "m")),
    numbered(5, launch("b.1", ranks=RANKS, inputs=["m"])),
    numbered(6, stop("a.1")),
    numbered(8, launch("c.1", ranks=RANKS, workdir="w")),
    numbered(9, stop("d.1")),
    numbered(11, launch("e.1", ranks=RANKS)),
    numbered(12, launch("f.1", ranks=RANKS)),
    numbered(14, stop("c.1")),
)
ATTEMPTS = tuple(AttemptId(f"{n}.1") for n in "abcdef")
LAUNCHED = {n.command.attempt for n in SCRIPT if n.kind == "Launch"}  # type: ignore[union-attr]


class World:
    """The core in its shell, and a memory of all that was ever promised."""

    def __init__(self) -> None:
        self.shell = Shell(LIMITS)
        self.grants: dict[AttemptId, dict[int, str]] = {}
        self.facts: dict[int, Report] = {}
        self.through = 0  # reports that are in the log
        self.settled: set[tuple[type, str]] = set()  # ends among them
        self.check()

    def act(self, effects: list, crash: int) -> bool:
        """Act on effects; 1: crash before they are durable, 2: after, before anything else. Says if they held."""
        if crash == 1:
            self.shell.crash()
            return False
        acts = self.shell.do(effects)
        for effect in acts:
            if isinstance(effect, Start):
                assert not self.grants.get(effect.launch.attempt), "a claimed attempt was started again"
        if crash == 2:
            for effect in self.shell.crash():
                assert not isinstance(effect, Start)
        return crash == 0

    def epoch(self, b: int) -> int:
        """Of whom a message comes: now and then of a leader that is none any more."""
        now = self.shell.core.meta.epoch
        return max(1, now - 1) if b == 3 else now

    def step(self, op: str, a: int, b: int, crash: int) -> None:
        """One thing happens."""
        core, shell = self.shell.core, self.shell
        ours = sorted(core.attempts) if a >= 2 else []
        attempt = ours[a % len(ours)] if ours else ATTEMPTS[a % len(ATTEMPTS)]
        at = Instant(shell.now)
        match op:
            case "tick":
                shell.now += 1 + (b == 5) * LEASE_US
            case "hello":
                core.hello()
            case "welcome":
                term = core.meta.term + (a == 8) - (a == 0)
                w = Welcome(max(1, term), self.epoch(b) + (b == 5), LEASE_US, self.through)
                older = w.epoch < core.meta.epoch or w.term < core.meta.term
                effects = core.welcome(w, Boot(shell.now - b), at)
                assert not (older and effects)
                self.act(effects, crash)
            case "ack":
                through = min(self.through, a)
                epoch = self.epoch(b)
                effects = core.ack(Ack(epoch, through, renewed=b % 2 == 0, lease_us=LEASE_US), Boot(shell.now - a))
                self.act(effects, crash)
            case "commands":
                # Control answers with all that is above the cursor it was asked for, or was once asked for.
                news = next((i for i, n in enumerate(SCRIPT) if n.number > core.cursor), len(SCRIPT))
                first = max(0, news - a % 3)
                epoch = self.epoch(b)
                effects = core.commands(Commands(epoch, core.meta.term, SCRIPT[first : news + 1 + b]), at)
                assert not (epoch < core.meta.epoch and effects)
                self.act(effects, crash)
            case "claim":
                nonce = f"n{b % 2}"
                answer, effects = core.claim(attempt, nonce, b // 2 % (RANKS + 1), Boot(shell.now))
                if answer.granted:
                    assert 0 < answer.lease_left_us <= LEASE_US
                if self.act(effects, crash) and answer.granted:
                    taken = self.grants.setdefault(attempt, {})
                    rank = b // 2 % (RANKS + 1)
                    assert rank not in taken, "a rank was granted twice"
                    assert set(taken.values()) <= {nonce}, "two starts were granted"
                    assert rank < RANKS
                    assert all(
                        r.body.attempt != attempt for r in self.facts.values() if isinstance(r.body, AttemptEnded)
                    ), "granted after the end"
                    taken[rank] = nonce
            case "started":
                self.act(core.started(attempt, at, ()), crash)
            case "ended":
                outcome = (Outcome.SUCCEEDED, Outcome.FAILED)[b % 2]
                self.act(core.ended(attempt, end(outcome, nonce=f"n{b % 2}"), at), crash)
            case "failed":
                self.act(core.launch_failed(attempt, "no", at), crash)
            case "forgotten":
                self.act(core.forgotten(attempt, Boot(shell.now)), crash)
            case "over":
                self.act(core.tick(Boot(shell.now), at), crash)
            case "fetched":
                told = {"moved_bytes": 1, "took_us": 1, "detail": ""}
                self.act(core.fetched(fetch("t1", "m").transfer, stored=True, at=at, **told), crash)
            case "blob":
                self.act(core.have(BlobId("w")), crash)
            case "log":
                self.through = max(self.through, min(a, max(self.facts, default=0)))
            case "crash":
                self.act([], 2)
        self.check()

    def check(self) -> None:
        """What holds after everything."""
        core = self.shell.core
        reports = {r.number: r for r in self.shell.reports()}
        for number, report in reports.items():
            assert self.facts.setdefault(number, report) == report, "a number was used twice"
        for number in self.facts:
            assert number in reports or number <= self.through, "a report was lost"
        said: set[tuple[type, str]] = set()
        for report in sorted(self.facts.values(), key=lambda r: r.number):
            fact = (type(report.body), getattr(report.body, "attempt", ""))
            # A stop that comes after the end was acknowledged says that end again; control drops it.
            assert fact not in said or fact in self.settled, "a fact was reported twice"
            said.add(fact)
            if report.number <= self.through and isinstance(report.body, AttemptEnded):
                self.settled.add(fact)
        assert len(reports) <= LIMITS.reports + LIMITS.reserve
        assert len(core.attempts) <= LIMITS.attempts
        again = type(core).restore(core.meta.site, dict(self.shell.journal), "x", limits=LIMITS)
        assert again.meta == core.meta
        assert again.hello().attempts == tuple(sorted(core.attempts))
        assert again.hello().manifests == tuple(sorted(core.objects.held))
        assert again.batch(99).reports == core.batch(99).reports
        for attempt, held in core.attempts.items():
            assert again.attempts[attempt].mark == held.mark

    def settle(self) -> None:
        """Let everything come to its end, with the engine doing as it is told."""
        for _ in range(12):
            self.shell.acts.clear()
            self.shell.crash()
            core, shell = self.shell.core, self.shell
            at = Instant(shell.now)
            self.through = max(self.facts, default=0)
            shell.core.hello()
            shell.do(core.welcome(Welcome(9, 9, LEASE_US, self.through), Boot(shell.now), at))
            shell.do(core.commands(Commands(9, 9, SCRIPT), at))
            for effect in list(shell.acts):
                match effect:
                    case FetchBlob():
                        shell.do(core.have(effect.blob))
                    case FetchObject():
                        t = effect.fetch.transfer
                        shell.do(core.fetched(t, stored=True, moved_bytes=1, took_us=1, detail="", at=at))
                    case StopEngine():
                        shell.do(core.ended(effect.attempt, end(Outcome.FAILED, Code.SIGNAL), at))
                    case _:
                        pass
            for effect in list(shell.acts):
                if isinstance(effect, Start) and effect.launch.attempt in core.attempts:
                    answer, effects = core.claim(effect.launch.attempt, "last", 0, Boot(shell.now))
                    shell.do(effects)
                    assert answer.granted
            for attempt in list(core.attempts):
                if core.attempts[attempt].claimed:
                    shell.do(core.ended(attempt, end(), at))
            self.check()
        ended = {r.body.attempt for r in self.facts.values() if isinstance(r.body, AttemptEnded)}
        assert ended == {*LAUNCHED, "d.1"}, "an attempt never came to its end"
        assert sum(isinstance(r.body, TransferEnded) for r in self.facts.values()) == 1
        assert self.shell.core.attempts == {}
        kinds = {k.split("/")[0] for k in self.shell.journal}
        assert kinds <= {"meta", "report", "held"}


OPS = (
    *("commands",) * 4,
    *("claim",) * 8,
    *("welcome",) * 4,
    *("ack", "log", "started", "ended", "tick", "fetched", "blob", "failed", "hello", "crash"),
    *("forgotten", "over"),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(OPS), st.integers(0, 8), st.integers(0, 5), st.sampled_from((*(0,) * 10, 1, 2))),
    min_size=25,
    max_size=80,
)


@settings(max_examples=250, deadline=None)
@given(STEPS)
def test_no_order_of_events_breaks_a_promise(steps: list[tuple[str, int, int, int]]) -> None:
    world = World()
    world.step("welcome", 0, 0, 0)
    world.step("commands", 0, 0, 0)
    for step in steps:
        world.step(*step)
    world.settle()


def test_the_world_reaches_what_it_is_there_to_check() -> None:
    """The random worlds above do start, claim, report and refuse; else they would prove nothing."""
    world = World()
    for op, a, b in (("welcome", 0, 0), ("commands", 0, 0), ("claim", 0, 0), ("claim", 0, 2), ("started", 0, 0)):
        world.step(op, a, b, 0)
    assert world.grants == {"a.1": {0: "n0", 1: "n0"}}
    assert [type(r.body) for r in world.facts.values()] == [AttemptStarted]
    world.settle()
