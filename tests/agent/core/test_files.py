"""Files that a task leaves: told before its end, kept against a deletion that was asked for too early, always with room."""

from dataclasses import replace

from agent.core.shop import Shell, end, joined, launch, numbered
from moyai.agent.core.effects import DropObject, Limits
from moyai.model.commands import Drop
from moyai.model.events import AttemptEnded, FileStored, ReplicaDropped
from moyai.model.exchange import Ack
from moyai.model.ids import AttemptId, ManifestId, NodeName
from moyai.model.reasons import Code
from moyai.model.units import Boot, Instant

A1, AT, M = AttemptId("job.1"), Instant(5_000_000), ManifestId("m")


def running(limits: Limits | None = None) -> Shell:
    shell = joined(limits)
    shell.give(numbered(3, replace(launch("job.1"), files=("a", "b"))))
    answer, effects = shell.core.claim(A1, "n", 0, Boot(shell.now))
    assert answer.granted
    shell.do(effects)
    shell.do(shell.core.started(A1, AT, (NodeName("n0"),)))
    return shell


def store(shell: Shell, file: str, manifest: ManifestId = M) -> None:
    shell.do(shell.core.file_stored(A1, file, manifest, size_bytes=7, at=AT))


def bodies(shell: Shell, kind: type) -> list:
    return [r.body for r in shell.reports() if isinstance(r.body, kind)]


def test_files_are_told_once_and_before_the_end() -> None:
    shell = running()
    for file in ("a", "a", "b", "unknown"):
        store(shell, file)
    shell.do(shell.core.ended(A1, end(nonce="n"), AT))
    told = [r.body for r in shell.reports()]
    assert [type(b).__name__ for b in told] == ["AttemptStarted", "FileStored", "FileStored", "AttemptEnded"]
    assert [b.file for b in told if isinstance(b, FileStored)] == ["a", "b"]
    store(shell, "a")  # it isn't ours any more
    assert len(shell.reports()) == 4
    assert shell.core.hello().manifests == (M,)


def test_after_a_crash_they_are_told_again_and_held_still() -> None:
    shell = running()
    store(shell, "a")
    shell.crash()
    assert shell.core.hello().manifests == (M,)
    store(shell, "a")
    assert len(bodies(shell, FileStored)) == 2  # control takes it once in effect
    shell.do(shell.core.ended(A1, end(nonce="n"), AT))
    assert len(bodies(shell, AttemptEnded)) == 1


def test_a_launch_without_room_for_its_files_is_turned_away() -> None:
    shell = joined(Limits(reports=3, reserve=2))
    shell.give(numbered(3, replace(launch("job.1"), files=("a", "b"))))
    (ended,) = bodies(shell, AttemptEnded)
    assert ended.reason.code is Code.LAUNCH_FAILED


def test_room_is_given_back_with_the_end() -> None:
    shell = running(Limits(reports=8, reserve=2))
    store(shell, "a")
    shell.do(shell.core.ended(A1, end(nonce="n"), AT))
    shell.do(shell.core.ack(Ack(1, 100, True, 1), Boot(shell.now)))
    shell.give(numbered(9, replace(launch("job.2"), files=("a", "b", "c", "d", "e"))))
    assert AttemptId("job.2") in shell.core.attempts


def test_a_deletion_asked_for_before_control_knew_of_the_file_is_passed_over() -> None:
    shell = running()
    store(shell, "a")
    number = shell.reports()[-1].number
    assert not shell.give(numbered(5, Drop(M, number - 1)))
    shell.do(shell.core.ack(Ack(1, number, True, 1_000_000), Boot(shell.now)))
    assert not shell.give(numbered(6, Drop(M, number - 1)))  # a copy that went astray
    shell.crash()
    shell.welcome()
    assert not shell.give(numbered(7, Drop(M, number - 1)))
    shell.do(shell.core.ended(A1, end(nonce="n"), AT))
    assert [e for e in shell.give(numbered(8, Drop(M, number))) if isinstance(e, DropObject)]


def test_a_file_with_the_content_of_what_is_being_deleted_must_wait() -> None:
    shell = running()
    other = ManifestId("other")
    shell.do(shell.core.have(other))
    shell.give(numbered(5, Drop(other, 0)))
    assert shell.core.going(other)
    assert not shell.core.going(M)
    shell.do(shell.core.dropped(other, AT))
    assert not shell.core.going(other)
    assert bodies(shell, ReplicaDropped) == [ReplicaDropped(other, shell.core.meta.site)]
