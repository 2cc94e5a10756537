"""What the fleet draws and holds as time goes on: exact integrals, the peak, and a sample every so often.

A site that is lost draws nothing. Everything else draws its idle power, and what its attempts draw beyond that.
"""

import bisect
from collections.abc import Callable
from dataclasses import dataclass, replace

from moyai.facility.power import idle_power_w
from moyai.model.events import Signal
from moyai.model.ids import JobId, SiteName
from moyai.model.site import SiteProfile
from moyai.model.units import J_PER_KWH, MICROS_PER_SECOND
from moyai.model.workload import Need
from moyai.twin.replay.outcome import Sample, SiteSample


@dataclass(slots=True)
class _Feed:
    profile: SiteProfile
    idle_w: int  # at the feed; 0 while it is lost
    units: int  # accelerators, or cores where it has none
    by_cores: bool
    held: int = 0
    attempts_w: int = 0


@dataclass(slots=True)
class Totals:
    """Sums since the start. Products of units stay whole numbers until they are read."""

    at_us: int = 0
    feed_uj: int = 0
    idle_uj: int = 0
    idle_price: int = 0  # µJ × micro-yen per kWh
    idle_carbon: int = 0  # µJ × mg per kWh
    held_us: int = 0  # accelerators × µs, at sites that have some
    units_us: int = 0  # the same of all that there are

    @property
    def energy_j(self) -> int:
        """Energy at all feeds."""
        return self.feed_uj // MICROS_PER_SECOND

    @property
    def idle_j(self) -> int:
        """The part of it that nodes draw whether they work or not."""
        return self.idle_uj // MICROS_PER_SECOND

    @property
    def idle_micro_yen(self) -> int:
        """The price of that part."""
        return self.idle_price // (MICROS_PER_SECOND * J_PER_KWH)

    @property
    def idle_carbon_mg(self) -> int:
        """The carbon of that part."""
        return self.idle_carbon // (MICROS_PER_SECOND * J_PER_KWH)


class Meter:
    """Told of each change, it adds up what held before it.

    What idle nodes draw counts up to `until_us`, when the last job comes: a policy that is long over its last job isn't
    charged for nodes that would have had other work.
    """

    def __init__(
        self,
        profiles: tuple[SiteProfile, ...],
        until_us: int,
        every_us: int,
        queued: Callable[[], int],
        deadlines: list[tuple[int, JobId]],  # by time
    ) -> None:
        self._feeds: dict[SiteName, _Feed] = {}
        for p in sorted(profiles, key=lambda p: p.name):
            accelerators = sum(f.count * f.accelerators for f in p.flavors)
            cores = sum(f.count * f.cores for f in p.flavors)
            self._feeds[p.name] = _Feed(p, idle_power_w(p), accelerators or cores, not accelerators)
        self._until_us, self._every_us, self._next_us = until_us, every_us, 0
        self._queued, self._deadlines = queued, deadlines
        self._on_time: set[JobId] = set()  # only asked for membership
        self._passed = self._missed = 0
        self._held = 0
        self.running = 0
        self.total = Totals()
        self.kept = Totals()
        self.peak_w = 0
        self.samples: list[Sample] = []
        self._rates()

    def _rates(self) -> None:
        feeds = self._feeds.values()
        self._idle_w = sum(f.idle_w for f in feeds)
        self._idle_price = sum(f.idle_w * f.profile.price_micro_yen_per_kwh for f in feeds)
        self._idle_carbon = sum(f.idle_w * f.profile.carbon_mg_per_kwh for f in feeds)
        self._attempts_w = sum(f.attempts_w for f in feeds)
        self._units = sum(f.units for f in feeds if not f.by_cores)

    def advance(self, to_us: int) -> None:
        """Let time pass with everything as it is."""
        total = self.total
        passed = to_us - total.at_us
        if passed <= 0:
            return
        while self._next_us < to_us:
            self._sample(self._next_us)
            self._next_us += self._every_us
        inside = max(0, min(to_us, self._until_us) - total.at_us)
        self.peak_w = max(self.peak_w, self._idle_w + self._attempts_w)
        total.at_us = to_us
        total.feed_uj += self._attempts_w * passed + self._idle_w * inside
        total.idle_uj += self._idle_w * inside
        total.idle_price += self._idle_price * inside
        total.idle_carbon += self._idle_carbon * inside
        total.held_us += self._held * passed
        total.units_us += self._units * passed

    def keep(self) -> None:
        """What was summed up to now counts: a job came or ended. What follows the last one doesn't."""
        self.kept = replace(self.total)

    def hold(self, site: SiteName, need: Need, ranks: int) -> None:
        """An attempt of so many ranks holds nodes; a negative count gives them back."""
        feed = self._feeds[site]
        amount = ranks * (need.cores if feed.by_cores else need.accelerators)
        feed.held += amount
        if not feed.by_cores:
            self._held += amount

    def run(self, site: SiteName, power_w: int, sign: int = 1) -> None:
        """An attempt begins to run, and draws `power_w`; with sign −1, it ended."""
        self._feeds[site].attempts_w += sign * power_w
        self._attempts_w += sign * power_w
        self.running += sign

    def lost(self, site: SiteName) -> None:
        """A site is dark."""
        self._feeds[site].idle_w = 0
        self._rates()

    def back(self, site: SiteName) -> None:
        """It draws its idle power again."""
        feed = self._feeds[site]
        feed.idle_w = idle_power_w(feed.profile)
        self._rates()

    def change(self, site: SiteName, signal: Signal, value: int) -> None:
        """A signal has a new value."""
        feed = self._feeds[site]
        match signal:
            case Signal.PRICE:
                feed.profile = replace(feed.profile, price_micro_yen_per_kwh=value)
            case Signal.CARBON:
                feed.profile = replace(feed.profile, carbon_mg_per_kwh=value)
            case Signal.POWER_CAP:
                feed.profile = replace(feed.profile, power_cap_w=value)
        self._rates()

    def on_time(self, job: JobId) -> None:
        """A job ended well by its deadline."""
        self._on_time.add(job)

    def _sample(self, at_us: int) -> None:
        first = self._passed
        self._passed = bisect.bisect_right(self._deadlines, at_us, lo=first, key=lambda d: d[0])
        self._missed += sum(job not in self._on_time for _, job in self._deadlines[first : self._passed])
        sites = tuple(SiteSample(n, f.held, f.units, f.idle_w + f.attempts_w) for n, f in self._feeds.items())
        self.samples.append(Sample(at_us, self._queued(), self.running, self._missed, len(self._on_time), sites))
