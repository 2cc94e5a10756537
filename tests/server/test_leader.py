"""Two control planes on one real PostgreSQL: killed, stopped, cut off, ended; one leads, nothing is lost or doubled."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from moyai.store.export import verify
from moyai.store.log import Log
from server.pair import Pair, pair_of, wait_for
from server.process import Server
from store.pg import Postgres, running


@pytest.fixture(scope="module")
def pg() -> Iterator[Postgres]:
    """A PostgreSQL server of its own."""
    with running() as server:
        yield server


@pytest.fixture
def pair(pg: Postgres) -> Iterator[Pair]:
    """Two control planes without any agent of another machine."""
    with pair_of(pg) as made:
        yield made


def answered(server: Server, method: str, path: str, body: object = None) -> httpx.Response | None:
    """What a server answers, or None where it hangs up."""
    try:
        return server.client.request(method, path, json=body, timeout=8)
    except httpx.TransportError:
        server.forget()
        return None


def test_a_killed_leader_is_followed_by_the_other_and_the_work_goes_on(pg: Postgres, tmp_path: Path):
    with pair_of(pg, ("tokyo", "osaka"), lease="15s") as pair:
        a, b = pair.start(0), pair.start(1)
        assert (pair.mode(a), pair.mode(b)) == ("writing", "standby")
        pair.start_agents(a)
        marks = tmp_path / "marks"
        marks.mkdir()
        run = f"echo begun >> {marks}/$MOYAI_ATTEMPT; sleep {{}}; echo done"
        long = [a.submit(run.format(7), f"long-{i}")["job"] for i in range(3)]
        short = [a.submit(run.format(0), f"short-{i}")["job"] for i in range(5)]
        wait_for(lambda: all(a.get(f"/v1/jobs/{j}")["started_at"] for j in long))
        waiting = [a.submit(run.format(0), f"late-{i}")["job"] for i in range(5)]
        before = pair.events(a)
        a.kill()
        took = pair.until_leads(b)
        after = pair.events(b)
        assert after[: len(before)] == before
        jobs = [*long, *short, *waiting]
        # The same key again, as somebody sends it who never heard of the first answer.
        assert b.submit(run.format(0), "late-0")["job"] == waiting[0]
        for job in jobs:
            view = b.ended(job)
            assert view["state"] == "succeeded"
            assert len(view["attempts"]) == 1
        assert sorted(p.read_text() for p in marks.iterdir()) == ["begun\n"] * len(jobs)
        assert b.client.get(f"/v1/jobs/{long[0]}/output", params={"wait": 5}).text == "done\n"
        assert b.get("/v1/health")["epoch"] == 2
        assert took < 20, took
        assert b.stop() == 0
        with Log.open(pair.url, read_only=True) as log:
            assert verify(log).events == log.head.seq


def test_a_standby_says_who_leads_and_does_nothing_else(pair: Pair):
    a, b = pair.start(0), pair.start(1)
    health = b.get("/v1/health")
    assert health["mode"] == "standby"
    assert str(a.root) in health["problem"]
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("POST", "/v1/exchange/here/hello"), ("GET", "/")):
        answer = answered(b, method, path, {})
        assert answer is not None
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "standby"
        assert str(a.root) in answer.json()["error"]["message"]
        assert answer.headers["retry-after"] == "1"
    a.submit("true", "x")
    wait_for(lambda: b.get("/v1/health")["seq"] >= a.get("/v1/health")["seq"])
    assert b.get("/v1/health")["jobs"] == 1
    assert b.stop() == 0
    assert a.answers()


def test_a_leader_that_ends_hands_over_and_may_come_back(pair: Pair):
    a, b = pair.start(0), pair.start(1)
    job = a.submit("true", "before")["job"]
    a.stop()
    pair.until_leads(b)
    assert b.get(f"/v1/jobs/{job}")["job"] == job
    pair.start(0)
    assert pair.mode(a) == "standby"
    b.stop()
    pair.until_leads(a)
    assert a.get("/v1/health")["epoch"] == 3


def test_a_leader_that_was_stopped_wakes_and_leads_no_more(pair: Pair):
    a, b = pair.start(0), pair.start(1)
    a.until(lambda: a.get("/v1/health")["sites_joined"] == 1)
    (site,) = a.get("/v1/sites")
    joined = next(e["body"] for e in pair.events(a) if e["kind"] == "SiteJoined")
    renewal = {"incarnation": joined["incarnation"], "term": joined["term"], "reports": []}
    taken = answered(a, "POST", "/v1/exchange/here/events", renewal)
    assert taken is not None
    assert taken.json()["renewed"]
    assert site["agent_pid"] is not None
    assert a.process is not None
    os.kill(site["agent_pid"], signal.SIGKILL)
    a.process.send_signal(signal.SIGSTOP)
    asked = [
        httpx.Client(transport=httpx.HTTPTransport(uds=str(a.root / "control.sock")), timeout=30) for _ in range(2)
    ]
    pair.until_leads(b)
    told = b.submit("true", "while-it-slept")["job"]
    head = b.get("/v1/health")["seq"]
    a.process.send_signal(signal.SIGCONT)
    answers: list[tuple[int, str]] = []
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for client, (path, body) in zip(
            asked,
            (("/v1/exchange/here/events", renewal), ("/v1/jobs", {"spec": {"name": "stale", "run": "true"}})),
            strict=True,
        ):
            try:
                answer = client.post(f"http://control{path}", json=body)
            except httpx.TransportError:
                continue
            answers.append((answer.status_code, answer.json()["error"]["code"]))
        time.sleep(0.05)
    for client in asked:
        client.close()
    assert answers
    assert set(answers) <= {(503, "standby"), (503, "stopping"), (503, "read-only")}
    wait_for(lambda: pair.mode(a) == "standby")
    events = pair.events(b)
    assert {e["epoch"] for e in events[head:]} <= {2}
    assert [j["job"] for j in b.get("/v1/jobs")["jobs"]] == [told]


def test_a_database_that_goes_away_and_comes_back_ends_nobody(pair: Pair, pg: Postgres):
    a, b = pair.start(0), pair.start(1)
    kept = a.submit("true", "kept")["job"]
    pg.stop("immediate")
    try:
        wait_for(lambda: pair.mode(a) in ("standby", "away"))
        refused = answered(a, "POST", "/v1/jobs", {"spec": {"name": "refused", "run": "true"}})
        assert refused is None or refused.status_code == 503
        time.sleep(4)  # longer than the lease
        assert a.process is not None
        assert b.process is not None
        assert (a.process.poll(), b.process.poll()) == (None, None)
    finally:
        pg.start()
    wait_for(lambda: sorted((pair.mode(a), pair.mode(b))) == ["standby", "writing"])
    leader = a if pair.mode(a) == "writing" else b
    assert leader.get(f"/v1/jobs/{kept}")["job"] == kept
    leader.submit("true", "after")
    with Log.open(pair.url, read_only=True) as log:
        assert verify(log).events == log.head.seq


def test_connections_that_are_killed_do_not_depose_a_leader(pair: Pair, pg: Postgres):
    a = pair.start(0)
    name = pair.url.rpartition("/")[2]
    for i in range(40):
        pg.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        answer = answered(a, "POST", "/v1/jobs", {"spec": {"name": f"job{i}", "run": "true"}})
        assert answer is not None
        assert answer.status_code == 200, answer.text
    assert a.get("/v1/health")["epoch"] == 1
    assert a.get("/v1/health")["jobs"] == 40


def test_other_keys_are_refused_in_words(pair: Pair):
    a = pair.start(0)
    a.submit("true", "x")
    b = pair.servers[1]
    code, said = b.fails("--store", pair.url)
    assert code == 2
    assert "is not the signing key" in said
    assert "--keys" in said
    (pair.keys / "tenant-local.key").rename(pair.root / "away")
    code, said = b.fails("--store", pair.url, "--keys", str(pair.keys))
    assert code == 2
    assert "has no key of tenant local" in said
    assert "Traceback" not in said


def test_blobs_are_there_after_a_fail_over(pair: Pair):
    from blake3 import blake3

    a, b = pair.start(0), pair.start(1)
    data = os.urandom(3_000_000)
    name = blake3(data).hexdigest()
    assert a.client.put(f"/v1/blobs/{name}", content=data).status_code == 200
    assert a.client.put(f"/v1/blobs/{name}", content=data).status_code == 200
    a.stop()
    pair.until_leads(b)
    assert not (b.root / "blobs" / name).exists()
    assert b.client.get(f"/v1/blobs/{name}").content == data
    assert b.client.get(f"/v1/blobs/{'0' * 64}").status_code == 404


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("postgresql://moyai@127.0.0.1:1/x", "the database can't be reached"),
        ("mysql://h/x", "no such store"),
        ("/tmp/file.db", "a file is no store that control planes share"),
    ],
)
def test_a_store_that_can_not_be_used_is_said(server: Server, store: str, said: str):
    code, words = server.fails("--store", store)
    assert code == 2
    assert said in words
    assert "Traceback" not in words
