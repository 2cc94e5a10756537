"""Why here, why not there: one row for every candidate site of a job."""

from collections.abc import Sequence

from moyai.model.reasons import Code, Considered, Reason
from moyai.plan.problem import JobClass, Option
from moyai.plan.timeline import Quote

Offer = tuple[Option, Quote]


def rows(cls: JobClass, offers: Sequence[Offer], chosen: Offer | None, last_start: int) -> tuple[Considered, ...]:
    """The rows of a class, by site. A site that could take it shows its best offer, and the figure by which it lost.

    `offers` are what each option would have been at the time of the choice; `last_start` is the horizon.
    """
    best: dict[str, Offer] = {}
    for offer in offers:
        known = best.get(offer[0].site)
        if known is None or rank(offer, last_start) > rank(known, last_start):
            best[offer[0].site] = offer
    if chosen is not None:
        best[chosen[0].site] = chosen
    made = [_row(cls, offer, chosen, last_start) for offer in best.values()]
    made.extend(cls.excluded)
    made.sort(key=lambda row: row.site)
    return tuple(made)


def rank(offer: Offer, last_start: int) -> tuple[bool, int, int]:
    """The order of preference: within the horizon, worth more, earlier; beyond it, had sooner."""
    quote = offer[1]
    within = quote.issue <= last_start
    return within, quote.value if within else -quote.issue, -quote.start


def _row(cls: JobClass, offer: Offer, chosen: Offer | None, last_start: int) -> Considered:
    option, quote = offer
    if offer is chosen:
        waits = quote.issue - cls.now if quote.awaits else 0
        reason = Reason(Code.CHOSEN, subject=option.site, detail=quote.awaits if waits else "", found=waits)
    else:
        reason = why_not(cls, offer, chosen, last_start)
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


def why_not(cls: JobClass, offer: Offer, chosen: Offer | None, last_start: int) -> Reason:
    """What an offer lacks against the chosen one: were it better by the figure of the reason, it would be taken.

    Where it can't be had within the horizon, that is the reason; what it lacks beside is told once it can.
    """
    option, quote = offer
    busy = Reason(Code.BUSY, found=quote.issue - cls.now)
    if chosen is None or quote.issue > last_start:
        return busy
    lead = chosen[1]
    missing = lead.value - quote.value
    if missing > 0 and cls.deadline is not None:
        in_time = max(cls.deadline, lead.end)
        if quote.end > in_time and cls.value(option, in_time, quote.egress_micro_yen) >= lead.value:
            return Reason(Code.LATE, found=quote.end - cls.deadline)
    if missing > 0 and quote.issue > lead.issue and quote.if_free >= lead.value:
        return busy
    return Reason(Code.DEARER, found=max(0, missing))
