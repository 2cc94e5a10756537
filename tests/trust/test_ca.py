"""The CA: what it signs is taken by OpenSSL where it should be, and by nobody where it shouldn't."""

import os
import ssl
import stat
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from moyai.model.ids import SiteName
from moyai.model.units import Instant
from moyai.trust import ca
from moyai.trust.io.cafiles import AuthorityTrouble, make_authority, new_serial, read_authority

NOW = Instant(time.time_ns() // 1_000)
HOUR = 3_600_000_000
DAY = 24 * HOUR
OSAKA = SiteName("osaka")


@pytest.fixture(scope="module")
def root() -> ca.Root:
    return ca.make_root(ca.new_key(), new_serial(), NOW)


def server_pem(root: ca.Root, now: int = NOW, life_us: int = DAY) -> bytes:
    key = ca.new_key()
    made = ca.server_certificate(
        root, key, ["control.example", "127.0.0.1", "::1"], serial=new_serial(), now=Instant(now), life_us=life_us
    )
    return ca.key_pem(key) + made


def agent_pem(root: ca.Root, begin: int = NOW - HOUR, end: int = NOW + HOUR) -> bytes:
    key = ca.new_key()
    request = ca.read_request(ca.make_request(key, OSAKA))
    term = ca.Term(new_serial(), Instant(begin), Instant(end))
    return ca.key_pem(key) + ca.agent_certificate(root, request, OSAKA, term)


def handshake(tmp_path: Path, trusted: ca.Root, server: bytes, client: bytes | None) -> ssl.SSLObject:
    """A TLS 1.3 handshake in memory, as listener and agent have it; the server's side of it. Raises ssl.SSLError."""
    there, here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    here.check_hostname = False
    for number, (context, pem) in enumerate(((there, server), (here, client))):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=trusted.pem.decode())
        if pem is not None:
            file = tmp_path / f"{number}.pem"
            file.write_bytes(pem)
            context.load_cert_chain(file)
    there.verify_mode = ssl.CERT_OPTIONAL
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [there.wrap_bio(up, down, server_side=True), here.wrap_bio(down, up, server_side=False)]
    for _ in range(6):
        for end in reversed(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0]


def test_a_site_and_its_control_plane_know_each_other(root: ca.Root, tmp_path: Path) -> None:
    shown = handshake(tmp_path, root, server_pem(root), agent_pem(root)).getpeercert()
    assert shown is not None
    assert shown["subjectAltName"] == (("URI", "spiffe://moyai/site/osaka"),)


def test_who_joins_has_no_certificate_yet(root: ca.Root, tmp_path: Path) -> None:
    assert not handshake(tmp_path, root, server_pem(root), None).getpeercert()


def test_bad_certificates_end_the_handshake(root: ca.Root, tmp_path: Path) -> None:
    other = ca.make_root(ca.new_key(), new_serial(), NOW)
    good_server, good_agent = server_pem(root), agent_pem(root)
    for server, client, words in (
        (good_server, agent_pem(other), "self-signed certificate|unable to get local issuer"),
        (server_pem(other), good_agent, "self-signed certificate|unable to get local issuer"),
        (good_server, agent_pem(root, NOW - 2 * HOUR, NOW - HOUR), "has expired"),
        (good_server, agent_pem(root, NOW + HOUR, NOW + 2 * HOUR), "not yet valid"),
        (server_pem(root, NOW + HOUR), good_agent, "not yet valid"),  # the site's clock is an hour behind
        (server_pem(root, NOW - 2 * DAY), good_agent, "has expired"),
        (good_agent, good_agent, "(unsuitable|unsupported) certificate purpose"),  # a site that poses as control
        (good_server, good_server, "(unsuitable|unsupported) certificate purpose"),
    ):
        with pytest.raises(ssl.SSLCertVerificationError, match=words):
            handshake(tmp_path, root, server, client)


def test_a_certificate_begins_a_little_early_for_late_clocks(root: ca.Root) -> None:
    made = ca.read_certificate(server_pem(root).partition(b"-----END PRIVATE KEY-----\n")[2])
    assert NOW - ca.begins_at(made) in range(5 * 60_000_000 - 1_000_000, 5 * 60_000_000 + 2_000_000)


def test_no_certificate_outlasts_the_root(tmp_path: Path) -> None:
    short = ca.make_root(ca.new_key(), new_serial(), NOW, HOUR)
    made = ca.read_certificate(server_pem(short, life_us=DAY).partition(b"-----END PRIVATE KEY-----\n")[2])
    assert ca.ends_at(made) == short.ends_at
    handshake(tmp_path, short, server_pem(short), agent_pem(short))


def test_the_root_signs_ends_alone(root: ca.Root) -> None:
    constraints = root.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)


def request_pem(key: "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey") -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def test_requests_are_checked() -> None:
    good = ca.make_request(ca.new_key(), OSAKA)
    assert len(ca.read_request(good).key) == 64
    der = x509.load_pem_x509_csr(good).public_bytes(Encoding.DER)
    forged = x509.load_der_x509_csr(der[:-1] + bytes([der[-1] ^ 1]))
    for bad, words in (
        (forged.public_bytes(Encoding.PEM), "not signed by its own key|no certificate request"),
        (request_pem(rsa.generate_private_key(65_537, 2_048)), "must be P-256"),
        (request_pem(ec.generate_private_key(ec.SECP384R1())), "must be P-256"),
        (good * 100, "at most"),
        (b"", "no certificate request"),
    ):
        with pytest.raises(ca.BadRequest, match=words):
            ca.read_request(bad)


@given(st.binary(max_size=400))
def test_garbage_is_no_request_no_key_and_no_certificate(data: bytes) -> None:
    framed = b"-----BEGIN CERTIFICATE REQUEST-----\n" + data + b"\n-----END CERTIFICATE REQUEST-----\n"
    for read, what in (
        (ca.read_request, framed),
        (ca.read_request, data),
        (ca.read_certificate, data),
        (ca.read_key, data),
    ):
        with pytest.raises(ca.BadRequest):
            read(what)


def test_an_answer_must_be_for_this_key_this_site_and_of_this_root(root: ca.Root) -> None:
    key = ca.new_key()
    term = ca.Term(7, Instant(NOW), Instant(NOW + HOUR))
    made = ca.agent_certificate(root, ca.read_request(ca.make_request(key, OSAKA)), OSAKA, term)
    ca.check_issued(made, key, OSAKA, root.certificate)
    other = ca.make_root(ca.new_key(), new_serial(), NOW)
    for with_key, site, by in (
        (ca.new_key(), OSAKA, root),
        (key, SiteName("kyoto"), root),
        (key, OSAKA, other),
    ):
        with pytest.raises(ca.BadRequest):
            ca.check_issued(made, with_key, site, by.certificate)


@given(st.binary(min_size=32, max_size=32), st.text(alphabet="abcXYZ019-_", min_size=16, max_size=64))
def test_a_token_is_read_as_it_was_printed(digest: bytes, secret: str) -> None:
    text = ca.token_text(secret, digest.hex())
    assert ca.read_token(f" {text}\n") == (secret, digest.hex())
    for cut in (1, 5, len(text) // 2):
        with pytest.raises(ca.BadRequest, match="no join token"):
            ca.read_token(text[:-cut])


@given(st.text(max_size=120))
def test_other_text_is_no_token(text: str) -> None:
    with pytest.raises(ca.BadRequest):
        ca.read_token(text)


def test_a_directory_keeps_the_ca_for_its_owner_alone(tmp_path: Path) -> None:
    place = tmp_path / "ca"
    made = make_authority(place, NOW, 3 * HOUR)
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in place.iterdir()} == {
        "ca.key": 0o600,
        "ca.pem": 0o600,
        "policy.json": 0o600,
    }
    again = read_authority(place)
    assert (again.root.fingerprint, again.life_us) == (made.root.fingerprint, 3 * HOUR)
    with pytest.raises(AuthorityTrouble, match="a CA already"):
        make_authority(place, NOW)


def test_a_directory_that_is_not_whole_says_what_is_wrong(tmp_path: Path) -> None:
    place = tmp_path / "ca"
    with pytest.raises(AuthorityTrouble, match="is not there") as missing:
        read_authority(place)
    assert "moyai ca init" in missing.value.hint
    make_authority(place, NOW)
    os.chmod(place / "ca.key", 0o644)
    with pytest.raises(AuthorityTrouble, match="others may use it"):
        read_authority(place)
    os.chmod(place / "ca.key", 0o600)
    (place / "ca.key").write_bytes(ca.key_pem(ca.new_key()))
    with pytest.raises(AuthorityTrouble, match="not that of the certificate"):
        read_authority(place)
    (place / "policy.json").write_text("{}")
    with pytest.raises(AuthorityTrouble, match="can't be read"):
        read_authority(place)


def test_serial_numbers_are_of_one_length_and_never_alike() -> None:
    found = {f"{new_serial():x}" for _ in range(1_000)}
    assert len(found) == 1_000
    assert {len(serial) for serial in found} == {32}
