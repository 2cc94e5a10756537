"""Agents of other machines, and strangers, at the TLS listener of a real server."""

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from moyai.agent.identity import Identity
from moyai.agent.join import NotJoined, join
from moyai.model.codec import encode
from moyai.model.events import AttemptStarted
from moyai.model.exchange import Batch, Hello, Report
from moyai.model.identity import JoinRequest
from moyai.model.ids import AttemptId, SiteName
from moyai.server.tls import Seldom
from moyai.trust import ca
from moyai.trust.io.cafiles import new_serial
from server.door import HOUR, Door, now, profile
from server.process import Server


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    """One server for all tests of this file; each has a site of its own."""
    server = Server()
    try:
        yield Door.make(server).open()
    finally:
        server.destroy()


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of an error."""
    return answer.status_code, answer.json()["error"]["code"]


def hello(site: str) -> bytes:
    return encode(Hello(SiteName(site), "i1", ("guard",)))


def request_of(site: str) -> str:
    return ca.make_request(ca.new_key(), SiteName(site)).decode()


def test_a_site_joins_and_speaks_for_itself(door: Door, tmp_path: Path):
    me = door.joined("osaka", tmp_path)
    with door.client(me.context()) as client:
        answer = client.post("/v1/exchange/osaka/hello", content=hello("osaka"))
        assert answer.status_code == 200
        assert answer.extensions["network_stream"].get_extra_info("ssl_object").version() == "TLSv1.3"
    assert {s["site"] for s in door.server.get("/v1/sites")} >= {"osaka", "local"}
    held = [c for c in door.server.get("/v1/certificates")["certificates"] if c["site"] == "osaka"]
    assert [c["state"] for c in held] == ["valid"]


def test_an_agent_has_its_own_paths_and_no_others(door: Door, tmp_path: Path):
    me = door.joined("own", tmp_path)
    with door.client(me.context()) as client:
        for path, wanted in (
            ("/v1/exchange/local/commands?after=0&term=1", (403, "wrong-site")),
            ("/v1/exchange/own%2F..%2Flocal/commands", (404, "not-found")),
            ("/v1/exchange/OWN/commands", (403, "wrong-site")),
            ("/v1/exchange/", (403, "wrong-site")),
            ("/v1/jobs", (403, "agents-only")),
            ("/v1/sites", (403, "agents-only")),
            ("/v1/certificates", (403, "agents-only")),
            (f"/v1/blobs/{'0' * 64}", (403, "agents-only")),
            ("/", (403, "agents-only")),
            ("/metrics", (403, "agents-only")),
            ("/enter?token=x", (403, "agents-only")),
        ):
            assert problem(client.get(path)) == wanted, path
        assert problem(client.post("/v1/sites/own/token")) == (403, "agents-only")
        assert problem(client.post("/v1/exchange/own/hello", content=hello("local")))[0] == 422
        assert problem(client.post("/v1/exchange/own/profile", content=encode(profile("local")))) == (403, "wrong-site")
    assert "was shown for 'local'" in door.log


def test_an_agent_gets_no_data_that_it_was_not_told_to_copy(door: Door, tmp_path: Path):
    me = door.joined("copier", tmp_path)
    with door.client(me.context()) as client:
        at = "/v1/exchange/copier"
        assert client.get(f"{at}/from/local/manifests/{'0' * 64}").status_code == 410
        assert client.get(f"{at}/from/local/manifests/{'0' * 64}/files/0").status_code == 410
        assert client.get(f"{at}/blobs/{'0' * 64}").status_code == 410


def test_without_a_certificate_one_may_join_and_nothing_else(door: Door):
    with door.client(None) as client:
        assert problem(client.get("/v1/exchange/local/commands")) == (401, "no-certificate")
        assert problem(client.get("/v1/jobs")) == (403, "agents-only")
        assert (
            ca.fingerprint(ca.read_certificate(client.get("/v1/root.pem").content)) == door.authority.root.fingerprint
        )
        for body, status in (
            (b"", 400),
            (b"{}", 400),
            (b"[" * 10_000, 400),
            (b"x" * 300_000, 413),
            (encode(JoinRequest("no-token-of-ours", "no request", profile("osaka"))), 422),
            (encode(JoinRequest("no-token-of-ours", request_of("osaka"), profile("osaka"))), 401),
        ):
            assert client.post("/v1/join", content=body).status_code == status, body[:40]
    assert "without a certificate" in door.log


def test_a_token_used_twice_is_refused(door: Door, tmp_path: Path):
    token = door.token("twice")
    join([door.address], token, profile("twice"), tmp_path / "a")
    with pytest.raises(NotJoined, match="was used already") as refused:
        join([door.address], token, profile("twice"), tmp_path / "b")
    assert refused.value.code == "token-used"
    assert "was used already" in door.log


def test_of_simultaneous_joins_by_one_token_one_succeeds(door: Door, tmp_path: Path):
    token = door.token("race")

    def one(number: int) -> str:
        try:
            join([door.address], token, profile("race"), tmp_path / str(number))
        except NotJoined as error:
            return error.code
        return "joined"

    with ThreadPoolExecutor(6) as pool:
        found = sorted(pool.map(one, range(6)))
    assert found == ["joined"] + ["token-used"] * 5
    held = [c for c in door.server.get("/v1/certificates")["certificates"] if c["site"] == "race"]
    assert len(held) == 1


def test_an_answer_that_was_lost_is_asked_for_again(door: Door, tmp_path: Path):
    token = door.token("lost")
    secret, _ = ca.read_token(token)
    key = ca.new_key()
    asked = encode(JoinRequest(secret, ca.make_request(key, SiteName("lost")).decode(), profile("lost")))
    with door.client(None) as client:
        first, second = (client.post("/v1/join", content=asked).json() for _ in range(2))
    serials = {ca.read_certificate(x["certificate"].encode()).serial_number for x in (first, second)}
    assert len(serials) == 1
    ca.check_issued(second["certificate"].encode(), key, SiteName("lost"), door.authority.root.certificate)


def test_a_token_for_one_site_does_not_let_another_join(door: Door, tmp_path: Path):
    with pytest.raises(NotJoined, match="not for 'mallory'") as refused:
        join([door.address], door.token("alice"), profile("mallory"), tmp_path)
    assert (refused.value.status, refused.value.code) == (403, "wrong-site")


def test_a_token_that_is_over_is_refused(door: Door, tmp_path: Path):
    token = door.token("late", 1_000_000)
    time.sleep(1.1)
    with pytest.raises(NotJoined, match="is over") as refused:
        join([door.address], token, profile("late"), tmp_path)
    assert refused.value.code == "token-over"


def test_a_site_of_the_servers_own_machine_can_not_be_joined(door: Door):
    assert door.server.post("/v1/sites/local/token", status=409)["error"]["code"] == "local-site"


def test_a_bad_profile_is_refused_and_the_token_stays_good(door: Door, tmp_path: Path):
    token = door.token("modest")
    with pytest.raises(NotJoined, match="out of range"):
        join([door.address], token, profile("modest", cores=-1), tmp_path)
    join([door.address], token, profile("modest"), tmp_path)


def test_a_man_in_the_middle_is_found_by_the_token(door: Door, tmp_path: Path):
    foreign = ca.make_root(ca.new_key(), new_serial(), now())
    secret, _ = ca.read_token(door.token("victim"))
    with pytest.raises(NotJoined, match="of another CA") as refused:
        join([door.address], ca.token_text(secret, foreign.fingerprint), profile("victim"), tmp_path)
    assert refused.value.code == "wrong-authority"


def test_a_revoked_certificate_ends_at_once_even_for_a_poll_that_waits(door: Door, tmp_path: Path):
    me = door.joined("gone", tmp_path)
    with door.client(me.context()) as client, ThreadPoolExecutor(1) as pool:
        term = client.post("/v1/exchange/gone/hello", content=hello("gone")).json()["term"]
        poll = pool.submit(client.get, f"/v1/exchange/gone/commands?after=0&term={term}&wait=30")
        time.sleep(0.3)
        door.server.post("/v1/certificates/gone/revoke")
        assert problem(poll.result(10)) == (401, "revoked")
        assert problem(client.post("/v1/exchange/gone/hello", content=hello("gone"))) == (401, "revoked")
        assert problem(client.post("/v1/exchange/gone/certificate", content=b"{}")) == (401, "revoked")
    assert "was revoked" in door.log


def test_a_certificate_that_the_log_does_not_know_is_refused(door: Door, tmp_path: Path):
    door.joined("known", tmp_path)
    pem = door.forged("known", now() - HOUR, now() + HOUR)
    with door.client(door.with_pem(pem, tmp_path / "forged.pem")) as client:
        assert problem(client.get("/v1/exchange/known/commands")) == (401, "certificate-unknown")


def test_tls_refuses_expired_early_and_foreign_certificates(door: Door, tmp_path: Path):
    foreign = ca.make_root(ca.new_key(), new_serial(), now())
    for number, (pem, words) in enumerate(
        (
            (door.forged("osaka", now() - 2 * HOUR, now() - HOUR), "expired"),
            (door.forged("osaka", now() + HOUR, now() + 2 * HOUR), "not yet valid"),
            (door.forged("osaka", now() - HOUR, now() + HOUR, foreign), "self-signed|unable to get"),
            (Path(door.server.root / "door.pem").read_bytes(), "purpose"),  # a control plane's own
        )
    ):
        context = door.with_pem(pem, tmp_path / f"{number}.pem")
        with door.client(context) as client, pytest.raises((httpx.TransportError, ssl.SSLError)):
            client.get("/v1/exchange/osaka/commands")
        door.server.until(lambda words=words: any(w in door.log for w in words.split("|")), 10)


def test_older_tls_and_plain_http_are_refused_and_the_server_goes_on(door: Door):
    host, port = door.address.removeprefix("https://").split(":")
    old = door.bare()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((host, int(port))) as sock, pytest.raises(ssl.SSLError):
        old.wrap_socket(sock)
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200" not in sock.recv(1_000)
    for garbage in (b"\x16\x03\x01\xff\xff" + b"\0" * 500, b"\xff" * 2_000):
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(garbage)
    with door.client(None) as client:
        assert client.get("/v1/root.pem").status_code == 200
    assert "speaks no TLS 1.3" in door.log


def test_oversized_messages_are_refused(door: Door, tmp_path: Path):
    me = door.joined("large", tmp_path)
    with door.client(me.context()) as client:
        at = "/v1/exchange/large"
        client.post(f"{at}/hello", content=hello("large"))
        for path, size in (("events", 5 << 20), ("hello", 5 << 20), ("certificate", 1 << 20), ("profile", 1 << 20)):
            assert problem(client.post(f"{at}/{path}", content=b" " * size)) == (413, "too-large"), path
        assert client.get(f"{at}/commands", headers={"X": "y" * 40_000}).status_code == 400


def test_reports_of_attempts_that_it_never_had_change_nothing(door: Door, tmp_path: Path):
    job = door.server.submit("sleep 60")["job"]
    door.server.until(lambda: door.server.get(f"/v1/jobs/{job}")["state"] == "active")
    attempt = door.server.get(f"/v1/jobs/{job}")["attempts"][0]["attempt"]
    me = door.joined("liar", tmp_path)
    with door.client(me.context()) as client:
        term = client.post("/v1/exchange/liar/hello", content=hello("liar")).json()["term"]
        reports = tuple(
            Report(n, now(), "AttemptStarted", AttemptStarted(AttemptId(name), now(), ()))
            for n, name in enumerate((attempt, "never-0123456789.1", "no id at all"), 1)
        )
        ack = client.post("/v1/exchange/liar/events", content=encode(Batch("i1", term, reports)))
        assert (ack.status_code, ack.json()["through"]) == (200, 3)
    refused = [e for e in door.server.get("/v1/events", limit=1_000)["events"] if e["kind"] == "ReportRefused"]
    assert len(refused) == 3
    assert door.server.get(f"/v1/jobs/{job}")["attempts"][0]["site"] == "local"
    door.server.post(f"/v1/jobs/{job}/cancel")


def test_a_renewal_is_for_the_same_site_whatever_the_request_says(door: Door, tmp_path: Path):
    me = door.joined("renewer", tmp_path)
    key = ca.new_key()
    body = json.dumps({"request": ca.make_request(key, SiteName("local")).decode()}).encode()
    with door.client(me.context()) as client:
        answers = [client.post("/v1/exchange/renewer/certificate", content=body).json() for _ in range(2)]
        assert problem(client.post("/v1/exchange/renewer/certificate", content=b'{"request": "x"}'))[0] == 422
    for answer in answers:
        ca.check_issued(answer["certificate"].encode(), key, SiteName("renewer"), door.authority.root.certificate)
    held = [c for c in door.server.get("/v1/certificates")["certificates"] if c["site"] == "renewer"]
    assert len(held) == 2
    file = tmp_path / "next.pem"
    with door.client(door.with_pem(ca.key_pem(key) + answers[1]["certificate"].encode(), file)) as client:
        assert client.post("/v1/exchange/renewer/hello", content=hello("renewer")).status_code == 200


def test_a_changed_profile_is_declared_but_not_too_often(door: Door, tmp_path: Path):
    me = door.joined("grower", tmp_path)
    with door.client(me.context()) as client:
        post = [client.post("/v1/exchange/grower/profile", content=encode(profile("grower", c))) for c in (8, 8, 16)]
        assert [answer.status_code for answer in post] == [204, 204, 429]
    site = next(s for s in door.server.get("/v1/sites") if s["site"] == "grower")
    assert site["profile"]["flavors"][0]["cores"] == 8


def test_what_was_issued_outlives_a_crash(tmp_path: Path):
    server = Server()
    try:
        door = Door.make(server).open()
        token, used = door.token("later"), door.token("early")
        join([door.address], used, profile("early"), tmp_path / "early")
        me = Identity(tmp_path / "early" / "identity").load()
        door.joined("bad", tmp_path / "bad")
        server.post("/v1/certificates/bad/revoke")
        server.kill()
        door.open()
        join([door.address], token, profile("later"), tmp_path / "later")
        with pytest.raises(NotJoined, match="used already"):
            join([door.address], used, profile("early"), tmp_path / "other")
        with door.client(me.context()) as client:
            assert client.post("/v1/exchange/early/hello", content=hello("early")).status_code == 200
        with door.client(Identity(tmp_path / "bad" / "identity").load().context()) as client:
            assert problem(client.get("/v1/exchange/bad/commands")) == (401, "revoked")
    finally:
        server.destroy()


def test_a_server_without_a_ca_says_what_to_do(server: Server):
    code, said = server.fails("--agents", "127.0.0.1:0")
    assert code == 2
    assert "moyai ca init" in said
    server.start()
    for path in ("/v1/certificates", "/v1/root.pem"):
        assert server.client.get(path).status_code == 404
    assert "moyai up --agents" in server.post("/v1/sites/osaka/token", status=404)["error"]["hint"]


@pytest.mark.parametrize("address", ["", "7443", "host:", "host:x", "host:99999", "::1:80"])
def test_an_address_that_is_none_is_said(address: str):
    done = subprocess.run(
        [sys.executable, "-m", "moyai.server", "--agents", address], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--agents" in done.stderr


def test_the_log_says_a_matter_once_a_minute():
    said: list[str] = []
    at = [0.0]
    seldom = Seldom(said.append, lambda: at[0])
    for _ in range(1_000):
        seldom.say("a", "refused")
    seldom.say("b", "other")
    at[0] = 61.0
    seldom.say("a", "refused")
    assert said == ["refused", "other", "refused (999 more like it before)"]
    for number in range(10_000):
        seldom.say(str(number), "x")
    assert len(seldom._said) <= 256
