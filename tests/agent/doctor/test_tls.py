"""Certificates: good, over, early, soon over, of another key, of another CA, and no certificate at all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from moyai.agent.doctor.check import Verdict
from moyai.agent.doctor.tls import check_certificate

BEGINS = datetime(2026, 11, 1, tzinfo=UTC)
DAY_S = 86_400
LIFE_DAYS = 30
NOW_S = BEGINS.timestamp() + 10 * DAY_S


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Pair:
    """A certificate and its key, in files of a directory."""

    def __init__(self, place: Path, common: str, issuer: "Pair | None" = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        signer = issuer.key if issuer else self.key
        self.name = _name(common)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name if issuer else self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGINS)
            .not_valid_after(BEGINS + timedelta(days=LIFE_DAYS))
        )
        pem = builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)
        secret = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.certificate, self.secret, self.both = (place / f"{common}.{end}" for end in ("pem", "key", "both"))
        self.certificate.write_bytes(pem)
        self.secret.write_bytes(secret)
        self.both.write_bytes(b"# a line above them\n" + secret + pem)


@pytest.fixture
def ca(tmp_path: Path) -> Pair:
    return Pair(tmp_path, "ca")


@pytest.fixture
def agent(tmp_path: Path, ca: Pair) -> Pair:
    return Pair(tmp_path, "agent", ca)


def test_a_good_one_alone_and_with_its_key_in_one_file(agent: Pair, ca: Pair) -> None:
    found = check_certificate(agent.certificate, agent.secret, ca.certificate, NOW_S)
    assert (found.verdict, found.what) == (Verdict.OK, f"{agent.certificate} is good for 20 d more")
    assert check_certificate(agent.both, agent.both, ca.certificate, NOW_S).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("day", "verdict", "said"),
    [
        (-1, Verdict.BAD, "is good only from"),
        (28, Verdict.WARN, "is good for only 2 d more"),
        (30, Verdict.BAD, "ended at"),
        (400, Verdict.BAD, "ended at"),
    ],
)
def test_by_the_clock(agent: Pair, day: int, verdict: Verdict, said: str) -> None:
    found = check_certificate(agent.certificate, now_s=BEGINS.timestamp() + day * DAY_S)
    assert (found.verdict, said in found.what) == (verdict, True)
    assert found.mend


def test_what_does_not_belong_together(tmp_path: Path, agent: Pair, ca: Pair) -> None:
    other = Pair(tmp_path, "other")
    assert "don't belong together" in check_certificate(agent.certificate, other.secret, ca.certificate, NOW_S).what
    assert "is not of the CA" in check_certificate(agent.certificate, agent.secret, other.certificate, NOW_S).what


def test_no_certificate(tmp_path: Path, agent: Pair) -> None:
    gone = check_certificate(tmp_path / "gone.pem")
    assert gone.what == f"{tmp_path}/gone.pem: No such file or directory"
    (tmp_path / "torn.pem").write_bytes(agent.certificate.read_bytes()[:200])
    assert check_certificate(tmp_path / "torn.pem").verdict is Verdict.BAD
    assert check_certificate(agent.certificate, tmp_path / "torn.pem", now_s=NOW_S).verdict is Verdict.BAD
