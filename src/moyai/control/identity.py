"""Who may speak for a site: join tokens, certificates, and their ends. Never mutates.

A token works once. The log says which key spent it, and that key alone may ask again, so that an answer that was lost
costs nobody a new token. Signing is done by the shell, once these events are durable.
"""

import re
from dataclasses import dataclass

from moyai.control import requests as r
from moyai.control.refused import Refused, near
from moyai.control.state import State
from moyai.model import events as e
from moyai.model.envelope import Draft, Origin
from moyai.model.ids import CONTROL_SITE, SiteName
from moyai.model.site import Flavor, SiteProfile
from moyai.model.units import Instant

MAX_TOKENS = 1_000
"""Tokens that may be open at once."""
MAX_CERTIFICATES = 8
"""Certificates of one site that may be valid at once: two in practice, while it goes from one to the next."""
MAX_FLAVORS = 256
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_REGION = re.compile(r"[A-Z]{2}(?:-[A-Z0-9]{1,3})?")
_ENGINE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ACCELERATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}|")
_LARGEST = 2**53
_SERIAL = re.compile(r"[0-9a-f]{16,40}")
_Identity = r.IssueToken | r.SpendToken | r.RenewCertificate | r.Revoke | r.DeclareSite


@dataclass(frozen=True, slots=True)
class Presented:
    """What a certificate that the CA signed says of its holder."""

    site: SiteName
    serial: str
    ends_at: Instant


def identity_drafts(state: State, request: _Identity, now: Instant) -> tuple[Draft, ...]:
    """The events that a request about identity causes. Raises Refused."""
    match request:
        case r.IssueToken():
            return _issue_token(state, request, now)
        case r.SpendToken():
            return _spend_token(state, request, now)
        case r.RenewCertificate():
            return _renew(state, request, now)
        case r.Revoke():
            return _revoke(state, request, now)
        case r.DeclareSite():
            return _declare(state, request.site, request.profile)


def check_presented(state: State, shown: Presented, now: Instant) -> None:
    """Whether a certificate that TLS found good is good for us too. Raises Refused (401)."""
    hint = f"on the control plane: moyai agent token {shown.site}; at the site: moyai agent join"
    known = state.certificates.get(shown.serial)
    if known is not None and known.revoked:
        raise Refused(401, f"the certificate {shown.serial} of {shown.site} was revoked", hint, code="revoked")
    if shown.ends_at <= now or (known is not None and known.ends_at <= now):
        raise Refused(401, f"the certificate of {shown.site} is over", hint, code="certificate-over")
    if known is None or known.site != shown.site:
        said = f"the log of this control plane knows no certificate {shown.serial} of {shown.site}"
        raise Refused(401, said, hint, code="certificate-unknown")


def certificate_of(state: State, site: SiteName, key: str, now: Instant) -> str | None:
    """The serial number of the certificate that a key of a site has, None where it has no good one."""
    found = (
        serial
        for serial, held in state.certificates.items()
        if held.site == site and held.key == key and not held.revoked and held.ends_at > now
    )
    return next(found, None)


def _issue_token(state: State, request: r.IssueToken, now: Instant) -> tuple[Draft, ...]:
    _check_site(request.site)
    if request.token in state.tokens:
        return ()
    if sum(not t.serial and t.ends_at > now for t in state.tokens.values()) >= MAX_TOKENS:
        raise Refused(429, f"{MAX_TOKENS} join tokens are open already", "revoke some: moyai ca revoke SITE")
    body = e.JoinTokenIssued(request.token, request.site, request.ends_at)
    return (Draft(body, Origin.OUTSIDE, actor=request.actor),)


def _spend_token(state: State, request: r.SpendToken, now: Instant) -> tuple[Draft, ...]:
    token = state.tokens.get(request.token)
    hint = "ask for a new one: moyai agent token SITE"
    if token is None:
        raise Refused(401, "no such join token: it was revoked, is long over, or is another control plane's", hint)
    wanted = request.certificate
    if token.ends_at <= now:
        raise Refused(401, f"the join token for {token.site} is over", hint, code="token-over")
    if token.serial and token.key != wanted.key:
        raise Refused(401, f"the join token for {token.site} was used already", hint, code="token-used")
    if token.site != request.profile.name:
        said = f"the join token is for {token.site}, not for {request.profile.name[:64]!r}"
        raise Refused(403, said, "each site needs a token of its own", code="wrong-site")
    declared = _declare(state, token.site, request.profile)
    if token.serial:
        held = state.certificates.get(token.serial)
        if held is not None and held.revoked:
            raise Refused(401, f"the certificate that {token.site} joined by was revoked", hint, code="revoked")
        return declared
    _check_room(state, token.site, now)
    actor = f"site:{token.site}"
    spent = e.JoinTokenSpent(request.token, token.site, wanted.key, wanted.serial)
    return (Draft(spent, Origin.OUTSIDE, actor=actor), *declared, _issued(token.site, wanted))


def _renew(state: State, request: r.RenewCertificate, now: Instant) -> tuple[Draft, ...]:
    if certificate_of(state, request.site, request.certificate.key, now) is not None:
        return ()
    _check_room(state, request.site, now)
    return (_issued(request.site, request.certificate),)


def _issued(site: SiteName, new: r.NewCertificate) -> Draft:
    body = e.CertificateIssued(new.serial, site, new.key, new.begins_at, new.ends_at)
    return Draft(body, Origin.OUTSIDE, actor=f"site:{site}")


def _check_room(state: State, site: SiteName, now: Instant) -> None:
    valid = sum(c.site == site and not c.revoked and c.ends_at > now for c in state.certificates.values())
    if valid >= MAX_CERTIFICATES:
        raise Refused(429, f"{site} has {valid} valid certificates already", f"revoke them: moyai ca revoke {site}")


def _revoke(state: State, request: r.Revoke, now: Instant) -> tuple[Draft, ...]:
    """Takes back certificates that are still valid, and with a site's its open tokens."""
    what = request.what.lower()
    one = state.certificates.get(what)
    if one is not None:
        if one.revoked:
            return ()
        return (Draft(e.CertificateRevoked(what, one.site), Origin.OUTSIDE, actor=request.actor),)
    tokens = [(name, t) for name, t in sorted(state.tokens.items()) if t.site == what and not t.serial]
    known = {c.site for c in state.certificates.values()} | {t.site for t in state.tokens.values()}
    if what not in known | set(state.sites):
        thing = "certificate" if _SERIAL.fullmatch(what) else "site"
        raise Refused(404, f"there is no {thing} {request.what[:64]!r}", near(what, sorted(known)))
    drafts: list[e.EventBody] = [
        e.CertificateRevoked(serial, held.site)
        for serial, held in sorted(state.certificates.items())
        if held.site == what and not held.revoked and held.ends_at > now
    ]
    drafts += [e.JoinTokenRevoked(name, token.site) for name, token in tokens]
    return tuple(Draft(body, Origin.OUTSIDE, actor=request.actor) for body in drafts)


def _declare(state: State, site: SiteName, profile: SiteProfile) -> tuple[Draft, ...]:
    if profile.name != site:
        raise Refused(403, f"{site} may not declare {profile.name[:64]!r}", code="wrong-site")
    if problem := profile_problem(profile):
        raise Refused(422, f"the profile of {site}: {problem}", "see site.yaml")
    held = state.sites.get(site)
    if held is not None and held.profile == profile:
        return ()
    return (Draft(e.SiteDeclared(profile), Origin.OUTSIDE, actor=f"site:{site}"),)


def _check_site(site: SiteName) -> None:
    if not _NAME.fullmatch(site):
        hint = "use lower-case letters, digits and '-', at most 63"
        raise Refused(422, f"{site[:64]!r} is no name for a site", hint)
    if site == CONTROL_SITE:
        raise Refused(422, f"a site can't be called {CONTROL_SITE!r}", "choose another name")


def profile_problem(profile: SiteProfile) -> str:
    """What is wrong with a profile that came over the network; "" where nothing is."""
    _check_site(profile.name)
    if not _ENGINE.fullmatch(profile.engine) or not _REGION.fullmatch(profile.jurisdiction):
        return f"engine {profile.engine[:40]!r} or jurisdiction {profile.jurisdiction[:40]!r} can't be"
    if abs(profile.latitude_microdeg) > 90_000_000 or abs(profile.longitude_microdeg) > 180_000_000:
        return "its place is not on Earth"
    figures = (profile.price_micro_yen_per_kwh, profile.carbon_mg_per_kwh, profile.power_cap_w)
    if not all(0 <= n <= _LARGEST for n in figures) or not 1_000 <= profile.pue_milli <= 10_000:
        return "a figure is out of range"
    if not 1 <= len(profile.flavors) <= MAX_FLAVORS:
        return f"it has {len(profile.flavors)} flavors; from 1 to {MAX_FLAVORS} are possible"
    if len({flavor.name for flavor in profile.flavors}) != len(profile.flavors):
        return "two flavors have one name"
    return next((problem for flavor in profile.flavors if (problem := _flavor_problem(flavor))), "")


def _flavor_problem(flavor: Flavor) -> str:
    if not _NAME.fullmatch(flavor.name):
        return f"{flavor.name[:64]!r} is no name for a flavor"
    figures = (flavor.memory_bytes, flavor.accelerators, flavor.idle_w, flavor.price_micro_yen_per_hour)
    good = all(0 <= n <= _LARGEST for n in figures) and flavor.idle_w <= flavor.peak_w <= _LARGEST
    if not good or not 1 <= flavor.count <= 100_000 or not 1 <= flavor.cores <= 1_000_000:
        return f"a figure of flavor {flavor.name} is out of range"
    if not _ACCELERATOR.fullmatch(flavor.accelerator) or bool(flavor.accelerator) != bool(flavor.accelerators):
        return f"the accelerators of flavor {flavor.name} can't be"
    return ""
