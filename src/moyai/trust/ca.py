"""A small certificate authority: its root, the certificates of control planes and of agents, requests, join tokens.

Keys are P-256, certificates X.509 v3, all by `cryptography`. Time and serial numbers are arguments. A certificate
names its holder by a SPIFFE id: `spiffe://moyai/control` for a control plane, `spiffe://moyai/site/NAME` for the agent
of a site. The extended key usage keeps the two apart: an agent's certificate can't serve, a server's can't join.
"""

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moyai.model.identity import CONTROL_ID, SITE_ID
from moyai.model.ids import SiteName
from moyai.model.units import Instant

BACKDATE_US = 5 * 60_000_000
"""Certificates begin this long before they are made: a peer's clock may be that late."""
ROOT_LIFE_US = 3_652 * 86_400_000_000
SERVER_LIFE_US = 30 * 86_400_000_000
"""A control plane makes its next one after two thirds of this, by itself."""
AGENT_LIFE_US = 9 * 86_400_000_000
"""An agent renews after two thirds: it outlasts a control plane that is away for three days, such as a long weekend.
Revocation does not wait for the end: the log is asked at each request."""
MAX_PEM_BYTES = 16_384
SECRET_BYTES = 32
_TOKEN = "moyai1"  # noqa: S105 – the form, no secret


class BadRequest(ValueError):
    """A certificate request, a certificate or a token that can't be taken; the text says why."""


@dataclass(frozen=True, slots=True)
class Root:
    """The CA: its certificate, and the key that signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hex."""
        return fingerprint(self.certificate)

    @property
    def ends_at(self) -> Instant:
        """When the root is over."""
        return ends_at(self.certificate)


@dataclass(frozen=True, slots=True)
class Request:
    """What a checked request asks a certificate for. `key` is the SHA-256 of the public key, in hex."""

    public: ec.EllipticCurvePublicKey
    key: str


@dataclass(frozen=True, slots=True)
class Term:
    """The number of a certificate, and from when to when it holds."""

    serial: int
    begins_at: Instant
    ends_at: Instant


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key, from the system's chance."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PKCS #8 PEM, not encrypted: for a file of its owner alone."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in PEM. Raises BadRequest."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadRequest(f"no private key can be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRequest("the key is no P-256 key")
    return key


def key_id(public: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key (SubjectPublicKeyInfo), in hex."""
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def read_certificate(pem: bytes) -> x509.Certificate:
    """The first certificate in PEM. Raises BadRequest."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise BadRequest(f"no certificate can be read: {error}") from None


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a whole certificate, in hex."""
    return certificate.fingerprint(SHA256()).hex()


def begins_at(certificate: x509.Certificate) -> Instant:
    """When a certificate begins."""
    return _instant(certificate.not_valid_before_utc)


def ends_at(certificate: x509.Certificate) -> Instant:
    """When a certificate is over."""
    return _instant(certificate.not_valid_after_utc)


def make_root(key: ec.EllipticCurvePrivateKey, serial: int, now: Instant, life_us: int = ROOT_LIFE_US) -> Root:
    """A new root that signs itself. It may sign ends alone, no further authority."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Moyai CA {key_id(key.public_key())[:12]}")])
    usage = _usage(sign=False, authority=True)
    made = (
        _builder(name, name, key.public_key(), Term(serial, Instant(now - BACKDATE_US), Instant(now + life_us)))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return Root(made, key)


def read_root(certificate: bytes, key: bytes) -> Root:
    """The CA in two PEMs. Raises BadRequest where they are none, or not of each other."""
    found, private = read_certificate(certificate), read_key(key)
    try:
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise BadRequest("the certificate is no CA's") from None
    if not constraints.ca:
        raise BadRequest("the certificate is no CA's")
    if _spki(found) != key_id(private.public_key()):
        raise BadRequest("the key is not that of the certificate")
    return Root(found, private)


def server_certificate(
    root: Root, key: ec.EllipticCurvePrivateKey, hosts: Sequence[str], *, serial: int, now: Instant, life_us: int
) -> bytes:
    """The certificate of a control plane, as PEM. `hosts` are names and addresses that people may know it by."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(CONTROL_ID)]
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    term = Term(serial, Instant(now - BACKDATE_US), Instant(min(now + life_us, root.ends_at)))
    return _end(root, key.public_key(), names, ExtendedKeyUsageOID.SERVER_AUTH, term)


def agent_certificate(root: Root, request: Request, site: SiteName, term: Term) -> bytes:
    """The certificate of a site's agent, as PEM: what the log says was issued."""
    names = [x509.UniformResourceIdentifier(SITE_ID + site)]
    return _end(root, request.public, names, ExtendedKeyUsageOID.CLIENT_AUTH, term)


def make_request(key: ec.EllipticCurvePrivateKey, site: SiteName) -> bytes:
    """A request for a certificate, as PEM, signed by the key that it is for."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256()).public_bytes(Encoding.PEM)


def read_request(pem: bytes) -> Request:
    """The request in PEM, its signature checked. Names and extensions in it count for nothing. Raises BadRequest."""
    if len(pem) > MAX_PEM_BYTES:
        raise BadRequest(f"a certificate request has at most {MAX_PEM_BYTES} bytes")
    try:
        found = x509.load_pem_x509_csr(pem)
        public = found.public_key()
        good = found.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadRequest(f"no certificate request can be read: {error}") from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise BadRequest("the key of a certificate request must be P-256")
    if not good:
        raise BadRequest("the certificate request is not signed by its own key")
    return Request(public, key_id(public))


def check_issued(pem: bytes, key: ec.EllipticCurvePrivateKey, site: SiteName, root: x509.Certificate) -> None:
    """Whether a certificate is for this key and site, and of this CA. Raises BadRequest."""
    found = read_certificate(pem)
    if _spki(found) != key_id(key.public_key()):
        raise BadRequest("the certificate that came is for another key")
    try:
        found.verify_directly_issued_by(root)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        raise BadRequest("the certificate that came is not of this CA") from None
    if names.get_values_for_type(x509.UniformResourceIdentifier) != [SITE_ID + site]:
        raise BadRequest(f"the certificate that came is not for {site}")


def token_text(secret: str, ca_fingerprint: str) -> str:
    """A join token as people carry it: its form, its secret, and the fingerprint of the CA that the agent must meet."""
    printed = base64.urlsafe_b64encode(bytes.fromhex(ca_fingerprint)).decode().rstrip("=")
    return f"{_TOKEN}.{secret}.{printed}"


def read_token(text: str) -> tuple[str, str]:
    """The secret and the CA's fingerprint (hex) in a join token. Raises BadRequest."""
    form, _, rest = text.strip().partition(".")
    secret, _, printed = rest.partition(".")
    try:
        digest = base64.b64decode(printed + "=" * (-len(printed) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if form != _TOKEN or len(secret) < 16 or len(digest) != 32 or not secret.isascii():
        raise BadRequest("is no join token; copy the whole line that `moyai agent token SITE` printed")
    return secret, digest.hex()


def token_id(secret: str) -> str:
    """What the log knows of a token: SHA-256 of its secret, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _end(
    root: Root,
    public: ec.EllipticCurvePublicKey,
    names: Sequence[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    term: Term,
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(names[0].value).rpartition("/")[2])])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key())
    made = (
        _builder(subject, root.certificate.subject, public, term)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=True, authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(authority, critical=False)
        .sign(root.key, SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    term: Term,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(term.serial)
        .not_valid_before(_moment(term.begins_at))
        .not_valid_after(_moment(term.ends_at))
    )


def _usage(*, sign: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _spki(certificate: x509.Certificate) -> str:
    public = certificate.public_key()
    return key_id(public) if isinstance(public, ec.EllipticCurvePublicKey) else ""


def _moment(at: Instant) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)


def _instant(at: datetime) -> Instant:
    return Instant((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
