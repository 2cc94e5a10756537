"""The API of a real server, over its Unix socket and over loopback TCP."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from blake3 import blake3

from server.process import Server

KEY_COUNT = iter(range(1_000_000))


def key() -> str:
    return f"key-{os.getpid()}-{next(KEY_COUNT)}"


def error_of(answer: httpx.Response) -> dict[str, str]:
    """The error in an answer."""
    assert answer.status_code >= 400
    error = answer.json()["error"]
    assert error["code"]
    assert error["message"]
    return error


# -- jobs


def test_the_same_key_is_the_same_job_and_another_body_is_a_conflict(shared: Server):
    mine = key()
    first = shared.submit("true", mine, env={"A": "1"})
    again = shared.submit("true", mine, env={"A": "1"})
    assert first["created"]
    assert not again["created"]
    assert (first["job"], first["seq"]) == (again["job"], again["seq"])
    for other in ({"run": "false"}, {"run": "true", "env": {"A": "2"}}, {"run": "true", "priority": 3}):
        said = shared.submit(**{"env": {"A": "1"}, **other}, key=mine, status=409)["error"]
        assert mine in said["message"]
    elsewhere = shared.post("/v1/jobs", {"spec": {"name": "test", "run": "true"}, "project": "other"}, mine)
    assert elsewhere["created"]


def test_without_a_key_each_submission_is_its_own(shared: Server):
    assert shared.submit()["job"] != shared.submit()["job"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "no JSON"),
        (b"[]", "object"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "nested"),
        (b"{}", "spec: is missing"),
        (b'{"spec": 3}', "mapping"),
        (b'{"spec": {"name": "a", "run": "true"}, "tennant": "x"}', "tenant"),
        (b'{"spec": {"name": "a\\nb", "run": "true"}}', "name"),
        (b'{"spec": {"name": "a", "run": "true", "resources": {"accelerators": "H100:0"}}}', "asks for none"),
        (b'{"spec": {"name": "a", "run": "true", "resources": {"memory": "80"}}}', "memory"),
        (b'{"spec": {"name": "a", "run": "true", "deadline": "2020-01-01T00:00Z"}}', "past"),
        (b'{"spec": {"name": "a", "run": "true", "residency": ["AQ"]}}', "excludes every site"),
        (b'{"spec": {"name": "a", "run": "true", "data": [{"dataset": "none"}]}}', "no dataset 'none'"),
        (b'{"spec": {"name": "a", "run": "true", "resources": {"cpus": 5000}}}', "no site has a node"),
        (b'{"spec": {"name": "a", "run": "true"}, "tenant": "A B"}', "tenant"),
        (b'{"spec": {"name": "a", "run": "true", "workdir": "."}}', "did not come along"),
        (b'{"spec": {"name": "a", "run": "true", "workdir": "."}, "workdir": "' + b"0" * 64 + b'"}', "no blob"),
        (b'{"spec": {"name": "a", "run": "true"}, "workdir_bytes": -1}', "workdir_bytes"),
    ],
)
def test_a_bad_submission_is_refused_in_words(shared: Server, body: bytes, words: str):
    answer = shared.client.post("/v1/jobs", content=body)
    assert answer.status_code in (400, 422)
    said = error_of(answer)
    assert words in said["message"] + said.get("hint", "")


def test_all_that_is_wrong_is_said_at_once(shared: Server):
    answer = shared.client.post("/v1/jobs", json={"spec": {"name": "A", "nodes": 0, "colour": "red"}})
    problems = error_of(answer)["problems"]
    assert {p["key"] for p in problems} == {"name", "nodes", "colour", "run"}  # type: ignore[index]


@pytest.mark.parametrize("bad", ["", "two words", "x" * 129, "ü".encode().decode("latin-1")])
def test_a_bad_key_is_refused(shared: Server, bad: str):
    answer = shared.client.post("/v1/jobs", json={}, headers={"Idempotency-Key": bad.encode("latin-1")})
    assert answer.status_code in (400, 422)


def test_jobs_are_listed_newest_first_page_by_page(shared: Server):
    names = [shared.submit()["job"] for _ in range(5)]
    page = shared.get("/v1/jobs", limit=2)
    assert [j["job"] for j in page["jobs"]] == names[:2:-1]
    rest = shared.get("/v1/jobs", limit=3, before=page["before"])
    assert [j["job"] for j in rest["jobs"]] == names[2::-1]
    assert shared.client.get("/v1/jobs", params={"state": "pending,odd"}).status_code == 400
    assert shared.client.get("/v1/jobs", params={"before": "none"}).status_code == 404
    assert shared.client.get("/v1/jobs", params={"limit": 0}).status_code == 422
    found = shared.get("/v1/jobs", state="succeeded,failed,cancelled,pending,active,cancelling", limit=1000)
    assert set(names) <= {j["job"] for j in found["jobs"]}


def test_a_job_runs_and_tells_all(shared: Server):
    job = shared.submit("echo out; echo err >&2; exit 3", expect="1s")["job"]
    view = shared.ended(job)
    assert view["state"] == "failed"
    assert view["exit_code"] == 3
    assert view["attempts"][0]["state"] == "failed"
    output = shared.client.get(f"/v1/jobs/{job}/output", params={"wait": 5})
    assert output.status_code == 200
    assert output.text == "out\nerr\n"
    assert output.headers["x-moyai-eof"] == "1"
    assert output.headers["x-moyai-attempt"] == f"{job}.1"
    part = shared.client.get(f"/v1/jobs/{job}/output", params={"offset": 2, "limit": 3, "attempt": "1"})
    assert part.text == "t\ne"
    why = shared.get(f"/v1/jobs/{job}/why")
    assert why["reason"]["code"] == "exit"
    assert [c["site"] for c in why["considered"]] == ["local"]
    assert shared.client.get(f"/v1/jobs/{job}/output", params={"attempt": "7"}).status_code == 404
    assert shared.client.get(f"/v1/jobs/{job}/output", params={"rank": 1}).status_code == 404


def test_output_can_be_waited_for(shared: Server):
    job = shared.submit("sleep 0.3; echo late; sleep 0.2; echo last")["job"]
    first = shared.client.get(f"/v1/jobs/{job}/output", params={"wait": 20})
    assert first.text.startswith("late\n")
    rest = shared.client.get(f"/v1/jobs/{job}/output", params={"wait": 20, "offset": len(first.content)})
    assert (first.text + rest.text) == "late\nlast\n"
    end = shared.client.get(f"/v1/jobs/{job}/output", params={"wait": 20, "offset": 10})
    assert end.text == ""
    assert end.headers["x-moyai-eof"] == "1"


def test_a_running_job_can_be_cancelled(shared: Server):
    job = shared.submit("sleep 60", grace="1s")["job"]
    shared.until(lambda: shared.get(f"/v1/jobs/{job}")["started_at"])
    assert shared.post(f"/v1/jobs/{job}/cancel")["state"] == "cancelling"
    view = shared.ended(job)
    assert view["state"] == "cancelled"
    assert shared.post(f"/v1/jobs/{job}/cancel")["state"] == "cancelled"
    assert shared.client.post("/v1/jobs/none-0/cancel").status_code == 404


def test_a_dry_run_says_what_would_be_and_changes_nothing(shared: Server):
    before = shared.get("/v1/health")["jobs"]
    why = shared.post("/v1/plan", {"spec": {"name": "try", "run": "true"}})
    assert why["job"] == ""
    assert why["site"] == "local"
    assert why["considered"][0]["feasible"]
    assert shared.get("/v1/health")["jobs"] == before
    assert "no dataset" in shared.post("/v1/plan", {"spec": {"name": "a", "run": "b", "data": [{"dataset": "c"}]}},
                                       status=422)["error"]["message"]  # fmt: skip


# -- sites, data, the log


def test_sites_drain_and_resume(shared: Server):
    assert shared.post("/v1/sites/local/drain")["state"] == "draining"
    job = shared.submit()["job"]
    shared.until(lambda: shared.get(f"/v1/jobs/{job}/why")["reason"]["code"] != "unplanned")
    assert shared.get(f"/v1/jobs/{job}/why")["considered"][0]["reason"]["code"] == "site-draining"
    assert shared.post("/v1/sites/local/resume")["state"] == "joined"
    assert shared.ended(job)["state"] == "succeeded"
    assert "did you mean 'local'" in shared.post("/v1/sites/locale/drain", status=404)["error"]["hint"]
    assert shared.get("/v1/links") == []


def test_blobs_are_what_their_names_say(shared: Server):
    data = os.urandom(3_000_000)
    name = blake3(data).hexdigest()
    assert shared.client.get(f"/v1/blobs/{name}").status_code == 404
    for _ in range(2):
        assert shared.client.put(f"/v1/blobs/{name}", content=data).json()["size_bytes"] == len(data)
    assert shared.client.get(f"/v1/blobs/{name}").content == data
    head = shared.client.head(f"/v1/blobs/{name}")
    assert head.status_code == 200
    assert head.headers["content-length"] == str(len(data))
    wrong = blake3(b"other").hexdigest()
    assert shared.client.put(f"/v1/blobs/{wrong}", content=data).status_code == 422
    assert shared.client.put("/v1/blobs/..%2f..%2fx", content=data).status_code in (404, 422)
    assert shared.client.put(f"/v1/blobs/{name[:-1]}", content=data).status_code == 422
    assert [p for p in (shared.root / "blobs").iterdir() if p.name != name] == []


def test_bodies_have_bounds(shared: Server):
    def too_much():
        for _ in range(40):
            yield b" " * 65_536

    declared = shared.client.post("/v1/jobs", content=b" " * (1 << 21))
    assert declared.status_code == 413
    streamed = shared.client.post("/v1/jobs", content=too_much())
    assert streamed.status_code == 413
    assert "larger" in error_of(streamed)["message"]


def test_headers_have_bounds(shared: Server):
    many = shared.client.get("/v1/health", headers=[(f"x-{i}", "1") for i in range(200)])
    assert many.status_code == 400
    shared.forget()
    large = shared.client.get("/v1/health", headers={"x-large": "x" * 100_000})
    assert large.status_code == 400
    shared.forget()
    assert shared.answers()


def test_a_dataset_is_adopted_by_its_site(shared: Server):
    place = shared.root / "corpus"
    place.mkdir()
    (place / "text").write_text("いろは")
    mine = key()
    body = {"name": "corpus", "site": "local", "path": str(place), "purposes": ["training"]}
    first = shared.post("/v1/datasets", body, mine)
    assert (first["dataset"], first["version"], first["state"]) == ("corpus", 1, "adopting")
    assert shared.post("/v1/datasets", body, mine)["version"] == 1
    shared.post("/v1/datasets", {**body, "path": "/elsewhere"}, mine, status=409)
    shared.until(lambda: shared.get("/v1/datasets")[0]["state"] == "ready")
    job = shared.submit("cat $MOYAI_DATA_CORPUS/text", data=[{"dataset": "corpus", "purpose": "training"}])["job"]
    assert shared.ended(job)["state"] == "succeeded"
    assert shared.client.get(f"/v1/jobs/{job}/output").text == "いろは"
    refused = shared.submit(data=[{"dataset": "corpus", "purpose": "resale"}], status=422)
    assert "resale" in refused["error"]["message"]
    bad = shared.post("/v1/datasets", {"name": "Corpus", "site": "local", "path": "here"}, status=422)["error"]
    assert {p["key"] for p in bad["problems"]} == {"name", "path"}
    lost = shared.post("/v1/datasets", {"name": "lost", "site": "local", "path": "/no/such/place"})
    shared.until(lambda: next(d for d in shared.get("/v1/datasets") if d["dataset"] == "lost")["state"] == "rejected")
    assert lost["problem"] == ""


def test_events_are_followed(shared: Server):
    head = shared.get("/v1/events", limit=1)["head"]
    assert shared.get("/v1/events", after=head + 1_000_000)["events"] == []
    job = shared.submit()["job"]
    page = shared.get("/v1/events", after=head, wait=10)
    assert page["events"][0]["kind"] == "JobSubmitted"
    assert page["events"][0]["body"]["job"] == job
    assert page["events"][0]["seq"] == head + 1
    shared.ended(job)
    seen = [e["kind"] for e in shared.get("/v1/events", after=head)["events"]]
    assert seen[:2] == ["JobSubmitted", "AttemptIssued"]
    assert "true" not in str(shared.get("/v1/events", after=head)["events"][0]["body"]["text"])


def test_what_a_tenant_wrote_is_nowhere_in_the_directory_in_plain(shared: Server):
    secret = "himitsu-no-kotoba-42"
    shared.ended(shared.submit(": $TOKEN", env={"TOKEN": secret})["job"])
    for path in (shared.root / "log.db", shared.root / "log.db-wal", shared.root / "server.log"):
        if path.exists():
            assert secret.encode() not in path.read_bytes()


def test_unknown_paths_and_methods_are_errors_in_the_same_form(shared: Server):
    assert error_of(shared.client.get("/v1/nothing"))["code"] == "not-found"
    assert error_of(shared.client.delete("/v1/jobs"))["code"] == "bad-method"
    assert shared.client.get("/docs").status_code == 404


# -- agents' side


def test_the_exchange_refuses_what_it_can_not_take(shared: Server):
    at = "/v1/exchange/local"
    assert shared.client.post(f"{at}/hello", content=b"{}").status_code == 400
    wrong = {"site": "other", "incarnation": "x", "capabilities": []}
    assert shared.client.post(f"{at}/hello", json=wrong).status_code == 422
    usurper = shared.client.post(f"{at}/hello", json={**wrong, "site": "local"})
    assert usurper.status_code == 409
    assert int(usurper.headers["retry-after"]) >= 1
    assert shared.client.post(f"{at}/events", content=b'{"incarnation":"x","term":1}').json()["rejoin"]
    assert shared.client.get(f"{at}/commands", params={"term": 99}).json()["rejoin"]
    assert shared.client.get(f"{at}/commands", params={"term": -1}).status_code == 400
    assert shared.client.get(f"{at}/commands", params={"wait": "nan", "term": 1}).status_code == 400
    assert shared.client.get("/v1/exchange/none/commands").status_code == 404
    assert shared.client.post(f"{at}/answers/0-0", content=b"").status_code == 410
    assert shared.client.get(f"{at}/from/none/manifests/m").status_code == 404
    assert shared.client.get(f"{at}/from/local/manifests/{'0' * 64}").status_code == 410


# -- who asks


def test_a_browser_comes_by_a_link_that_works_once(shared: Server):
    link = shared.post("/v1/links/page")["url"]
    with httpx.Client(trust_env=False) as browser:
        assert browser.get(f"{shared.url}/").status_code == 401
        entered = browser.get(link)
        assert entered.status_code == 303
        page = browser.get(f"{shared.url}/")
        assert page.status_code == 200
        assert "<script" not in page.text
        assert "local" in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        japanese = browser.get(f"{shared.url}/lang/ja", follow_redirects=True)
        assert "ジョブ" in japanese.text
        assert browser.get(f"{shared.url}/v1/jobs").status_code == 200
        body = {"spec": {"name": "web", "run": "true"}}
        assert browser.post(f"{shared.url}/v1/jobs", json=body).status_code == 403
        assert browser.post(f"{shared.url}/v1/jobs", json=body, headers={"Origin": shared.url}).status_code == 200
        assert browser.post(f"{shared.url}/v1/links/page", headers={"Origin": shared.url}).status_code == 403
        assert browser.get(f"{shared.url}/", headers={"Host": "evil.example"}).status_code == 403
    with httpx.Client(trust_env=False) as other:
        assert error_of(other.get(link))["code"] == "link-used"


def test_another_user_is_refused_by_the_kernels_word(shared: Server):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    place = shared.client  # the socket's own modes keep others out; here they are lifted, to see what is behind them
    assert place.get("/v1/health").status_code == 200
    sock = shared.root / "control.sock"
    assert sock.stat().st_mode & 0o777 == 0o600
    modes = [(p, p.stat().st_mode) for p in (shared.root, sock)]
    try:
        shared.root.chmod(0o755)
        sock.chmod(0o666)
        program = (
            "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
            "s.connect(sys.argv[1]); s.sendall(b'GET /v1/jobs HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n');"
            "print(s.recv(4096).decode())"
        )
        said = subprocess.run([sys.executable, "-S", "-c", program, str(sock)], capture_output=True, text=True)
    finally:
        for path, mode in modes:
            path.chmod(mode)
    assert said.stdout.startswith("HTTP/1.1 403"), said


def test_garbage_on_the_socket_is_survived(shared: Server):
    for junk in (b"\0" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/jobs HTTP/1.1\r\nContent-Length: -5\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(str(shared.root / "control.sock"))
            s.sendall(junk)
            assert re.match(rb"HTTP/1.1 4\d\d", s.recv(100) or b"HTTP/1.1 400")
    assert shared.answers()


def test_the_directory_is_its_owners_alone(shared: Server):
    for name in ("keys", "blobs", "sites"):
        assert (shared.root / name).stat().st_mode & 0o077 == 0
    for name in ("server.log", "server.json", "log.db"):
        assert Path(shared.root / name).stat().st_mode & 0o077 == 0, name
