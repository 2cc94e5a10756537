"""Tenants' guaranteed shares: what one leaves unused the others borrow, and it is remembered for a while.

A tenant that used less than its share of the fleet has lent, and its jobs weigh more; one that used more has borrowed,
and they weigh less. Without a share a tenant weighs as it is. Nothing is taken from what runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from moyai.model.ids import TenantName
from moyai.model.units import MICROS_PER_HOUR

MEMORY_H = 24.0
"""Hours in which half of what was lent or borrowed is forgotten."""
SCALE_H = 12.0
"""A tenant that lent the whole of its share for so long weighs twice as much; the least and the most are 1/2 and 2."""


@dataclass(slots=True)
class Shares:
    """What each tenant with a share has lent (above zero) or borrowed, in hours of its whole share."""

    lent_h: dict[TenantName, float] = field(default_factory=dict[TenantName, float])
    _at: int = 0

    def pass_time(self, used: Mapping[TenantName, float], share_milli: Mapping[TenantName, int], now: int) -> None:
        """Account for the time since the last call, in which each tenant used a part of the fleet from 0 to 1."""
        hours = max(0, now - self._at) / MICROS_PER_HOUR if self._at else 0.0
        self._at = now
        fade = 0.5 ** (hours / MEMORY_H)
        self.lent_h = {
            tenant: self.lent_h.get(tenant, 0.0) * fade + (1 - used.get(tenant, 0.0) * 1_000 / share) * hours
            for tenant, share in sorted(share_milli.items())
            if share > 0
        }

    def boost(self) -> dict[TenantName, float]:
        """By how much the jobs of each tenant with a share weigh more or less."""
        return {tenant: 2.0 ** max(-1.0, min(1.0, lent / SCALE_H)) for tenant, lent in self.lent_h.items()}
