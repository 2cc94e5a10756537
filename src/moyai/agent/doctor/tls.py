"""Certificates: who issued one, whether its key fits, and when it ends."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from moyai.agent.doctor.check import Check, bad, ok, warn

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

NAME = "certificate"
WARN_SHARE = 0.1
"""Less than this share of its life left is told: an agent renews long before."""
MICROS = 1_000_000


def check_certificate(path: Path, key: Path | None = None, ca: Path | None = None, now_s: float | None = None) -> Check:
    """A certificate in a PEM file, with its key and its CA where they are given. `now_s`: seconds since 1970."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        certificate = _read(path)
        issuer = _read(ca) if ca is not None else None
        secret = key.read_bytes() if key is not None else b""
    except OSError as error:
        return bad(NAME, "certificate-unreadable", path=str(error.filename), problem=error.strerror or str(error))
    except ValueError as error:
        return bad(NAME, "certificate-none", path=str(path), problem=str(error))
    now = datetime.now(UTC) if now_s is None else datetime.fromtimestamp(now_s, UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        return bad(NAME, "certificate-early", path=str(path), begins=_us(begins))
    if now >= ends:
        return bad(NAME, "certificate-over", path=str(path), ends=_us(ends))
    if secret:
        try:
            public = load_pem_private_key(secret, None).public_key()
        except (ValueError, TypeError) as error:
            return bad(NAME, "certificate-none", path=str(key), problem=str(error))
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if public.public_bytes(*form) != certificate.public_key().public_bytes(*form):
            return bad(NAME, "certificate-other-key", path=str(path), secret=str(key))
    if issuer is not None and not _issued_by(certificate, issuer):
        return bad(NAME, "certificate-other-ca", path=str(path), ca=str(ca))
    left = ends - now
    if left < WARN_SHARE * (ends - begins):
        return warn(NAME, "certificate-soon", path=str(path), left=round(left.total_seconds() * MICROS))
    return ok(NAME, "certificate-fine", path=str(path), left=round(left.total_seconds() * MICROS))


def _read(path: Path) -> "Certificate":
    from cryptography.x509 import load_pem_x509_certificate

    return load_pem_x509_certificate(path.read_bytes())


def _issued_by(certificate: "Certificate", issuer: "Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _us(when: datetime) -> int:
    return round(when.timestamp() * MICROS)
