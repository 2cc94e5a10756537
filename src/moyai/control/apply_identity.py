"""What the events of identity change: join tokens and certificates. Those long over are forgotten."""

from collections.abc import Callable
from typing import Any

from moyai.control.state import Certificate, Indexes, JoinToken, State
from moyai.model import events as e
from moyai.model.envelope import Record
from moyai.model.units import Instant

KEPT_US = 24 * 3_600_000_000
"""How long tokens and certificates are remembered after their ends, so that a late use gets a true answer."""


def _tidy(state: State, now: Instant) -> None:
    for held in (state.tokens, state.certificates):
        for name in [n for n, one in held.items() if one.ends_at + KEPT_US < now]:
            del held[name]


def _token_issued(state: State, _: Indexes, body: e.JoinTokenIssued, record: Record) -> None:
    _tidy(state, record.recorded_at)
    state.tokens[body.token] = JoinToken(body.site, body.ends_at)


def _token_spent(state: State, _: Indexes, body: e.JoinTokenSpent, __: Record) -> None:
    if (token := state.tokens.get(body.token)) is not None:
        token.key, token.serial = body.key, body.serial


def _token_revoked(state: State, _: Indexes, body: e.JoinTokenRevoked, __: Record) -> None:
    state.tokens.pop(body.token, None)


def _certificate_issued(state: State, _: Indexes, body: e.CertificateIssued, record: Record) -> None:
    _tidy(state, record.recorded_at)
    state.certificates[body.serial] = Certificate(body.site, body.key, body.begins_at, body.ends_at)


def _certificate_revoked(state: State, _: Indexes, body: e.CertificateRevoked, __: Record) -> None:
    if (certificate := state.certificates.get(body.serial)) is not None:
        certificate.revoked = True


IDENTITY_REDUCERS: dict[type[e.EventBody], Callable[[State, Indexes, Any, Record], None]] = {
    e.JoinTokenIssued: _token_issued,
    e.JoinTokenSpent: _token_spent,
    e.JoinTokenRevoked: _token_revoked,
    e.CertificateIssued: _certificate_issued,
    e.CertificateRevoked: _certificate_revoked,
}
"""The reducer of each kind of event about identity."""
