"""The agent's core, rule by rule."""

import pytest

from agent.core.shop import LEASE_US, SITE, Shell, end, fetch, joined, launch, numbered, stop
from moyai.agent.core.core import AgentCore
from moyai.agent.core.effects import (
    FOREVER,
    AdoptTree,
    DropObject,
    FetchBlob,
    FetchObject,
    Forget,
    Limits,
    Observe,
    Start,
    StopEngine,
)
from moyai.agent.core.journal import ForeignJournal
from moyai.model.commands import Adopt, Drop
from moyai.model.events import (
    AttemptEnded,
    AttemptStarted,
    CheckpointCompleted,
    DatasetAdopted,
    DatasetRejected,
    Outcome,
    ReplicaDropped,
    TransferEnded,
)
from moyai.model.exchange import Ack
from moyai.model.ids import AttemptId, BlobId, DatasetName, ManifestId, NodeName, SiteName, TextRef, TransferId
from moyai.model.reasons import Code, Reason
from moyai.model.units import Boot, Instant
from moyai.model.workload import OnPartition

A1 = AttemptId("job.1")
AT = Instant(5_000_000)


def claim(shell: Shell, nonce: str = "n", rank: int = 0, attempt: AttemptId = A1) -> bool:
    answer, effects = shell.core.claim(attempt, nonce, rank, Boot(shell.now))
    shell.do(effects)
    return answer.granted


def running() -> Shell:
    shell = joined()
    shell.give(numbered(3, launch("job.1")))
    assert claim(shell)
    shell.do(shell.core.started(A1, AT, (NodeName("n0"),)))
    return shell


def bodies(shell: Shell) -> list[object]:
    return [r.body for r in shell.reports()]


def test_a_launch_that_needs_nothing_starts_at_once_and_is_reported_through_its_life():
    shell = joined()
    acts = shell.give(numbered(3, launch("job.1")))
    assert [type(a) for a in acts] == [Start]
    assert claim(shell)
    shell.do(shell.core.started(A1, AT, (NodeName("n0"),)))
    acts = shell.do(shell.core.ended(A1, end(nonce="n", run_us=3_600_000_000), Instant(9_000_000)))
    assert acts == [Forget(A1)]
    started, ended = bodies(shell)
    assert started == AttemptStarted(A1, AT, (NodeName("n0"),))
    assert isinstance(ended, AttemptEnded)
    assert (ended.outcome, ended.started_at, ended.energy_j, ended.energy_modelled) == (
        Outcome.SUCCEEDED,
        AT,
        1_296_000,
        True,
    )
    assert [k for k in shell.journal if k.split("/")[0] in ("launch", "mark")] == []


def test_measured_energy_is_not_replaced_by_a_model():
    shell = running()
    measured = end(nonce="n", run_us=3_600_000_000)
    shell.do(shell.core.ended(A1, measured.__class__(Outcome.SUCCEEDED, Reason(Code.EXIT), energy_j=7, nonce="n"), AT))
    ended = bodies(shell)[-1]
    assert isinstance(ended, AttemptEnded)
    assert (ended.energy_j, ended.energy_modelled) == (7, False)


def test_a_launch_waits_for_all_it_needs():
    shell = joined()
    acts = shell.give(
        numbered(3, launch("job.1", inputs=["data"], restore="ckpt", workdir="blob")),
        numbered(4, fetch("t1", "data")),
        numbered(5, fetch("t2", "ckpt")),
    )
    assert [type(a) for a in acts] == [FetchBlob, FetchObject, FetchObject]
    assert shell.do(shell.core.have(BlobId("blob"))) == []
    told = {"moved_bytes": 10, "took_us": 1, "detail": "", "at": AT}
    assert shell.do(shell.core.fetched(TransferId("t1"), stored=True, **told)) == []
    assert not shell.core.ready(A1)
    acts = shell.do(shell.core.fetched(TransferId("t2"), stored=True, **told))
    assert [type(a) for a in acts] == [Start]
    assert shell.core.ready(A1)
    assert bodies(shell) == [
        TransferEnded(TransferId("t1"), True, 10, 1, ""),
        TransferEnded(TransferId("t2"), True, 10, 1, ""),
    ]
    # Told again, it says nothing new; after a crash it asks for the archive again and starts when welcomed.
    assert shell.core.fetched(TransferId("t2"), stored=True, **told) == []
    assert shell.crash() == [FetchBlob(BlobId("blob"))]
    assert shell.welcome() == []
    assert [type(a) for a in shell.do(shell.core.have(BlobId("blob")))] == [Start]


def test_the_first_nonce_holds_the_claim_and_each_rank_of_it_is_granted_once():
    shell = joined()
    shell.give(numbered(3, launch("job.1", ranks=2)))
    assert claim(shell, "a", 0)
    assert not claim(shell, "a", 0)
    assert not claim(shell, "b", 0)
    assert not claim(shell, "b", 1)
    shell.crash()
    assert not claim(shell, "a", 1), "no lease before the welcome"
    shell.welcome()
    assert not claim(shell, "b", 1)
    assert claim(shell, "a", 1)
    assert not claim(shell, "a", 1)
    assert not claim(shell, "a", 2), "no such rank"
    assert not claim(shell, "a", -1)


def test_a_claim_is_refused_with_its_reason():
    shell = joined()
    answer, effects = shell.core.claim(A1, "n", 0, Boot(shell.now))
    assert (answer.granted, answer.lease_left_us, effects) == (False, 0, [])
    assert answer.reason is not None
    assert answer.reason.code is Code.START_REFUSED
    shell.give(numbered(3, launch("job.1", inputs=["missing"])))
    assert not claim(shell), "its inputs do not lie here"
    shell.give(numbered(4, launch("job.2")))
    assert not claim(shell, nonce="", attempt=AttemptId("job.2"))
    shell.now += LEASE_US
    assert not claim(shell, attempt=AttemptId("job.2")), "the lease is over"


def test_the_lease_runs_from_the_sending_of_its_renewal():
    shell = running()
    sent = Boot(shell.now + 4_000_000)
    shell.do(shell.core.ack(Ack(1, 0, renewed=True, lease_us=LEASE_US), sent))
    assert shell.core.lease_left_us(Boot(sent + 1)) == LEASE_US - 1
    assert shell.core.lease_left_us(Boot(sent + LEASE_US)) == 0
    # An answer to an earlier batch that comes later doesn't shorten it; one that renews nothing doesn't lengthen it.
    shell.do(shell.core.ack(Ack(1, 0, renewed=True, lease_us=LEASE_US), Boot(shell.now)))
    shell.do(shell.core.ack(Ack(1, 0, renewed=False, lease_us=LEASE_US), Boot(sent + 9_000_000)))
    assert shell.core.lease_left_us(sent, A1) == LEASE_US


def test_who_waits_out_a_partition_has_no_end_of_its_lease():
    shell = joined()
    shell.give(numbered(3, launch("job.1", on_partition=OnPartition.WAIT)))
    answer, _ = shell.core.claim(A1, "n", 0, Boot(shell.now))
    assert answer.lease_left_us == FOREVER
    assert shell.core.lease_left_us(Boot(shell.now + 10 * LEASE_US), A1) == FOREVER
    assert shell.core.lease_left_us(Boot(shell.now), AttemptId("other.1")) == 0


def test_a_claimed_attempt_is_observed_after_a_crash_and_never_started_again():
    shell = running()
    assert shell.crash() == [Observe(A1)]
    assert shell.welcome() == []
    assert shell.give(numbered(3, launch("job.1")), numbered(7, launch("job.1"))) == []
    assert shell.core.started(A1, AT, ()) == [], "its start is reported once"


def test_a_stop_before_the_claim_ends_it_for_good():
    shell = joined()
    shell.give(numbered(3, launch("job.1", inputs=["x"])), numbered(4, launch("job.2")))
    acts = shell.give(numbered(5, stop("job.1")), numbered(6, stop("job.2")))
    assert [type(a) for a in acts] == [Forget, StopEngine]
    assert not claim(shell, attempt=AttemptId("job.2"))
    assert [(b.attempt, b.outcome) for b in bodies(shell) if isinstance(b, AttemptEnded)] == [
        ("job.1", Outcome.STOPPED),
        ("job.2", Outcome.STOPPED),
    ]
    # The engine's own word on it afterwards is no second end.
    refused = end(Outcome.FAILED, Code.START_REFUSED)
    assert shell.do(shell.core.ended(AttemptId("job.2"), refused, AT)) == [Forget(AttemptId("job.2"))]
    assert len(shell.reports()) == 2


def test_a_stop_that_comes_without_its_launch_says_the_end():
    shell = joined()
    shell.give(numbered(5, stop("job.1", Code.PREEMPTED)))
    shell.give(numbered(5, stop("job.1")), numbered(6, stop("job.1")))
    [ended] = bodies(shell)
    assert isinstance(ended, AttemptEnded)
    assert (ended.outcome, ended.reason.code, ended.started_at) == (Outcome.STOPPED, Code.PREEMPTED, 0)
    assert shell.give(numbered(4, launch("job.1"))) == [], "its launch comes late and is dropped"


def test_every_end_but_a_success_after_a_stop_is_that_stop():
    shell = running()
    acts = shell.give(numbered(5, stop("job.1")))
    assert acts == [StopEngine(A1, 1_000_000, "SIGTERM", Reason(Code.CANCELLED))]
    assert shell.crash() == [Observe(A1), *acts], "asked again after a crash"
    shell.do(shell.core.ended(A1, end(Outcome.FAILED, Code.SIGNAL, nonce="n"), AT))
    ended = bodies(shell)[-1]
    assert isinstance(ended, AttemptEnded)
    assert (ended.outcome, ended.reason.code) == (Outcome.STOPPED, Code.CANCELLED)

    shell = running()
    shell.give(numbered(5, stop("job.1")))
    shell.do(shell.core.ended(A1, end(nonce="n"), AT))
    ended = bodies(shell)[-1]
    assert isinstance(ended, AttemptEnded)
    assert ended.outcome is Outcome.SUCCEEDED, "it won the race"


def test_the_end_of_a_second_start_is_not_the_end():
    shell = running()
    assert shell.core.ended(A1, end(Outcome.FAILED, Code.START_REFUSED), AT) == []
    assert shell.core.ended(A1, end(Outcome.FAILED, Code.START_REFUSED, nonce="other"), AT) == []
    shell.do(shell.core.ended(A1, end(nonce="n"), AT))
    assert [type(b) for b in bodies(shell)] == [AttemptStarted, AttemptEnded]


def test_what_the_engine_forgot_ends_when_no_guard_of_it_can_be_alive():
    shell = running()
    shell.give(numbered(4, launch("w.1", on_partition=OnPartition.WAIT)), numbered(5, launch("u.1")))
    assert claim(shell, attempt=AttemptId("w.1"))
    assert [type(e) for e in shell.core.forgotten(AttemptId("u.1"), Boot(shell.now))] == [Start]
    assert shell.core.forgotten(AttemptId("x.1"), Boot(shell.now)) == [Forget(AttemptId("x.1"))]
    until = shell.now + LEASE_US + LEASE_US // 64
    for _ in range(2):
        assert shell.core.forgotten(A1, Boot(shell.now)) == []
        assert shell.core.forgotten(AttemptId("w.1"), Boot(shell.now)) == []
        assert shell.core.lease_left_us(Boot(shell.now), A1) == 0
        shell.now += 1
    assert not claim(shell, rank=1)
    assert shell.core.tick(Boot(until), AT) == []
    shell.do(shell.core.tick(Boot(until + 1), AT))
    ended = bodies(shell)[-1]
    assert isinstance(ended, AttemptEnded)
    assert (ended.attempt, ended.outcome, ended.reason.code) == (A1, Outcome.FAILED, Code.ENGINE_FORGOT)
    assert shell.core.tick(Boot(10**12), AT) == []
    shell.crash()
    assert shell.core.forgotten(AttemptId("w.1"), Boot(shell.now)) == []
    assert sorted(shell.core.attempts) == ["u.1", "w.1"]


def test_without_a_guard_a_start_that_was_seen_counts_as_claimed_and_nothing_is_presumed():
    shell = Shell(capabilities=())
    shell.welcome()
    shell.give(numbered(3, launch("job.1")))
    shell.do(shell.core.started(A1, AT, ()))
    assert not claim(shell)
    assert shell.crash() == [Observe(A1)]
    assert shell.welcome() == [], "it is not started again"
    assert shell.core.lease_left_us(Boot(10**12), A1) == FOREVER
    shell.do(shell.core.forgotten(A1, Boot(shell.now)))
    assert shell.core.tick(Boot(10**12), AT) == []
    # An operator's word reached control, which disowns it: now it may be said to be over.
    shell.welcome(term=2, unknown=(A1,))
    shell.do(shell.core.forgotten(A1, Boot(shell.now)))
    shell.do(shell.core.tick(Boot(10**12), AT))
    ended = bodies(shell)[-1]
    assert isinstance(ended, AttemptEnded)
    assert (ended.outcome, ended.reason.code) == (Outcome.STOPPED, Code.SITE_LOST)

    shell = Shell(capabilities=())
    shell.welcome()
    shell.give(numbered(3, launch("job.1")))
    shell.do(shell.core.started(A1, AT, ()))
    shell.do(shell.core.ended(A1, end(nonce="any"), AT))
    assert [type(b) for b in bodies(shell)] == [AttemptStarted, AttemptEnded]


def test_a_launch_that_the_engine_refuses_is_an_end():
    shell = joined()
    shell.give(numbered(3, launch("job.1")))
    acts = shell.do(shell.core.launch_failed(A1, "no space left", AT))
    assert [type(a) for a in acts] == [StopEngine]
    [ended] = bodies(shell)
    assert isinstance(ended, AttemptEnded)
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, Reason(Code.LAUNCH_FAILED, detail="no space left"))
    assert running().core.launch_failed(A1, "late", AT) == []


def test_what_control_does_not_know_is_stopped_and_older_epochs_and_terms_are_refused():
    shell = running()
    shell.give(numbered(4, launch("job.2", inputs=["x"])))
    shell.core.hello()
    before = dict(shell.journal)
    assert shell.give(numbered(9, launch("job.3"))) == [], "nothing is taken while a hello is open"
    acts = shell.welcome(term=2, epoch=3, unknown=("job.1", "job.2", "gone.1"))
    assert [type(a) for a in acts] == [StopEngine, Forget]
    assert before != shell.journal
    state = dict(shell.journal)
    assert shell.give(numbered(9, launch("job.3")), term=2, epoch=2) == []
    assert shell.give(numbered(9, launch("job.3")), term=1, epoch=3) == []
    assert shell.do(shell.core.ack(Ack(2, 99, renewed=True, lease_us=LEASE_US), Boot(10**12))) == []
    assert shell.welcome(term=1, epoch=3) == []
    assert shell.welcome(term=2, epoch=2) == []
    assert shell.journal == state
    assert shell.core.lease_left_us(Boot(10**12)) == 0
    shell.crash()
    assert shell.welcome(term=2, epoch=2) == [], "the epoch outlives a crash"
    assert not shell.core.welcomed


def test_what_came_after_the_hello_in_an_old_term_does_not_survive_the_new_one():
    shell = joined()
    shell.core.hello()
    # A late copy of the old welcome opens the door again, and an old command slips in.
    shell.do(shell.core.welcome(_welcome(1), Boot(shell.now), AT))
    shell.give(numbered(4, launch("job.1")))
    acts = shell.do(shell.core.welcome(_welcome(2), Boot(shell.now), AT))
    assert [type(a) for a in acts] == [StopEngine]
    assert not claim(shell)


def _welcome(term: int):
    from moyai.model.exchange import Welcome

    return Welcome(term, 1, LEASE_US, 0)


def test_reports_are_numbered_kept_and_dropped_when_acknowledged():
    shell = running()
    shell.do(shell.core.ended(A1, end(nonce="n"), AT))
    assert [r.number for r in shell.reports()] == [1, 2]
    assert [r.number for r in shell.core.batch(1).reports] == [1]
    shell.do(shell.core.ack(Ack(1, 1, renewed=True, lease_us=LEASE_US), Boot(shell.now)))
    shell.do(shell.core.ack(Ack(1, 0, renewed=True, lease_us=LEASE_US), Boot(shell.now)))
    assert [r.number for r in shell.reports()] == [2]
    shell.crash()
    assert [r.number for r in shell.reports()] == [2]
    shell.welcome(through=2)
    assert shell.reports() == ()
    shell.crash()
    shell.welcome(through=2)
    shell.give(numbered(9, stop("job.9")))
    assert [r.number for r in shell.reports()] == [3], "numbers are never used twice"


def test_checkpoints_are_reported_once_and_hold_their_manifest():
    shell = running()
    told = {"size_bytes": 7, "run_us": 20, "at": AT}
    shell.do(shell.core.checkpoint(A1, "step-1", ManifestId("m1"), **told))
    shell.crash()
    assert shell.core.checkpoint(A1, "step-1", ManifestId("m1"), **told) == []
    assert bodies(shell)[-1] == CheckpointCompleted(A1, "step-1", ManifestId("m1"), 7, 20)
    assert shell.core.hello().manifests == ("m1",)
    assert shell.core.checkpoint(AttemptId("other.1"), "s", ManifestId("m2"), **told) == []


def test_checkpoint_names_are_bounded():
    shell = Shell(Limits(checkpoints=3))
    shell.welcome()
    shell.give(numbered(3, launch("job.1")))
    claim(shell)
    for step in range(9):
        shell.do(shell.core.checkpoint(A1, f"s{step}", ManifestId(f"m{step}"), size_bytes=1, run_us=step, at=AT))
    assert sum(k.startswith("checkpoint/") for k in shell.journal) == 3
    shell.do(shell.core.ended(A1, end(nonce="n"), AT))
    assert sum(k.startswith("checkpoint/") for k in shell.journal) == 0


def test_datasets_are_adopted_or_rejected_once():
    shell = joined()
    adopt = Adopt(DatasetName("corpus"), 3, TextRef("r"))
    assert shell.give(numbered(3, adopt)) == [AdoptTree(adopt, '{"run": "true"}')]
    assert shell.crash() == [AdoptTree(adopt, '{"run": "true"}')]
    told = {"size_bytes": 9, "detail": "", "at": AT}
    shell.do(shell.core.adopted(DatasetName("corpus"), 3, ManifestId("m"), **told))
    assert shell.core.adopted(DatasetName("corpus"), 3, ManifestId("m"), **told) == []
    assert bodies(shell) == [DatasetAdopted(DatasetName("corpus"), 3, SITE, ManifestId("m"), 9)]
    assert shell.core.hello().manifests == ("m",)
    shell.welcome()
    shell.give(numbered(4, Adopt(DatasetName("other"), 1, TextRef("r"))))
    shell.do(shell.core.adopted(DatasetName("other"), 1, None, size_bytes=0, detail="no such path", at=AT))
    assert bodies(shell)[-1] == DatasetRejected(DatasetName("other"), 1, SITE, "no such path")


def test_a_deletion_waits_for_those_who_read_and_later_ones_wait_for_it():
    shell = joined()
    m = ManifestId("m")
    shell.do(shell.core.have(m))
    shell.give(numbered(3, launch("job.1", inputs=["m"])))
    assert claim(shell)
    assert shell.give(numbered(4, Drop(m))) == [], "job.1 reads it"
    assert shell.give(numbered(5, launch("job.2", inputs=["m"])), numbered(6, fetch("t", "m"))) == []
    assert shell.crash() == [Observe(A1)]
    shell.welcome()
    assert shell.do(shell.core.ended(A1, end(nonce="n"), AT)) == [DropObject(m), Forget(A1)]
    assert shell.crash() == [DropObject(m)]
    shell.welcome()
    assert shell.do(shell.core.dropped(m, AT)) == [FetchObject(fetch("t", "m"))]
    assert shell.core.dropped(m, AT) == []
    assert ReplicaDropped(m, SITE) in bodies(shell)
    acts = shell.do(shell.core.fetched(TransferId("t"), stored=True, moved_bytes=1, took_us=1, detail="", at=AT))
    assert [type(a) for a in acts] == [Start]


def test_a_full_journal_refuses_new_work_and_keeps_every_fact():
    shell = Shell(Limits(reports=4, reserve=2, attempts=8))
    shell.welcome()
    launches = [numbered(n, launch(f"j{n}.1")) for n in range(1, 9)]
    shell.give(*launches)
    # Two launches owe four reports; two more are refused in the reserve; the fifth is not even taken.
    assert shell.core.cursor == 4
    assert sorted(shell.core.attempts) == ["j1.1", "j2.1"]
    refusals = [b for b in bodies(shell) if isinstance(b, AttemptEnded)]
    assert [(b.attempt, b.reason.code) for b in refusals] == [
        ("j3.1", Code.LAUNCH_FAILED),
        ("j4.1", Code.LAUNCH_FAILED),
    ]
    assert shell.give(numbered(20, stop("unknown.1"))) == []
    assert shell.core.cursor == 4
    assert shell.core.checkpoint(AttemptId("j1.1"), "s", ManifestId("m"), size_bytes=1, run_us=1, at=AT) == []
    shell.do(shell.core.ack(Ack(1, 2, renewed=True, lease_us=LEASE_US), Boot(shell.now)))
    shell.give(*launches)
    assert shell.core.cursor == 6
    for name in ("j1.1", "j2.1"):
        assert claim(shell, attempt=AttemptId(name))
        shell.do(shell.core.started(AttemptId(name), AT, ()))
        shell.do(shell.core.ended(AttemptId(name), end(nonce="n"), AT))
    assert shell.core.waiting == 6


def test_no_more_attempts_than_the_bound():
    shell = Shell(Limits(attempts=2))
    shell.welcome()
    shell.give(*(numbered(n, launch(f"j{n}.1")) for n in range(1, 5)))
    assert len(shell.core.attempts) == 2
    assert len(shell.reports()) == 2


def test_capacity_is_reported_where_it_changes():
    shell = joined()
    from moyai.model.ids import FlavorName
    from moyai.model.site import Flavor

    flavors = (Flavor(FlavorName("f"), 2, 4, 8),)
    shell.do(shell.core.capacity(flavors, AT))
    assert shell.core.capacity(flavors, AT) == []
    assert len(shell.reports()) == 1


def test_a_journal_of_another_site_or_kind_is_refused():
    shell = joined()
    with pytest.raises(ForeignJournal, match="belongs to site 'tokyo'"):
        AgentCore.restore(SiteName("osaka"), shell.journal, "i")
    with pytest.raises(ForeignJournal, match="no head"):
        AgentCore.restore(SITE, {"held/m": b"1"}, "i")
    with pytest.raises(ForeignJournal, match="of no known kind"):
        AgentCore.restore(SITE, {**shell.journal, "future/x": b"1"}, "i")
    with pytest.raises(ForeignJournal, match="can't be read"):
        AgentCore.restore(SITE, {**shell.journal, "mark/x": b"{"}, "i")


def test_the_incarnation_is_the_journals():
    shell = joined()
    first = shell.core.hello().incarnation
    shell.crash()
    assert shell.core.hello().incarnation == first
    shell.journal.clear()
    shell.crash()
    assert shell.core.hello().incarnation != first
