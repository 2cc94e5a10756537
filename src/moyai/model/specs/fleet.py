"""A fleet as an operator writes it: sites, their kinds of nodes, and the links between them."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from moyai.model.ids import CONTROL_SITE
from moyai.model.specs.base import Part, Spec
from moyai.model.specs.fields import (
    Bool,
    Cpus,
    Memory,
    Name,
    OptionalAccelerators,
    OptionalSpan,
    Rate,
    Read,
    Region,
    ShortSpan,
    number,
    one_of,
    whole,
)
from moyai.model.specs.problems import BadValue, BadValues

ENGINES = ("host",)
"""The engines that a site may have now."""
_FLAVOR = {"name": "standard", "count": 4, "cpus": 16, "memory": "64GiB", "idle_w": 60, "peak_w": 220}
_SITE = {
    "name": "fukuoka",
    "jurisdiction": "JP-40",
    "latitude": 33.59,
    "longitude": 130.4,
    "price_yen_per_kwh": 24,
    "carbon_g_per_kwh": 430,
    "flavors": [_FLAVOR],
}


def _site_name(name: str) -> str:
    if name == CONTROL_SITE:
        raise BadValue("is the name of the control plane", "choose another")
    return name


class FlavorSpec(Part):
    """A kind of node, and how many of it a site has."""

    name: Name = Field(description="What it is called at its site.", examples=["standard"])
    count: Annotated[int, whole(1, 100_000)] = Field(description="How many such nodes there are.", examples=[4])
    cpus: Cpus = Field(description="Cores of one node.", examples=[16])
    memory: Memory = Field(description="Memory of one node, with its unit.", examples=["64GiB"])
    accelerators: OptionalAccelerators = Field(
        default=None, description="Accelerators of one node, type and number. None if left out.", examples=["H100:8"]
    )
    idle_w: Annotated[int, whole(0, 1_000_000)] = Field(
        description="Power that one node draws when it does nothing, in watts.", examples=[60]
    )
    peak_w: Annotated[int, whole(1, 1_000_000)] = Field(
        description="Power that one node draws at full load, in watts.", examples=[220]
    )
    price_yen_per_hour: Annotated[Decimal, number(0, 10_000_000)] = Field(
        default=Decimal(0),
        description="Price of one node for an hour beside its electricity, in yen.",
        examples=[12.5],
    )

    @model_validator(mode="after")
    def _agree(self) -> "FlavorSpec":
        bad: list[BadValue] = []
        if self.peak_w < self.idle_w:
            bad.append(
                BadValue("is less than `idle_w`", "a node at full load draws more than an idle one", below=("peak_w",))
            )
        for key, amount in (
            ("cpus", self.cpus),
            ("memory", self.memory),
            ("accelerators", self.accelerators and self.accelerators.count),
        ):
            if amount and amount.low != amount.high:
                bad.append(BadValue("is a range, and a node has one number", "write that number", below=(key,)))
        if bad:
            raise BadValues(tuple(bad))
        return self


class SiteSpec(Part):
    """One data centre or cluster: one place, one jurisdiction, one engine, one power feed."""

    name: Annotated[Name, AfterValidator(_site_name)] = Field(
        description="What it is called: lower-case letters, digits and '-'.", examples=["fukuoka"]
    )
    engine: Annotated[str, Read(one_of(*ENGINES), str, {"type": "string", "enum": list(ENGINES)})] = Field(
        default="host", description="What runs work there: 'host' is plain Linux.", examples=["host"]
    )
    jurisdiction: Region = Field(
        description="Whose law holds there, by ISO 3166: a country (JP) or a part of one (JP-40).", examples=["JP-40"]
    )
    latitude: Annotated[Decimal, number(-90, 90)] = Field(description="Degrees north.", examples=[33.59])
    longitude: Annotated[Decimal, number(-180, 180)] = Field(description="Degrees east.", examples=[130.4])
    flavors: tuple[FlavorSpec, ...] = Field(
        description="Its kinds of nodes.",
        examples=[[_FLAVOR]],
    )
    price_yen_per_kwh: Annotated[Decimal, number(0, 100_000)] = Field(
        description="Price of electricity, in yen per kWh.", examples=[28]
    )
    carbon_g_per_kwh: Annotated[Decimal, number(0, 10_000)] = Field(
        description="Carbon intensity of its electricity, in grams of CO2 per kWh.", examples=[430]
    )
    pue: Annotated[Decimal, number(1, 10)] = Field(
        default=Decimal(1), description="Power at the feed for each watt of the nodes (PUE).", examples=[1.15]
    )
    power_cap_kw: Annotated[Decimal | None, number(0, 10_000_000, optional=True)] = Field(
        default=None,
        description="Most power that the whole site may draw at its feed, in kW. No cap if left out.",
        examples=[40],
    )
    synthetic: Bool = Field(
        default=False, description="Whether these figures are made up; they are shown as such.", examples=[True]
    )

    @model_validator(mode="after")
    def _agree(self) -> "SiteSpec":
        bad = _twice([flavor.name for flavor in self.flavors], "flavors")
        if not self.flavors:
            bad.append(BadValue("holds no kind of node", "list one at least", "", ("flavors",)))
        if self.power_cap_kw is not None and self.power_cap_kw * 1_000 < 1:
            bad.append(BadValue("allows no power at all", "raise it, or leave the line out", below=("power_cap_kw",)))
        if bad:
            raise BadValues(tuple(bad))
        return self


class LinkSpec(Part):
    """The path between two sites, the same in both directions."""

    between: tuple[Name, ...] = Field(description="The two sites.", examples=[["tokyo", "fukuoka"]])
    bandwidth: Rate = Field(description="What it carries, with its unit.", examples=["10Gbit/s", "1GB/s"])
    latency: ShortSpan = Field(description="One way, with its unit.", examples=["9ms"])
    egress_yen_per_gb: Annotated[Decimal, number(0, 100_000)] = Field(
        default=Decimal(0), description="Price of moving 10^9 bytes over it, in yen.", examples=[2]
    )

    @model_validator(mode="after")
    def _agree(self) -> "LinkSpec":
        if len(self.between) != 2 or self.between[0] == self.between[1]:
            raise BadValue("does not name two sites", "write for example '[tokyo, fukuoka]'", below=("between",))
        return self


class FleetSpec(Spec):
    """The sites of a control plane and the links between them."""

    sites: tuple[SiteSpec, ...] = Field(
        description="The sites.",
        examples=[[_SITE, _SITE | {"name": "tokyo", "jurisdiction": "JP-13"}]],
    )
    links: tuple[LinkSpec, ...] = Field(
        default=(),
        description="The links. Nothing moves between two sites without one.",
        examples=[[{"between": ["tokyo", "fukuoka"], "bandwidth": "10Gbit/s", "latency": "9ms"}]],
    )
    lease: OptionalSpan = Field(
        default=None,
        description="How long a site may be out of reach before its work is stopped there and may start elsewhere.",
        examples=["15s"],
    )

    @model_validator(mode="after")
    def _agree(self) -> "FleetSpec":
        names = [site.name for site in self.sites]
        bad = _twice(names, "sites")
        if not names:
            bad.append(BadValue("names no site", "list one at least", "", ("sites",)))
        seen: list[frozenset[str]] = []
        for i, link in enumerate(self.links):
            for j, end in enumerate(link.between):
                if end not in names:
                    known = ", ".join(names)
                    bad.append(BadValue("is no site of this file", f"sites: {known}", below=("links", i, "between", j)))
            if frozenset(link.between) in seen:
                bad.append(
                    BadValue("names a pair that has a link already", "keep one of them", below=("links", i, "between"))
                )
            seen.append(frozenset(link.between))
        if self.lease is not None and not timedelta(seconds=1) <= self.lease <= timedelta(days=1):
            bad.append(BadValue("is out of range", "write a span from '1s' to '1d'", below=("lease",)))
        if bad:
            raise BadValues(tuple(bad))
        return self


def _twice(names: list[str], key: str) -> list[BadValue]:
    return [
        BadValue("is taken by another", "choose another name", below=(key, i, "name"))
        for i, name in enumerate(names)
        if name in names[:i]
    ]
