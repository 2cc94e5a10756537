"""A scenario for the twin, as a person writes it: a fleet, work, and what happens outside meanwhile."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field, model_validator

from moyai.model.specs import quantity
from moyai.model.specs.base import Part, Spec
from moyai.model.specs.fields import Directory, Memory, Name, OptionalSpan, Rate, Read, Region, ShortSpan, Text, whole
from moyai.model.specs.fields import number as decimal
from moyai.model.specs.fleet import SiteSpec
from moyai.model.specs.problems import BadValue, BadValues, Path
from moyai.model.specs.scenario_jobs import OptionalShort, Share, TenantSpec, WorkSpec, choice, optional
from moyai.model.units import Instant

SIGNALS = ("price", "carbon", "power-cap")
MISHAPS = ("lost", "back", "drain", "undrain")
HOURS = 24

_SITE = {
    "name": "fukuoka",
    "jurisdiction": "JP-40",
    "latitude": 33.59,
    "longitude": 130.4,
    "price_yen_per_kwh": 24,
    "carbon_g_per_kwh": 430,
    "flavors": [{"name": "a100", "count": 4, "cpus": 128, "memory": "1TiB", "accelerators": "A100:8", "idle_w": 1600,
                 "peak_w": 6200}],
}  # fmt: skip
_Value = Annotated[Decimal, decimal(0, 10_000_000)]
_OptionalValue = Annotated[Decimal | None, decimal(0, 10_000_000, optional=True)]


class WanSpec(Part):
    """The path between two sites of a scenario, the same in both directions."""

    between: tuple[Name, ...] = Field(description="The two sites.", examples=[["tokyo", "fukuoka"]])
    bandwidth: Rate = Field(description="What it carries, with its unit.", examples=["10Gbit/s", "1GB/s"])
    latency: OptionalShort = Field(
        default=None, description="One way, with its unit. By its length if left out.", examples=["9ms"]
    )
    distance_km: Annotated[Decimal | None, decimal(0, 40_000, optional=True)] = Field(
        default=None,
        description="Its length; by the sites' places if left out. Latency is 1.5 × length / 200,000 km/s.",
        examples=[880],
    )
    egress_yen_per_gb: Annotated[Decimal, decimal(0, 100_000)] = Field(
        default=Decimal(0), description="Price of moving 10^9 bytes over it, in yen.", examples=[2]
    )

    @model_validator(mode="after")
    def _agree(self) -> "WanSpec":
        if len(self.between) != 2 or self.between[0] == self.between[1]:
            raise BadValue("does not name two sites", "write for example '[tokyo, fukuoka]'", below=("between",))
        if self.latency is not None and self.distance_km is not None:
            raise BadValue("stands beside `latency`", "keep one of them", below=("distance_km",))
        return self


class PlacedSpec(Part):
    """A dataset that lies at sites from the start, and how many jobs read it."""

    name: Name = Field(description="What it is called.", examples=["corpus-ja"])
    size: Memory = Field(description="Its size, with its unit.", examples=["2TB"])
    site: Name = Field(description="The site where it lies at first.", examples=["tokyo"])
    residency: tuple[Region, ...] = Field(
        default=(), description="Where it may be, by ISO 3166. Anywhere if left out.", examples=[["JP"]]
    )
    share: Share = Field(default=Decimal(0), description="Of all jobs that read it.", examples=[0.05])


class FaultSpec(Part):
    """What befalls a site, and when."""

    site: Name = Field(description="The site.", examples=["tokyo"])
    at: ShortSpan = Field(description="When, from the start.", examples=["36h"])
    what: Annotated[str, choice(*MISHAPS)] = Field(
        description="'lost' with all that runs there, 'back' again; 'drain': nothing new goes there, until 'undrain'.",
        examples=["lost"],
    )


class SeriesSpec(Part):
    """A column of a CSV file: one value an hour."""

    file: Directory = Field(description="The file, as a path from this one; plain or gzip.", examples=["carbon.csv"])
    column: Annotated[str, Read(str, str, {"type": "string"})] = Field(
        description="The column, as its header names it.", examples=["direct_g_per_kwh"]
    )
    skip: Annotated[int, whole(0, 1_000_000)] = Field(
        default=0, description="Rows left out before the one that holds at the start.", examples=[4344]
    )


class StepSpec(Part):
    """A value from a time on."""

    at: ShortSpan = Field(description="When, from the start.", examples=["36h"])
    value: _Value = Field(description="The new value.", examples=[60])


class SignalSpec(Part):
    """An outside fact about sites that changes over time: by hour of the day, by a file, or step by step."""

    sites: tuple[Name, ...] = Field(description="The sites.", examples=[["tokyo", "inzai"]])
    signal: Annotated[str, choice(*SIGNALS)] = Field(
        description="'price' in yen/kWh, 'carbon' in g CO2/kWh, or 'power-cap' in kW (0: none).", examples=["price"]
    )
    by_hour: tuple[_Value, ...] = Field(
        default=(),
        description="24 values, from midnight local time on, every day the same.",
        examples=[[18] * 8 + [30] * 12 + [18] * 4],
    )
    csv: SeriesSpec | None = Field(
        default=None,
        description="A value an hour, from a file.",
        examples=[{"file": "carbon.csv", "column": "direct_g_per_kwh"}],
    )
    steps: tuple[StepSpec, ...] = Field(
        default=(), description="Values from given times on.", examples=[[{"at": "36h", "value": 60}]]
    )

    @model_validator(mode="after")
    def _agree(self) -> "SignalSpec":
        bad: list[BadValue] = []
        given = [key for key in ("by_hour", "csv", "steps") if getattr(self, key)]
        if len(given) != 1:
            wrong = f"is given by {' and '.join(given)}" if given else "has no values"
            bad.append(BadValue(wrong, "write one of `by_hour`, `csv` and `steps`", "", ("signal",)))
        if self.by_hour and len(self.by_hour) != HOURS:
            wrong = f"holds {len(self.by_hour)} values"
            bad.append(BadValue(wrong, f"write {HOURS}, one for each hour of the day", "", ("by_hour",)))
        if not self.sites:
            bad.append(BadValue("names no site", "list one at least", "", ("sites",)))
        bad += [
            BadValue("is not after the step before", "put them in order", below=("steps", i, "at"))
            for i in range(1, len(self.steps))
            if self.steps[i].at <= self.steps[i - 1].at
        ]
        if bad:
            raise BadValues(tuple(bad))
        return self


class PolicySpec(Part):
    """What a yen is worth. What is left out is Moyai's default."""

    value_yen_per_node_hour: _OptionalValue = Field(
        default=None, description="Of work done on time, for a node and an hour of it.", examples=[1000]
    )
    missed_yen_per_node_hour: _OptionalValue = Field(
        default=None,
        description="Lost at once by a job that is late, for each node and hour of it.",
        examples=[1000],
    )
    late_yen_per_hour: _OptionalValue = Field(
        default=None, description="Of each node of a job, for every hour past its deadline.", examples=[2000]
    )
    wait_yen_per_hour: _OptionalValue = Field(
        default=None, description="Of each node of a job, for every hour it waits.", examples=[20]
    )
    carbon_yen_per_kg: _OptionalValue = Field(default=None, description="Price of carbon dioxide.", examples=[10])
    horizon: OptionalSpan = Field(
        default=None, description="How far ahead is planned. No job may run longer.", examples=["7d"]
    )
    preemptions_per_cycle: Annotated[int | None, optional(whole(0, 100_000))] = Field(
        default=None, description="How many attempts one plan may stop.", examples=[4]
    )
    migrations_per_round: Annotated[int | None, optional(whole(0, 100_000))] = Field(
        default=None,
        description="How many running jobs may be moved to a cheaper site every ten minutes, where no job waits.",
        examples=[4],
    )


def _instant(text: str) -> Instant:
    return quantity.parse_instant(text)


def _named_twice(names: list[str], key: str) -> list[BadValue]:
    return [
        BadValue("is taken by another", "choose another name", below=(key, i, "name"))
        for i, name in enumerate(names)
        if name in names[:i]
    ]


class ScenarioSpec(Spec):
    """A scenario: everything about a replay but the policy that places."""

    name: Name = Field(description="What it is called.", examples=["japan"])
    about: Text = Field(default="", description="What it shows, in a sentence.", examples=["Seven sites in Japan."])
    notes: tuple[Text, ...] = Field(
        default=(),
        description="What must be said wherever a figure of it is shown: sources, and what is made up.",
        examples=[["Prices are synthetic."]],
    )
    began: Annotated[
        Instant | None, Read(_instant, quantity.instant_text, {"type": "string"}, (int,), optional=True)
    ] = Field(default=None, description="The instant at which it begins.", examples=["2030-07-01T00:00+09:00"])
    utc_offset_h: Annotated[int, Read(lambda text: quantity.parse_whole(text, -12, 14), int, {"type": "integer"})] = (
        Field(default=0, description="Local time less UTC, in hours, for values by hour of the day.", examples=[9])
    )
    sites: tuple[SiteSpec, ...] = Field(
        description="The sites, as in a fleet file.", examples=[[_SITE, _SITE | {"name": "tokyo"}]]
    )
    links: tuple[WanSpec, ...] = Field(
        default=(),
        description="The links. Nothing moves between two sites without one.",
        examples=[[{"between": ["tokyo", "fukuoka"], "bandwidth": "10Gbit/s"}]],
    )
    tenants: tuple[TenantSpec, ...] = Field(
        default=(),
        description="The tenants. One that a trace names and this list does not gets a home by chance.",
        examples=[[{"name": "ee9e8c", "home": "tokyo"}]],
    )
    jobs: WorkSpec = Field(default=WorkSpec(), description="The jobs.", examples=[{"trace": {"file": "philly.csv.gz"}}])
    datasets: tuple[PlacedSpec, ...] = Field(
        default=(),
        description="Datasets that jobs read.",
        examples=[[{"name": "corpus-ja", "size": "2TB", "site": "tokyo", "share": 0.05}]],
    )
    faults: tuple[FaultSpec, ...] = Field(
        default=(), description="What befalls sites.", examples=[[{"site": "tokyo", "at": "36h", "what": "lost"}]]
    )
    signals: tuple[SignalSpec, ...] = Field(
        default=(),
        description="Prices, carbon and power caps that change.",
        examples=[[{"sites": ["tokyo"], "signal": "price", "steps": [{"at": "36h", "value": 60}]}]],
    )
    policy: PolicySpec = Field(
        default=PolicySpec(), description="What a yen is worth.", examples=[{"carbon_yen_per_kg": 10}]
    )
    policies: tuple[Name, ...] = Field(
        default=("moyai",), description="The policies that are compared.", examples=[["moyai", "fifo", "home"]]
    )
    seeds: Annotated[int, whole(1, 1_000)] = Field(
        default=3, description="How many times it is drawn for a comparison.", examples=[10]
    )
    plan_every: ShortSpan = Field(
        default=timedelta(minutes=1), description="Time between two plans, at least.", examples=["1m"]
    )
    sample_every: ShortSpan = Field(
        default=timedelta(minutes=10), description="Time between two points of a picture.", examples=["10m"]
    )

    @model_validator(mode="after")
    def _agree(self) -> "ScenarioSpec":
        names = [site.name for site in self.sites]
        bad = _named_twice(names, "sites")
        bad += _named_twice([tenant.name for tenant in self.tenants], "tenants")
        given = sum(tenant.guaranteed_percent for tenant in self.tenants)
        if given > 100:
            wrong = f"guarantees {given:f} % of the fleet to its tenants"
            bad.append(BadValue(wrong, "let `guaranteed_percent` sum to 100 at most", "", ("tenants",)))
        bad += _named_twice([dataset.name for dataset in self.datasets], "datasets")
        if not names:
            bad.append(BadValue("names no site", "list one at least", "", ("sites",)))
        known = f"sites: {', '.join(names)}"
        bad += [BadValue("is no site of this file", known, below=where) for name, where in self._named()
                if name not in names]  # fmt: skip
        bad += self._twice() + self._bad_times()
        if bad:
            raise BadValues(tuple(bad))
        return self

    def _named(self) -> list[tuple[str, Path]]:
        """Every mention of a site, and where it stands."""
        found: list[tuple[str, Path]] = []
        for i, link in enumerate(self.links):
            found += [(end, ("links", i, "between", j)) for j, end in enumerate(link.between)]
        found += [(tenant.home, ("tenants", i, "home")) for i, tenant in enumerate(self.tenants)]
        found += [(dataset.site, ("datasets", i, "site")) for i, dataset in enumerate(self.datasets)]
        found += [(fault.site, ("faults", i, "site")) for i, fault in enumerate(self.faults)]
        for i, signal in enumerate(self.signals):
            found += [(site, ("signals", i, "sites", j)) for j, site in enumerate(signal.sites)]
        return found

    def _twice(self) -> list[BadValue]:
        bad: list[BadValue] = []
        pairs = [frozenset(link.between) for link in self.links]
        for i, pair in enumerate(pairs):
            if pair in pairs[:i]:
                wrong = "names a pair that has a link already"
                bad.append(BadValue(wrong, "keep one of them", below=("links", i, "between")))
        seen: set[tuple[str, str]] = set()
        for i, signal in enumerate(self.signals):
            for j, site in enumerate(signal.sites):
                if (signal.signal, site) in seen:
                    wrong = f"has values for its {signal.signal} already"
                    bad.append(BadValue(wrong, "keep one of them", below=("signals", i, "sites", j)))
                seen.add((signal.signal, site))
        for i, policy in enumerate(self.policies):
            if policy in self.policies[:i]:
                bad.append(BadValue("is listed twice", "list each policy once", below=("policies", i)))
        return bad

    def _bad_times(self) -> list[BadValue]:
        bad: list[BadValue] = []
        if self.plan_every <= timedelta(0):
            bad.append(BadValue("lets no time pass", "write for example '1m'", below=("plan_every",)))
        if self.sample_every <= timedelta(0):
            bad.append(BadValue("lets no time pass", "write for example '10m'", below=("sample_every",)))
        lost: set[str] = set()
        for fault in sorted(self.faults, key=lambda fault: fault.at):
            i = self.faults.index(fault)
            if fault.what == "lost" and fault.site in lost:
                bad.append(BadValue("is lost already", "let it come back first", below=("faults", i, "site")))
            if fault.what == "back" and fault.site not in lost:
                bad.append(BadValue("is not lost at that time", "let it be lost first", below=("faults", i, "site")))
            if fault.what == "lost":
                lost.add(fault.site)
            elif fault.what == "back":
                lost.discard(fault.site)
        if sum(dataset.share for dataset in self.datasets) > 1:
            last = len(self.datasets) - 1
            bad.append(
                BadValue("makes the sum of all shares more than 1", "lower it", below=("datasets", last, "share"))
            )
        return bad
