"""A fleet as an operator writes it: sites, their kinds of nodes, and the links between them."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from moyai.model.ids import CONTROL_SITE
from moyai.model.specs.base import Part, Spec
from moyai.model.specs.engine import RayPart, SlurmPart, SshPart
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
from moyai.model.specs.problems import BadValue, BadValues, quoted

ENGINES = ("host", "ssh", "slurm", "ray")
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
_SLURM = {"rest": "http://127.0.0.1:6820", "jwt_key": "/etc/slurm/jwt_hs256.key", "user": "moyai"}
_RAY = {"address": "http://127.0.0.1:8265", "token": "/etc/moyai/ray.token"}
_SSH = {"hosts": [{"name": f"node-{i}", "address": f"10.0.0.{i}", "flavor": "standard"} for i in range(1, 5)]}


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


class SiteKeys(Part):
    """The keys of a site, in a fleet's list or in a file of its own."""

    name: Annotated[Name, AfterValidator(_site_name)] = Field(
        description="What it is called: lower-case letters, digits and '-'.", examples=["fukuoka"]
    )
    engine: Annotated[str, Read(one_of(*ENGINES), str, {"type": "string", "enum": list(ENGINES)})] = Field(
        default="host",
        description="What runs work there: 'host' is this machine, 'ssh' are machines reached by SSH.",
        examples=["host"],
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
    slurm: SlurmPart | None = Field(default=None, description="How its Slurm cluster is reached.", examples=[_SLURM])
    ray: RayPart | None = Field(default=None, description="How its Ray cluster is reached.", examples=[_RAY])
    ssh: SshPart | None = Field(default=None, description="How its machines are reached.", examples=[_SSH])

    @model_validator(mode="after")
    def _agree(self) -> Self:
        bad = _twice([flavor.name for flavor in self.flavors], "flavors")
        if not self.flavors:
            bad.append(BadValue("holds no kind of node", "list one at least", "", ("flavors",)))
        if self.power_cap_kw is not None and self.power_cap_kw * 1_000 < 1:
            bad.append(BadValue("allows no power at all", "raise it, or leave the line out", below=("power_cap_kw",)))
        bad += _of_engine(self)
        if bad:
            raise BadValues(tuple(bad))
        return self


class SiteSpec(SiteKeys):
    """One data centre or cluster: one place, one jurisdiction, one engine, one power feed."""


class SiteFile(SiteKeys, Spec):
    """One site in a file of its own, as its agent reads it."""


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
    remote: tuple[Name, ...] = Field(
        default=(),
        description="Sites that join by themselves, so that links may name them: `moyai agent join`.",
        examples=[["osaka"]],
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
        if not names and not self.remote:
            bad.append(BadValue("names no site", "list one at least, or name those of `remote`", "", ("sites",)))
        bad += [
            BadValue(
                "stands in `sites` too", "an agent of this server runs it, or it joins by itself", below=("remote", i)
            )
            for i, name in enumerate(self.remote)
            if name in names
        ]
        names += self.remote
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


def _of_engine(site: SiteKeys) -> list[BadValue]:
    """What is wrong with the settings of a site's engine."""
    parts = {"slurm": site.slurm, "ray": site.ray, "ssh": site.ssh}
    bad = [
        BadValue(f"stands beside 'engine: {site.engine}'", f"write 'engine: {kind}', or take it out", "", (kind,))
        for kind, part in parts.items()
        if part is not None and kind != site.engine
    ]
    if site.engine in parts and parts[site.engine] is None:
        hint = f"add '{site.engine}:' with how it is reached"
        bad.append(BadValue("has nothing that says how it is reached", hint, below=("engine",)))
    flavors = {flavor.name: flavor for flavor in site.flavors}
    known = f"flavors: {', '.join(flavors)}"
    if site.slurm is not None:
        strange = [name for name in site.slurm.flavors if name not in flavors]
        bad += [
            BadValue("is no flavor of this site", known, quoted(name), ("slurm", "flavors", name)) for name in strange
        ]
    if site.ssh is not None:
        for i, host in enumerate(site.ssh.hosts):
            if host.flavor not in flavors:
                bad.append(BadValue("is no flavor of this site", known, below=("ssh", "hosts", i, "flavor")))
        for i, flavor in enumerate(site.flavors):
            machines = sum(host.flavor == flavor.name for host in site.ssh.hosts)
            if machines != flavor.count:
                hint = f"`ssh.hosts` has {machines}"
                bad.append(BadValue("is not the number of its machines", hint, below=("flavors", i, "count")))
    return bad


def _twice(names: list[str], key: str) -> list[BadValue]:
    return [
        BadValue("is taken by another", "choose another name", below=(key, i, "name"))
        for i, name in enumerate(names)
        if name in names[:i]
    ]
