"""Which sites may speak: join tokens and certificates, as they stand in the log. No secret is among them.

A token is known by the SHA-256 of its secret, a certificate by its serial number, a key by the SHA-256 of its public
half (SubjectPublicKeyInfo); all of them in lower-case hex.
"""

from dataclasses import dataclass

from moyai.model.ids import SiteName
from moyai.model.site import SiteProfile
from moyai.model.units import Instant

CONTROL_ID = "spiffe://moyai/control"
SITE_ID = "spiffe://moyai/site/"
"""With a site's name behind it: who its agent is."""


@dataclass(frozen=True, slots=True)
class JoinTokenIssued:
    """An operator lets one agent join as `site`, once, until `ends_at`."""

    token: str
    site: SiteName
    ends_at: Instant


@dataclass(frozen=True, slots=True)
class JoinTokenSpent:
    """An agent joined by a token. The same key may ask for its certificate again until the token's end; no other."""

    token: str
    site: SiteName
    key: str
    serial: str


@dataclass(frozen=True, slots=True)
class JoinTokenRevoked:
    """An operator took back a token that nobody had used."""

    token: str
    site: SiteName


@dataclass(frozen=True, slots=True)
class CertificateIssued:
    """The certificate `serial` lets the holder of a key speak for a site."""

    serial: str
    site: SiteName
    key: str
    begins_at: Instant
    ends_at: Instant


@dataclass(frozen=True, slots=True)
class CertificateRevoked:
    """A certificate counts for nothing from here on."""

    serial: str
    site: SiteName


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """An agent asks to join. `request` is a PKCS #10 request as PEM; its key never leaves the site."""

    token: str  # the secret half of what `moyai agent token` printed
    request: str
    profile: SiteProfile


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """An agent asks for its next certificate, for a new key."""

    request: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate as PEM, and the CA's."""

    certificate: str
    authority: str
    ends_at: Instant


@dataclass(frozen=True, slots=True)
class TokenView:
    """What `moyai agent token` prints: the one time that the token is shown."""

    token: str
    site: str
    ends_at: int


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate of a site. `state`: "valid", "over" or "revoked"."""

    serial: str
    site: str
    begins_at: int
    ends_at: int
    state: str


@dataclass(frozen=True, slots=True)
class OpenTokenView:
    """A join token that may still be used."""

    token: str  # the beginning of its hash
    site: str
    ends_at: int


@dataclass(frozen=True, slots=True)
class AuthorityView:
    """The CA, what it has issued and what may still be joined by."""

    fingerprint: str
    ends_at: int
    certificate_life_us: int
    certificates: tuple[CertificateView, ...]
    tokens: tuple[OpenTokenView, ...]


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a revocation took back. Tokens by the beginning of their hashes."""

    certificates: tuple[str, ...]
    tokens: tuple[str, ...]
