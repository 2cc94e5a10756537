"""A control plane looked at from outside: a real one, and what is really broken about it."""

import os
import signal
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from moyai.agent.doctor.check import Check, Verdict
from moyai.model.codec import encode
from moyai.server.doctor import check_control, check_health, check_log
from moyai.server.layout import Layout
from server.process import Server


@pytest.fixture(autouse=True)
def in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "en")


def by_name(checks: Sequence[Check]) -> dict[str, Check]:
    found = {check.name: check for check in checks}
    assert all(bool(check.mend) is (check.verdict is not Verdict.OK) for check in checks)
    return found


def wrong(checks: Sequence[Check]) -> set[str]:
    return {name for name, check in by_name(checks).items() if check.verdict is Verdict.BAD}


def test_a_fleet_at_work(three: Server) -> None:
    found = by_name(check_control(three.root))
    assert not wrong(list(found.values()))
    assert set(found) >= {"directory", "disk", "server", "wall-clock", "log", "site:tokyo", "agent:tokyo"}
    assert "journal:fukuoka" in found
    assert "3 sites" in found["server"].what


def test_a_clock_that_is_wrong(three: Server) -> None:
    import time

    assert wrong(check_control(three.root, now_s=time.time() + 3_600)) == {"wall-clock"}


def test_no_control_plane(tmp_path: Path) -> None:
    assert by_name(check_control(tmp_path / "gone"))["directory"].verdict is Verdict.WARN
    tmp_path.chmod(0o700)
    assert by_name(check_control(tmp_path))["server"].verdict is Verdict.WARN


def test_a_server_that_was_killed(server: Server) -> None:
    server.start()
    server.kill()
    assert "server" in wrong(check_control(server.root))


def test_a_site_whose_agent_is_gone(three: Server) -> None:
    agent = int((three.root / "sites" / "tokyo" / "agent.pid").read_text())
    os.kill(agent, signal.SIGSTOP)
    try:
        three.until(lambda: any(s["site"] == "tokyo" and s["state"] == "lost" for s in three.get("/v1/sites")))
        found = wrong(check_control(three.root))
    finally:
        os.kill(agent, signal.SIGCONT)
    assert found == {"site:tokyo", "agent:tokyo"}


def test_words_that_no_server_wrote(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "server.json").write_text("{}")
    assert wrong(check_control(tmp_path)) == {"server"}


def test_a_damaged_log(server: Server) -> None:
    server.start()
    job = server.submit("true")["job"]
    server.ended(job)
    server.stop()
    log = Layout(server.root).log
    assert check_log(str(log)).verdict is Verdict.OK
    with sqlite3.connect(log) as db:
        db.execute("UPDATE event SET data = X'7b7d' WHERE seq = 3")
    found = by_name(check_control(server.root))["log"]
    assert (found.verdict, "is damaged at event 3" in found.what) == (Verdict.BAD, True)


def test_no_log_and_no_database(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"this is no database, and long enough to be looked at" * 100)
    assert check_log(str(tmp_path / "log.db")).verdict is Verdict.BAD
    assert check_log(str(tmp_path / "gone.db")).verdict is Verdict.BAD
    assert check_log("postgresql://nobody:secret@127.0.0.1:1/none").verdict is Verdict.BAD
    assert "secret" not in check_log("postgresql://nobody:secret@127.0.0.1:1/none").what
    assert check_log("mongodb://somewhere/else").verdict is Verdict.BAD


@pytest.mark.parametrize(
    ("mode", "verdict", "said"),
    [
        ("full", Verdict.BAD, "can store nothing: no space"),
        ("away", Verdict.BAD, "can't reach the database of its log: no space"),
        ("broken", Verdict.BAD, "takes no requests (broken): no space"),
        ("writing", Verdict.WARN, "the planner fails: ValueError"),
    ],
)
def test_a_server_in_trouble(shared: Server, mode: str, verdict: Verdict, said: str) -> None:
    from moyai.model.codec import decode
    from moyai.model.views import Health

    told = shared.get("/v1/health") | {"mode": mode, "problem": "no space", "plan_problem": "ValueError"}
    found = check_health(decode(encode(told), Health))
    assert (found.verdict, said in found.what) == (verdict, True)
