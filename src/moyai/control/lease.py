"""Control's side of the sites' leases: until when a site that fell silent may still be at work.

A site counts its lease from *sending* the renewal, control from *answering* it, and waits `L·(1 + 3ρ)`: the site's
clock may run slow by ρ, control's fast by ρ, and one ρ is to spare. A new leader counts from its take-over.
"""

from moyai.model.ids import SiteName
from moyai.model.units import Boot


class LeaseTable:
    """When each site was last answered, by the boot clock of the machine that control runs on. Volatile by intent."""

    __slots__ = ("_answered", "lease_us", "wait_us")

    def __init__(self, lease_us: int, drift_ppm: int = 1_000) -> None:
        if lease_us <= 0 or drift_ppm < 0:
            raise ValueError(
                f"a lease must be positive and its drift bound not negative: {lease_us} µs, {drift_ppm} ppm"
            )
        self.lease_us = lease_us
        self.wait_us = lease_us + -(-lease_us * 3 * drift_ppm // 1_000_000)
        self._answered: dict[SiteName, tuple[int, Boot]] = {}

    def answered(self, site: SiteName, term: int, now: Boot) -> None:
        """A renewal of `site` in `term` is answered at `now`, or the take-over of a new leader counts as one."""
        self._answered[site] = (term, now)

    def forget(self, site: SiteName) -> None:
        """The site is lost, or was never there: nothing to wait for."""
        self._answered.pop(site, None)

    def over(self, now: Boot) -> list[tuple[SiteName, int]]:
        """Sites, with their term, that can't be at work any more, by name."""
        return sorted((s, term) for s, (term, at) in self._answered.items() if now - at > self.wait_us)

    def next_over(self) -> Boot | None:
        """When the first lease is over, unless renewed."""
        return min((Boot(at + self.wait_us + 1) for _, at in self._answered.values()), default=None)

    def left_us(self, site: SiteName, now: Boot) -> int:
        """How long control still waits for `site`; 0 where it doesn't."""
        held = self._answered.get(site)
        return 0 if held is None else max(0, held[1] + self.wait_us - now)
