"""Why here, why not there: one row for every candidate site of a job."""

from collections.abc import Sequence

from moyai.model.reasons import Code, Considered, Reason
from moyai.model.units import MICROS_PER_HOUR
from moyai.plan.problem import JobClass, Option
from moyai.plan.timeline import Quote

Offer = tuple[Option, Quote]


def rows(
    cls: JobClass, offers: Sequence[Offer], chosen: Offer | None, last_start: int, *, told: bool = True
) -> tuple[Considered, ...]:
    """The rows of a class, by site. A site that could take it shows its best offer, and the figure by which it lost.

    `offers` are what each option would have been at the time of the choice; `last_start` is the horizon. Without
    `told`, the row of the choice doesn't say what it waits for.
    """
    best: dict[str, Offer] = {}
    for offer in offers:
        known = best.get(offer[0].site)
        if known is None or rank(offer, last_start) > rank(known, last_start):
            best[offer[0].site] = offer
    if chosen is not None:
        best[chosen[0].site] = chosen
    made = [_row(cls, offer, chosen, told=told) for offer in best.values()]
    made.extend(cls.excluded)
    made.sort(key=lambda row: row.site)
    return tuple(made)


def rank(offer: Offer, last_start: int) -> tuple[bool, int, int]:
    """The order of preference: within the horizon, worth more, earlier."""
    quote = offer[1]
    return quote.issue <= last_start, quote.value, -quote.start


def _row(cls: JobClass, offer: Offer, chosen: Offer | None, *, told: bool) -> Considered:
    option, quote = offer
    if offer is chosen:
        waits = quote.issue - cls.now if told and quote.awaits else 0
        reason = Reason(Code.CHOSEN, subject=option.site, detail=quote.awaits if waits else "", found=waits)
    else:
        reason = why_not(cls, offer, chosen)
    return Considered(
        site=option.site,
        flavor=option.flavor.name,
        feasible=True,
        reason=reason,
        start=quote.start,
        end=quote.end,
        cost_micro_yen=option.run_micro_yen + quote.egress_micro_yen,
        energy_j=option.energy_j,
        carbon_mg=option.carbon_mg,
        moved_bytes=quote.moved_bytes,
    )


def why_not(cls: JobClass, offer: Offer, chosen: Offer | None) -> Reason:
    """The figure that makes an offer lose against the chosen one: lateness, the wait for room, or all of its cost."""
    option, quote = offer
    if chosen is None:
        return Reason(Code.BUSY, found=quote.issue - cls.now)
    lead_option, lead = chosen
    late = wait = 0
    if cls.deadline is not None:
        late = cls.late_rate * (max(0, quote.end - cls.deadline) - max(0, lead.end - cls.deadline)) // MICROS_PER_HOUR
    if quote.issue > lead.issue:
        wait = cls.wait_rate * (quote.end - lead.end) // MICROS_PER_HOUR
    money = option.run_micro_yen + quote.egress_micro_yen - lead_option.run_micro_yen - lead.egress_micro_yen
    if late > 0 and cls.deadline is not None and late >= max(wait, money):
        return Reason(Code.LATE, found=quote.end - cls.deadline)
    if wait > 0 and wait >= money:
        return Reason(Code.BUSY, found=quote.issue - cls.now)
    return Reason(Code.DEARER, found=max(0, lead.value - quote.value))
