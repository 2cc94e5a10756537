"""What is otherwise in a what-if: one more site, a site that isn't there, a price, a power cap, more nodes."""

import difflib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from moyai.model.events import Signal
from moyai.model.ids import SiteName
from moyai.model.site import Link, SiteProfile, link_key
from moyai.model.specs.addition import AdditionSpec
from moyai.model.specs.fields import span_us
from moyai.model.specs.fleet import FleetSpec
from moyai.model.specs.problems import BadValue, Problem, SpecError, quoted
from moyai.model.specs.quantity import parse_decimal
from moyai.model.specs.resolve import resolve_fleet
from moyai.model.units import MICRO_YEN
from moyai.twin.replay.setup import Setup

_SIGNALS = {
    "price": (Signal.PRICE, 1_000_000),
    "carbon": (Signal.CARBON, 1_000),
    "power-cap": (Signal.POWER_CAP, 1_000),
}
PUE = "pue"


class BadChange(Exception):
    """A change that can't be made. `option` is where it was asked for."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(problem)
        self.option = option


def without_site(setup: Setup, name: str) -> Setup:
    """The setup without a site: without its links, faults, changes and the datasets that lay there.

    Raises BadChange where there is no such site, or no other.
    """
    site = _known(setup, name, "--without-site")
    if len(setup.profiles) == 1:
        raise BadChange("--without-site", f"{quoted(name)} is the only site; nothing could run")
    gone = [placed for placed in setup.datasets if placed.site == site]
    lost = ", ".join(f"{placed.profile.name}@{placed.profile.version}" for placed in gone)
    note = f"without {site}" + (f", and without what lay there alone: {lost}" if gone else "")
    return replace(
        setup,
        profiles=tuple(profile for profile in setup.profiles if profile.name != site),
        links=tuple(link for link in setup.links if site not in (link.a, link.b)),
        datasets=tuple(placed for placed in setup.datasets if placed.site != site),
        faults=tuple(fault for fault in setup.faults if fault.site != site),
        changes=tuple(change for change in setup.changes if change.site != site),
        notes=(*setup.notes, note),
    )


def add_sites(setup: Setup, path: Path) -> Setup:
    """The setup with the sites and links of a file. Raises SpecError with file and line."""
    spec = AdditionSpec.from_file(path)
    there = [profile.name for profile in setup.profiles]
    names = [*there, *(site.name for site in spec.sites)]
    problems: list[Problem] = []
    for i, site in enumerate(spec.sites):
        if site.name in names[: len(there) + i]:
            problems.append(
                spec.source.problem(("sites", i, "name"), "is there already", "choose another name", quoted(site.name))
            )
    for i, link in enumerate(spec.links):
        problems += [
            spec.source.problem(("links", i, "between", j), "is no site", f"sites: {', '.join(names)}", quoted(end))
            for j, end in enumerate(link.between)
            if end not in names
        ]
    if not spec.sites:
        problems.append(spec.source.problem(("sites",), "adds no site", "list one at least"))
    if problems:
        raise SpecError(tuple(problems))
    more, _ = resolve_fleet(FleetSpec(sites=spec.sites))
    links = {(link.a, link.b): link for link in setup.links}
    for link in spec.links:
        a, b = link_key(SiteName(link.between[0]), SiteName(link.between[1]))
        links[a, b] = Link(a, b, link.bandwidth, span_us(link.latency), int(link.egress_yen_per_gb * MICRO_YEN))
    added = ", ".join(profile.name for profile in more)
    return replace(
        setup,
        profiles=tuple(sorted((*setup.profiles, *more), key=lambda profile: profile.name)),
        links=tuple(links[key] for key in sorted(links)),
        notes=(*setup.notes, f"with {added} from the start"),
    )


def set_value(setup: Setup, text: str) -> Setup:
    """The setup with one value of a site changed from the start on: "tokyo.price=60". Raises BadChange.

    A signal that is set no longer changes. The last word may be a flavor of the site: then it is its count of nodes.
    """
    where, equals, value_text = text.partition("=")
    name, dot, key = where.strip().partition(".")
    if not equals or not dot or not key:
        raise BadChange("--set", f"{quoted(text)} isn't SITE.KEY=VALUE; write for example tokyo.price=60")
    site = _known(setup, name, "--set")
    profile = next(profile for profile in setup.profiles if profile.name == site)
    flavors = [flavor.name for flavor in profile.flavors]
    keys = [*_SIGNALS, PUE, *flavors]
    if key not in keys:
        raise BadChange("--set", f"{quoted(key)} can't be set; of {site} there are {', '.join(keys)}")
    try:
        low, high = (1, 10) if key == PUE else (0, 10_000_000)
        value = parse_decimal(value_text.strip(), low, high)
    except BadValue as error:
        hint = f"; {error.hint}" if error.hint else ""
        raise BadChange("--set", f"{text}: {quoted(value_text.strip())} {error.wrong}{hint}") from None
    changed = _changed(profile, key, value, text)
    signal = _SIGNALS[key][0] if key in _SIGNALS else None
    return replace(
        setup,
        profiles=tuple(changed if p.name == site else p for p in setup.profiles),
        changes=tuple(c for c in setup.changes if c.site != site or c.signal is not signal),
        notes=(*setup.notes, f"{site}.{key} is {value_text.strip()} from the start"),
    )


def _changed(profile: SiteProfile, key: str, value: Decimal, text: str) -> SiteProfile:
    if key == "price":
        return replace(profile, price_micro_yen_per_kwh=round(value * 1_000_000))
    if key == "carbon":
        return replace(profile, carbon_mg_per_kwh=round(value * 1_000))
    if key == "power-cap":
        return replace(profile, power_cap_w=round(value * 1_000))
    if key == PUE:
        return replace(profile, pue_milli=round(value * 1_000))
    if value != int(value) or not value:
        raise BadChange("--set", f"{text}: a count of nodes is a whole number of 1 or more")
    flavors = tuple(replace(f, count=int(value)) if f.name == key else f for f in profile.flavors)
    return replace(profile, flavors=flavors)


def _known(setup: Setup, name: str, option: str) -> SiteName:
    names = [profile.name for profile in setup.profiles]
    if name in names:
        return SiteName(name)
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {quoted(near[0])}?" if near else f"sites: {', '.join(names)}"
    raise BadChange(option, f"there is no site {quoted(name)}; {hint}")
