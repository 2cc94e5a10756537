"""Three sites, real agents, real jobs."""

import os
import signal
from pathlib import Path

from moyai.store.export import verify_directory
from server.process import Server


def test_a_job_goes_all_the_way(three: Server):
    job = three.submit("echo $MOYAI_SITE $MOYAI_JOB", expect="5s")["job"]
    view = three.ended(job)
    assert view["state"] == "succeeded"
    assert view["exit_code"] == 0
    site = view["site"]
    assert three.client.get(f"/v1/jobs/{job}/output", params={"wait": 5}).text == f"{site} {job}\n"
    why = three.get(f"/v1/jobs/{job}/why")
    assert {c["site"] for c in why["considered"]} == {"ishikari", "tokyo", "fukuoka"}
    assert next(c for c in why["considered"] if c["reason"]["code"] == "chosen")["site"] == site
    assert len(three.get("/v1/links")) == 3


def test_residency_decides_where(three: Server):
    job = three.submit("echo here", residency=["JP-13"])["job"]
    assert three.ended(job)["site"] == "tokyo"
    rules = {c["site"]: c["reason"]["code"] for c in three.get(f"/v1/jobs/{job}/why")["considered"]}
    assert rules == {"tokyo": "chosen", "ishikari": "residency", "fukuoka": "residency"}


def test_a_kill_of_the_server_in_the_middle_loses_nothing(three: Server):
    jobs = [three.submit(f"sleep 0.{i}; echo {i}", f"k{i}", expect="1s")["job"] for i in range(1, 7)]
    three.until(lambda: any(three.get(f"/v1/jobs/{j}")["started_at"] for j in jobs))
    three.kill()
    three.start(joined=True)
    for i, job in enumerate(jobs, 1):
        view = three.ended(job)
        assert view["state"] == "succeeded"
        assert len(view["attempts"]) == 1, view["attempts"]
        assert three.client.get(f"/v1/jobs/{job}/output", params={"wait": 5}).text == f"{i}\n"
    assert three.stop() == 0
    assert verify_directory(three.root).bad_seq is None


def test_the_loss_of_a_site_moves_its_job(three: Server):
    job = three.submit("sleep 4; echo moved", expect="10s")["job"]
    three.until(lambda: three.get(f"/v1/jobs/{job}")["started_at"])
    site = three.get(f"/v1/jobs/{job}")["site"]
    place = os.fsencode(three.root / "sites" / site)
    for pid in three.pids():
        try:
            if place in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        except OSError:
            continue
    (three.root / "sites" / site).rename(three.root / "gone")
    view = three.ended(job, 60)
    assert view["state"] == "succeeded"
    assert [a["state"] for a in view["attempts"]] == ["lost", "succeeded"]
    assert view["attempts"][1]["site"] != site
    assert next(s for s in three.get("/v1/sites") if s["site"] == site)["state"] == "lost"


def test_many_jobs_at_once(three: Server):
    jobs = [three.submit("true", expect="1s")["job"] for _ in range(60)]
    for job in jobs:
        assert three.ended(job)["state"] == "succeeded"
    health = three.get("/v1/health")
    assert health["jobs_pending"] == health["attempts_running"] == 0
    assert health["plan_problem"] == ""


def test_a_job_whose_text_was_erased_ends_and_says_so(three: Server):
    for site in ("ishikari", "tokyo", "fukuoka"):
        three.post(f"/v1/sites/{site}/drain")
    job = three.submit("echo secret")["job"]
    three.kill()
    (three.root / "keys" / "tenant-local.key").unlink()
    three.start(joined=True)
    for site in ("ishikari", "tokyo", "fukuoka"):
        three.post(f"/v1/sites/{site}/resume")
    view = three.ended(job)
    assert view["state"] == "failed"
    assert view["reason"]["code"] == "erased"
