"""The supervisor with real processes: how attempts start, end, are bounded, and what survives what."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from agent.desk import Desk, alive, until
from moyai.agent.messages import Again, Claim, Ended, Poke, Started, decode
from moyai.agent.output import read_output


def pid_in(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().strip())
    return int(path.read_text())


@pytest.mark.parametrize(
    ("script", "status", "first"),
    [
        ("true", 0, -1),
        ("exit 3", 3 << 8, 0),
        ("nosuchcommand", 127 << 8, 0),
        ("kill -9 $$", 9, 0),
        ("kill -11 $$", 11, 0),
    ],
)
def test_the_end_is_told_as_it_was(desk: Desk, script: str, status: int, first: int) -> None:
    desk.run("a.1", script)
    ended = desk.ended("a.1")
    assert (ended.cause, ended.ranks[0].status & ~128, ended.first) == ("exit", status, first)


def test_the_record_is_on_disk_before_the_agent_is_told(desk: Desk) -> None:
    desk.run("a.1", "echo out; exit 5")
    ended = desk.ended("a.1")
    assert decode((desk.directory / "attempts/a.1/exit.json").read_bytes()) == ended
    assert desk.output("a.1") == "out\n"
    assert ended.ranks[0].output_bytes == 4


def test_a_refused_claim_runs_nothing(desk: Desk) -> None:
    desk.grant = False
    desk.run("a.1", "touch ran")
    ended = desk.ended("a.1")
    assert (ended.cause, ended.detail, ended.ranks) == ("refused", "no", [])
    assert not (desk.directory / "attempts/a.1/ran").exists()


def test_a_lease_that_is_over_before_the_start_runs_nothing(desk: Desk) -> None:
    desk.left_us, desk.lease_us = 0, 1_000_000
    desk.run("a.1", "touch ran")
    assert desk.ended("a.1").cause == "refused"
    assert not (desk.directory / "attempts/a.1/ran").exists()


def test_output_keeps_its_begin_and_end_and_counts_what_is_left_out(desk: Desk) -> None:
    lines = 40_000
    desk.run("a.1", f"seq -f %09.0f {lines}", head_bytes=10_000, tail_bytes=20_000)
    ended = desk.ended("a.1")
    place = desk.directory / "attempts/a.1"
    total = lines * 10
    kept = sum(f.stat().st_size for f in place.iterdir() if f.name.startswith("output."))
    assert ended.ranks[0].output_bytes == total
    assert ended.ranks[0].left_out_bytes == total - kept
    assert 10_000 + 10_000 <= kept <= 30_000
    first = read_output(place, 0, 0, 1 << 20)
    assert (first.offset, first.data[:10], len(first.data), first.total) == (0, b"000000001\n", 10_000, total)
    rest, offset = b"", 10_000
    while not (piece := read_output(place, 0, offset, 1 << 20)).eof:
        rest, offset = rest + piece.data, piece.offset + len(piece.data)
    rest += piece.data
    assert rest.endswith(b"%09d\n" % lines)
    assert len(first.data) + len(rest) == kept


@pytest.mark.parametrize("left", ["setsid sleep 1000", "sleep 1000", "(setsid setsid sleep 1000)"])
def test_what_an_attempt_leaves_behind_is_killed(desk: Desk, left: str) -> None:
    desk.run("a.1", f"{left} & echo $! > pid; sleep 0.1; exit 0")
    assert desk.ended("a.1").first == -1
    assert not alive(pid_in(desk.directory / "attempts/a.1/pid"))


def test_a_setsid_child_dies_with_a_stopped_attempt(desk: Desk) -> None:
    desk.begin("a.1", "setsid bash -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done' & wait")
    pid = pid_in(desk.directory / "attempts/a.1/pid")
    desk.stop("a.1", grace_us=300_000)
    assert desk.ended("a.1").cause == "stop"
    assert not alive(pid)


def test_what_hides_from_the_end_of_its_attempt_dies_when_nothing_runs(desk: Desk) -> None:
    desk.run(
        "a.1", "setsid -f env -i bash -c 'echo $$ > pid; exec sleep 1000'; while [ ! -s pid ]; do sleep 0.05; done"
    )
    desk.ended("a.1")
    until(lambda: not alive(pid_in(desk.directory / "attempts/a.1/pid")))


def test_a_claim_is_made_again_when_asked(desk: Desk) -> None:
    answer, desk.say = desk.say, lambda message: None
    answer(desk.order("a.1", "true"))
    desk.wait(Claim, "a.1")
    desk.got.clear()
    desk.say = answer
    desk.say(Again("a.1"))
    desk.wait(Claim, "a.1")
    assert desk.ended("a.1").first == -1


def test_another_attempt_is_not_touched(desk: Desk) -> None:
    desk.begin("b.1", "setsid sleep 1000 & echo $! > pid; wait")
    other = pid_in(desk.directory / "attempts/b.1/pid")
    desk.run("a.1", "setsid sleep 1000 & exit 1")
    desk.ended("a.1")
    assert alive(other)


def test_a_child_has_its_grace_when_the_shell_around_it_dies(desk: Desk) -> None:
    program = "import os, signal, time\ndef f(*_):\n time.sleep(0.3); os.write(1, b'saved\\n'); raise SystemExit\nsignal.signal(15, f)\nprint('up', flush=True)\nwhile True: time.sleep(1)"
    desk.begin("a.1", f'python3 -c "{program}"; echo after', grace_us=20_000_000)
    until(lambda: "up" in desk.output("a.1"))
    desk.stop("a.1", grace_us=20_000_000)
    ended = desk.ended("a.1")
    assert (ended.cause, desk.output("a.1")) == ("stop", "up\nsaved\n")


def test_one_that_ignores_the_stop_signal_is_killed_after_its_grace(desk: Desk) -> None:
    desk.begin("a.1", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    until(lambda: "up" in desk.output("a.1"))
    desk.stop("a.1", grace_us=200_000)
    ended = desk.ended("a.1")
    assert (ended.cause, ended.ranks[0].status) == ("stop", 9)


def test_the_time_limit_stops_it(desk: Desk) -> None:
    desk.run("a.1", "sleep 1000", limit_us=300_000)
    ended = desk.ended("a.1")
    assert ended.cause == "limit"
    assert ended.run_us >= 300_000


def test_when_one_rank_of_a_gang_fails_the_rest_is_stopped(desk: Desk) -> None:
    desk.run("g.1", "if [ $MOYAI_RANK = 1 ]; then exit 7; fi; sleep 1000", ranks=3)
    ended = desk.ended("g.1")
    assert (ended.cause, ended.first, len(ended.ranks)) == ("exit", 1, 3)
    assert ended.ranks[1].status == 7 << 8
    assert [r.status for r in ended.ranks if r.rank != 1] == [15, 15]


def test_a_gang_whose_ranks_all_succeed_succeeds(desk: Desk) -> None:
    desk.run("g.1", "echo $MOYAI_RANK; sleep 0.$MOYAI_RANK", ranks=3)
    assert desk.ended("g.1").first == -1
    assert [desk.output("g.1", rank) for rank in range(3)] == ["0\n", "1\n", "2\n"]


def test_a_lease_that_is_not_renewed_ends_everything(desk: Desk) -> None:
    desk.left_us = desk.lease_us = 1_500_000
    desk.renews = False
    desk.begin(
        "a.1",
        "setsid bash -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 0.1; done' & trap '' TERM; while :; do sleep 0.1; done",
    )
    pid = pid_in(desk.directory / "attempts/a.1/pid")
    assert desk.ended("a.1").cause == "lease"
    assert not alive(pid)


def test_renewals_keep_it_alive(desk: Desk) -> None:
    desk.left_us = desk.lease_us = 2_500_000
    desk.run("a.1", "sleep 4")
    ended = desk.ended("a.1")
    assert (ended.cause, ended.first) == ("exit", -1)
    assert ended.run_us > 2_500_000


def test_without_an_agent_the_lease_ends_it_and_the_record_waits(desk: Desk) -> None:
    desk.left_us = desk.lease_us = 1_200_000
    desk.run("a.1", "sleep 1000")
    desk.started("a.1")
    desk.socket.close()
    record = desk.directory / "attempts/a.1/exit.json"
    until(record.exists)
    desk.connect()
    assert desk.state.known[0].phase == "ended"
    assert desk.ended("a.1").cause == "lease"


def test_an_agent_that_comes_back_finds_what_runs_and_unacknowledged_ends(desk: Desk) -> None:
    desk.run("a.1", "sleep 1000")
    desk.run("b.1", "exit 9")
    started, ended = desk.started("a.1"), desk.ended("b.1")
    desk.socket.close()
    desk.connect()
    assert {(k.attempt, k.phase) for k in desk.state.known} == {("a.1", "running"), ("b.1", "ended")}
    assert next(k for k in desk.state.known if k.attempt == "a.1").nonce == started.nonce
    assert desk.ended("b.1") == ended
    desk.forget("b.1")
    desk.socket.close()
    desk.connect()
    assert [k.attempt for k in desk.state.known] == ["a.1"]


def test_a_claim_that_was_not_answered_is_made_again_with_the_same_nonce(desk: Desk) -> None:
    answer, desk.say = desk.say, lambda message: None  # the agent dies before it answers
    answer(desk.order("a.1", "true"))
    first = desk.wait(Claim, "a.1")
    desk.say = answer
    desk.socket.close()
    desk.connect()
    assert desk.wait(Claim, "a.1") == first
    assert desk.ended("a.1").first == -1


def test_the_same_start_twice_runs_once(desk: Desk) -> None:
    order = desk.run("a.1", "echo x >> ran; sleep 0.3")
    desk.started("a.1")
    desk.say(order)
    desk.ended("a.1")
    desk.got.clear()
    desk.say(order)
    desk.ended("a.1")
    assert not [m for m in desk.got if isinstance(m, Started)]
    assert (desk.directory / "attempts/a.1/ran").read_text() == "x\n"


def test_a_stop_before_the_claim_means_that_it_never_starts(desk: Desk) -> None:
    desk.say(desk.order("a.1", "touch ran"))
    answer, desk.say = desk.say, lambda message: None
    desk.wait(Claim, "a.1")
    desk.say = answer
    desk.stop("a.1")
    ended = desk.ended("a.1")
    assert (ended.cause, ended.ranks) == ("stop", [])
    assert not (desk.directory / "attempts/a.1/ran").exists()


def test_a_checkpoint_signal_reaches_those_alone_that_handle_it(desk: Desk) -> None:
    program = "import signal, time\nsignal.signal(10, lambda *_: print('asked', flush=True))\nprint('up', flush=True)\nwhile True: time.sleep(0.1)"
    desk.begin("a.1", f'python3 -c "{program}"; echo after')
    until(lambda: "up" in desk.output("a.1"))
    desk.say(Poke("a.1", signal.SIGUSR1))
    until(lambda: "asked" in desk.output("a.1"))
    desk.stop("a.1")
    assert desk.ended("a.1").cause == "stop"


def test_a_killed_supervisor_takes_its_ranks_along(desk: Desk) -> None:
    desk.begin("a.1", "echo $$ > pid; exec sleep 1000")
    pid = pid_in(desk.directory / "attempts/a.1/pid")
    desk.process.kill()
    until(lambda: not alive(pid))


def test_told_to_leave_it_stops_what_runs_and_records_it(desk: Desk) -> None:
    desk.begin("a.1", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    until(lambda: "up" in desk.output("a.1"))
    desk.process.terminate()
    assert desk.process.wait(20) == 0
    record = decode((desk.directory / "attempts/a.1/exit.json").read_bytes())
    assert isinstance(record, Ended)
    assert record.cause == "shutdown"
    assert desk.output("a.1").endswith("bye\n")


def test_a_second_supervisor_in_the_same_directory_leaves(desk: Desk) -> None:
    from agent.desk import MAIN

    done = subprocess.run(["python3", "-I", "-S", str(MAIN), str(desk.directory)], check=False, timeout=20)
    assert done.returncode == 3


def test_a_shell_that_is_not_there_is_a_launch_failure(desk: Desk) -> None:
    desk.run("a.1", "", argv=["/nowhere/bash", "-c", "true"])
    ended = desk.ended("a.1")
    assert (ended.cause, ended.ranks) == ("launch", [])
    assert "/nowhere/bash" in ended.detail
    desk.run("b.1", "", cwd="/nowhere")
    assert "/nowhere" in desk.ended("b.1").detail


def test_more_memory_than_allowed_is_told_apart_from_a_kill(desk: Desk) -> None:
    if not desk.state.memory:
        pytest.skip("no memory cgroup can be made here")
    desk.run("a.1", "python3 -c 'x = bytearray(400 << 20)'", memory_bytes=64 << 20)
    ended = desk.ended("a.1")
    assert ended.ranks[0].out_of_memory
    desk.run("b.1", "kill -9 $$", memory_bytes=64 << 20)
    assert not desk.ended("b.1").ranks[0].out_of_memory


@pytest.fixture
def full_disk(tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tiny disk")
    place = tmp_path / "tiny"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tiny", str(place)], check=False, capture_output=True
    ).returncode:
        pytest.skip("tmpfs can't be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk_at_the_launch_is_said(desk: Desk, full_disk: Path) -> None:
    with contextlib.suppress(OSError):
        (full_disk / "filler").write_bytes(b"x" * (1 << 20))
    desk.run("a.1", "true", directory=str(full_disk))
    ended = desk.ended("a.1")
    assert ended.cause == "launch"
    assert "No space left" in ended.detail


def test_output_that_finds_no_room_is_left_out_and_the_end_is_still_recorded(desk: Desk, full_disk: Path) -> None:
    desk.run("a.1", "head -c 1000000 /dev/zero; exit 6", directory=str(full_disk))
    ended = desk.ended("a.1")
    assert ended.ranks[0].status == 6 << 8
    assert ended.ranks[0].output_bytes == 1_000_000
    kept = sum(f.stat().st_size for f in full_disk.iterdir() if f.name.startswith("output."))
    assert ended.ranks[0].left_out_bytes == 1_000_000 - kept
    assert decode((full_disk / "exit.json").read_bytes()) == ended


def test_it_is_small(desk: Desk) -> None:
    for number in range(30):
        desk.run(f"a{number}.1", "true")
    for number in range(30):
        desk.ended(f"a{number}.1")
    status = Path(f"/proc/{desk.state.pid}/status").read_text()
    assert int(status.split("VmRSS:")[1].split()[0]) < 20_000


def test_no_zombies_and_no_descriptors_are_left(desk: Desk) -> None:
    desk.run("w.1", "true")
    desk.ended("w.1")
    before = len(os.listdir(f"/proc/{desk.state.pid}/fd"))
    for number in range(20):
        desk.run(f"a{number}.1", "setsid sleep 1000 & (sleep 1000 &) ; exit 0", ranks=2)
    for number in range(20):
        desk.ended(f"a{number}.1")
        desk.forget(f"a{number}.1")
    time.sleep(0.1)
    until(lambda: not Path(f"/proc/{desk.state.pid}/task/{desk.state.pid}/children").read_text().split())
    assert len(os.listdir(f"/proc/{desk.state.pid}/fd")) == before
