"""Starts and ends of a real server: crashes, damage, and everything that must be refused in words."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from moyai.store.export import verify_directory
from moyai.store.log import Log
from server.process import Server


def damage(root: Path, seq: int) -> None:
    """Change a byte in the middle of an event."""
    with sqlite3.connect(root / "log.db") as db:
        (data,) = db.execute("SELECT data FROM event WHERE seq = ?", (seq,)).fetchone()
        changed = bytearray(data)
        changed[len(changed) // 2] ^= 1
        db.execute("UPDATE event SET data = ? WHERE seq = ?", (bytes(changed), seq))
    db.close()


def test_what_was_answered_is_there_after_a_kill(server: Server):
    server.start()
    jobs = [server.submit("true", f"key-{i}", priority=i % 3)["job"] for i in range(30)]
    epoch = server.get("/v1/health")["epoch"]
    server.kill()
    server.start()
    health = server.get("/v1/health")
    assert health["epoch"] == epoch + 1
    assert {j["job"] for j in server.get("/v1/jobs", limit=100)["jobs"]} == set(jobs)
    assert server.submit("true", "key-7", priority=1) == {
        "job": jobs[7],
        "seq": server.submit("true", "key-7", priority=1)["seq"],
        "created": False,
    }
    for job in jobs:
        assert server.ended(job)["state"] == "succeeded"
    assert server.stop() == 0
    assert verify_directory(server.root).bad_seq is None


def test_a_clean_stop_leaves_a_checkpoint_and_no_process(server: Server):
    server.start(joined=True)
    job = server.submit()["job"]
    before = server.ended(job)
    seq = server.get("/v1/health")["seq"]
    assert server.stop() == 0
    assert not (server.root / "server.json").exists()
    assert not (server.root / "control.sock").exists()
    with Log.open(server.root / "log.db", read_only=True) as log:
        checkpoint = next(iter(log.checkpoints()))
        assert checkpoint.seq == log.head.seq >= seq
    server.start(joined=True)
    after = server.get(f"/v1/jobs/{job}")
    assert {k: v for k, v in after.items() if k != "wait_us"} == {k: v for k, v in before.items() if k != "wait_us"}


def test_work_goes_on_while_the_server_is_away_and_is_found_again(server: Server):
    server.start(joined=True)
    job = server.submit("sleep 1.5; echo done")["job"]
    server.until(lambda: server.get(f"/v1/jobs/{job}")["started_at"])
    server.stop()
    server.start(joined=True)
    view = server.ended(job)
    assert view["state"] == "succeeded"
    assert len(view["attempts"]) == 1
    assert server.client.get(f"/v1/jobs/{job}/output", params={"wait": 5}).text == "done\n"


def test_an_agent_that_outlived_its_server_is_taken_up_by_the_next(server: Server):
    server.start(joined=True)
    pid = server.get("/v1/sites")[0]["agent_pid"]
    server.kill()
    server.start(joined=True)
    assert server.get("/v1/sites")[0]["agent_pid"] == pid
    os.kill(pid, signal.SIGKILL)
    server.until(lambda: server.get("/v1/sites")[0]["agent_pid"] not in (pid, None))
    assert server.ended(server.submit()["job"])["state"] == "succeeded"


def test_an_agent_is_not_started_again_where_its_directory_is_gone(server: Server):
    server.start(joined=True)
    site = server.root / "sites" / "local"
    (status,) = server.get("/v1/sites")
    for pid in server.pids():
        if pid != server.process.pid:  # type: ignore[union-attr]
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(site)
    server.until(lambda: "directory is gone" in server.get("/v1/sites")[0]["problem"])
    time.sleep(1.3)
    assert not site.exists()
    assert server.get("/v1/sites")[0]["agent_pid"] is None
    assert server.post("/v1/sites/local/dead")["state"] == "lost"
    assert status["agent_pid"] is not None


def test_a_dead_site_is_left_alone(server: Server):
    server.start(joined=True)
    pid = server.get("/v1/sites")[0]["agent_pid"]
    os.kill(pid, signal.SIGKILL)
    assert server.post("/v1/sites/local/dead")["state"] == "lost"
    time.sleep(1.5)
    assert "declared dead" in server.get("/v1/sites")[0]["problem"]


def test_a_damaged_event_is_named_and_the_server_does_not_start(server: Server):
    server.start(joined=True)
    server.ended(server.submit()["job"])
    server.stop()
    damage(server.root, 4)  # it lies before the checkpoint of the clean stop
    code, said = server.fails("--local")
    assert code == 2
    assert "event 4" in said
    assert "moyai log export" in said
    assert "--until 3" in said
    assert "Traceback" not in said
    assert server.pids() == [] or not _wait_gone(server)


def _wait_gone(server: Server) -> bool:
    """Whether what was started on the way ended too."""
    end = time.monotonic() + 8
    while [p for p in server.pids() if b"moyai.agent\0" in Path(f"/proc/{p}/cmdline").read_bytes()]:
        if time.monotonic() > end:
            return True
        time.sleep(0.05)
    return False


def test_a_second_server_is_refused(server: Server):
    server.start()
    second = Server(server.root)
    code, said = second.fails()
    assert code == 2
    assert "another server has this directory" in said
    assert str(server.process.pid) in said  # type: ignore[union-attr]
    assert "moyai down" in said
    assert server.answers()


def test_a_port_that_is_taken_is_said(server: Server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = server.fails("--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "can't be used" in said
    assert "--port" in said
    assert server.fails("--port", "70000")[0] == 2


def test_a_bad_fleet_is_said_with_its_lines(server: Server):
    fleet = server.root / "bad.yaml"
    fleet.write_text("sites:\n  - name: Tokyo\n    jurisdiction: XX-\n    latitude: 100\n")
    code, said = server.fails("--fleet", str(fleet))
    assert code == 2
    assert "bad.yaml:2" in said
    assert "bad.yaml:4" in said
    assert "Traceback" not in said
    assert not (server.root / "fleet.yaml").exists()
    code, said = server.fails("--fleet", str(server.root / "none.yaml"))
    assert code == 2
    assert "no such file" in said


def test_a_directory_that_can_not_be_used_is_said(server: Server):
    server.root.joinpath("file").write_text("")
    code, said = Server(server.root / "file").fails()
    assert code == 2
    assert "can't be used" in said
    (server.root / "log.db").write_text("this is no database, and long enough to be told apart from one" * 20)
    code, said = server.fails()
    assert code == 2
    assert "log.db" in said
    assert "Traceback" not in said


def test_loose_keys_are_refused(server: Server):
    (server.root / "keys").mkdir(mode=0o755)
    (server.root / "keys").chmod(0o755)
    code, said = server.fails()
    assert code == 2
    assert "chmod 700" in said


def test_a_long_directory_has_its_socket_elsewhere(server: Server):
    deep = server.root / ("x" * 90)
    made = Server(deep)
    try:
        made.start()
        path = Path(json.loads((deep / "server.json").read_bytes())["socket"])
        assert len(os.fsencode(path)) <= 100
        assert path.parent == Path(f"/tmp/moyai-{os.geteuid()}")
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert made.get("/v1/health")["directory"] == str(deep)
    finally:
        made.destroy()
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_start_is_a_quiet_end(server: Server, number: int):
    for pause in (0.0, 0.1, 0.3, 0.5, 0.8):
        (server.root / "lock").unlink(missing_ok=True)
        process = server.spawn("--local")
        server.until((server.root / "lock").exists)
        time.sleep(pause)
        process.send_signal(number)
        out, said = process.communicate(timeout=20)
        assert "Traceback" not in said
        assert process.returncode in (0, 128 + number)  # 0: it had started
        assert out == ""
    server.start(joined=True)
    assert server.ended(server.submit()["job"])["state"] == "succeeded"


def test_a_local_server_leaves_when_it_is_of_no_use(server: Server):
    server.start("--idle-exit", "1", joined=True)
    job = server.submit("sleep 2")["job"]
    time.sleep(1.6)
    assert server.process is not None
    assert server.process.poll() is None  # something runs
    server.ended(job)
    server.forget()
    assert server.process.wait(timeout=10) == 0
    end = time.monotonic() + 5
    while any(b"moyai.agent\0" in _line(p) for p in server.pids()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(b"moyai.agent\0" in _line(p) for p in server.pids())


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_full_disk_makes_it_read_only_until_there_is_room(server: Server):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(server.root)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        server.start(joined=True)
        stored = [server.submit("true", f"before-{i}")["job"] for i in range(3)]
        for job in stored:
            server.ended(job)
        ballast = server.root / "ballast"
        with pytest.raises(OSError, match="No space"):  # noqa: SIM117
            with ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
        last = None
        for i in range(200):  # SQLite's files have some room of their own first
            last = server.client.post(
                "/v1/jobs",
                json={"spec": {"name": "full", "run": "x" * 2_000}},
                headers={"Idempotency-Key": f"full-{i}"},
            )
            if last.status_code != 200:
                break
        assert last is not None
        assert last.status_code == 503
        assert last.json()["error"]["code"] == "read-only"
        assert "full" in last.json()["error"]["message"]
        health = server.get("/v1/health")
        assert health["mode"] == "full"
        assert health["sites_joined"] == 1
        assert server.get(f"/v1/jobs/{stored[0]}")["state"] == "succeeded"
        ballast.unlink()
        server.until(lambda: server.get("/v1/health")["mode"] == "writing")
        job = server.submit("true", "after")["job"]
        assert server.ended(job)["state"] == "succeeded"
        assert server.stop() == 0
        assert verify_directory(server.root).bad_seq is None
    finally:
        server.destroy()
        subprocess.run(["umount", "-l", str(server.root)], capture_output=True)
