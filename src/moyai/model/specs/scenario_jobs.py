"""The work of a scenario: where its jobs come from, and what is put beside what a trace says."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field, model_validator

from moyai.model.specs.base import Part
from moyai.model.specs.fields import Directory, Memory, Name, OptionalMemory, OptionalSpan, Read, one_of, span_us, whole
from moyai.model.specs.fields import number as decimal
from moyai.model.specs.problems import BadValue, BadValues
from moyai.model.specs.quantity import (
    Amount,
    count_text,
    parse_accelerators,
    parse_count,
    parse_span,
    span_text,
)

ESTIMATES = ("exact", "noisy", "absent")
"""What users say of their jobs' run times: the truth, a factor of 0.5 to 1.5 of it, nothing."""
FORMATS = ("philly", "swf", "openb", "gavel", "sia", "azure", "alibaba-2026", "wfformat")
MOST_GPUS = 1_024

Share = Annotated[Decimal, decimal(0, 1)]
"""A part of a whole, from 0 to 1."""
Weight = Annotated[Decimal, decimal(0, 1_000_000)]
"""A part of the sum of all such numbers beside it."""


_US = timedelta(microseconds=1)


def _span(text: str) -> timedelta:
    return parse_span(text, 1_000_000) * _US


Span = Annotated[timedelta, Read(_span, lambda span: span_text(span_us(span)), {"type": "string"}, (timedelta,))]
"""A span of a second at least."""


def optional(read: Read) -> Read:
    """A field that may be left out."""
    return replace(read, optional=True)


def _short(text: str) -> timedelta:
    return parse_span(text, 0) * _US


OptionalShort = Annotated[
    timedelta | None,
    Read(_short, lambda span: span_text(span_us(span)), {"type": "string"}, (timedelta,), optional=True),
]
"""A span that may be nothing, or be left out."""


def _some_gpus(text: str) -> Amount:
    return parse_count(text, MOST_GPUS, "GPUs")


def choice(*choices: str) -> Read:
    """A field that holds one of `choices`."""
    return Read(one_of(*choices), str, {"type": "string", "enum": list(choices)})


def _kind(text: str) -> str:
    return parse_accelerators(f"{text}:1").kind if ":" not in text else _no_number(text)


def _no_number(text: str) -> str:
    raise BadValue("names a number too", "write the type alone, such as 'A100'; the number is the job's")


class TraceSpec(Part):
    """A trace of real jobs, in a file."""

    file: Directory = Field(
        description="The trace, as a path from this file: plain, gzip, or a tar with one file in it.",
        examples=["philly.csv.gz"],
    )
    format: Annotated[str | None, optional(choice(*FORMATS))] = Field(
        default=None, description="Its format. As its first line says if left out.", examples=["philly"]
    )


class GangSpec(Part):
    """A size of job, how common it is, and how long such jobs run."""

    gpus: Annotated[int, whole(1, MOST_GPUS)] = Field(
        description="GPUs of the whole job. More than 8 are whole nodes of 8.", examples=[8]
    )
    share: Weight = Field(description="How common it is, beside the other sizes.", examples=[12])
    median: OptionalSpan = Field(
        default=None, description="Median run time. That of all jobs if left out.", examples=["2h"]
    )


class SyntheticSpec(Part):
    """Jobs that are made up: they come by chance (Poisson), and run for a time that is lognormal."""

    jobs: Annotated[int, whole(1, 10_000_000)] = Field(description="How many, on average.", examples=[2000])
    over: Span = Field(description="The time over which they are submitted.", examples=["3d"])
    median: Span = Field(description="Median run time.", examples=["25m"])
    sigma: Annotated[Decimal, decimal(0, 5)] = Field(
        default=Decimal("1.5"),
        description="Spread of run times: the standard deviation of their logarithm.",
        examples=[1.5],
    )
    longest: OptionalSpan = Field(default=None, description="No job runs longer.", examples=["2d"])
    swing: Share = Field(
        default=Decimal(0),
        description="How much the rate of submissions swings over a day, around 15 h local time. 0: not at all.",
        examples=[0.6],
    )
    gangs: tuple[GangSpec, ...] = Field(
        description="Their sizes.", examples=[[{"gpus": 1, "share": 80}, {"gpus": 8, "share": 20, "median": "2h"}]]
    )

    @model_validator(mode="after")
    def _agree(self) -> "SyntheticSpec":
        bad: list[BadValue] = []
        if not sum(gang.share for gang in self.gangs):
            bad.append(BadValue("names no size that ever comes", "give one a share above 0", "", ("gangs",)))
        if self.longest and self.longest < self.median:
            bad.append(BadValue("is shorter than `median`", "raise it, or lower `median`", below=("longest",)))
        if bad:
            raise BadValues(tuple(bad))
        return self


class KindSpec(Part):
    """A type of accelerator that jobs get whose trace names none."""

    kind: Annotated[str, Read(_kind, str, {"type": "string"})] = Field(
        description="The type, as the flavors of the sites name it.", examples=["A100"]
    )
    gpus: Annotated[Amount, Read(_some_gpus, count_text, {"type": ["string", "integer"]}, (Amount,))] = Field(
        default=Amount(1, None),
        description="For jobs of so many GPUs on a node: '8', '1..4', '2+'. Any if left out.",
        examples=["1..4"],
    )
    share: Weight = Field(default=Decimal(1), description="How many get it, beside the other types.", examples=[3])


class WindowSpec(Part):
    """The part of a trace that is replayed."""

    start: OptionalShort = Field(default=None, description="Where it begins in the trace.", examples=["20d"])
    length: OptionalSpan = Field(default=None, description="How long it is. To the end if left out.", examples=["14d"])


class DeadlineSpec(Part):
    """Deadlines, which no public trace has: drawn by chance. A deadline is submission + run time × (1 + slack)."""

    share: Share = Field(description="Of the jobs that have one.", examples=[0.5])
    slack: Annotated[Decimal, decimal(0, 1_000)] = Field(
        default=Decimal(2), description="Median slack, in run times. It is lognormal.", examples=[2]
    )
    sigma: Annotated[Decimal, decimal(0, 5)] = Field(
        default=Decimal("0.8"),
        description="Spread of the slack: the standard deviation of its logarithm.",
        examples=[0.8],
    )
    least: Span = Field(
        default=timedelta(minutes=30), description="No deadline is nearer to its submission.", examples=["30m"]
    )


class KeepsSpec(Part):
    """Which jobs keep checkpoints. A job without one starts from the beginning when it is stopped."""

    share: Share = Field(description="Of the jobs that are long enough.", examples=[0.8])
    longer_than: Span = Field(
        default=timedelta(hours=1), description="Only jobs that run longer keep one.", examples=["1h"]
    )
    every: Span = Field(default=timedelta(minutes=30), description="Run time between two of them.", examples=["30m"])
    per_gpu: Memory = Field(
        default=Amount(10**9, 10**9), description="Size of one, for each GPU of the job.", examples=["2GB"]
    )


class FailuresSpec(Part):
    """Which jobs fail by themselves at first, half-way through, and are tried again."""

    share: Share = Field(description="Of all jobs.", examples=[0.02])
    attempts: Annotated[int, whole(1, 20)] = Field(
        default=1, description="How many of its attempts fail.", examples=[1]
    )
    retries: Annotated[int, whole(0, 100)] = Field(
        default=2, description="How many retries each job asks for.", examples=[2]
    )


class WorkSpec(Part):
    """The jobs of a scenario. What stands here beside a trace is made up, and shown as such."""

    trace: TraceSpec | None = Field(
        default=None, description="Real jobs, from a file.", examples=[{"file": "philly.csv.gz"}]
    )
    synthetic: SyntheticSpec | None = Field(
        default=None,
        description="Jobs that are made up.",
        examples=[{"jobs": 2000, "over": "3d", "median": "25m", "gangs": [{"gpus": 1, "share": 1}]}],
    )
    window: WindowSpec = Field(
        default=WindowSpec(), description="Which part of a trace is replayed.", examples=[{"length": "14d"}]
    )
    compress: Annotated[Decimal, decimal(0, 10_000)] = Field(
        default=Decimal(1),
        description="Jobs of a trace come so many times faster, and run as long: a load factor.",
        examples=[2],
    )
    most: Annotated[int | None, optional(whole(1, 10_000_000))] = Field(
        default=None, description="No more jobs of a trace than so many, the first ones.", examples=[10000]
    )
    longest: OptionalSpan = Field(
        default=None, description="Jobs of a trace that run longer are left out, and counted.", examples=["7d"]
    )
    too_large: Annotated[str, choice("refuse", "leave-out")] = Field(
        default="refuse",
        description="What becomes of a job that no site could ever hold: an error, or left out and counted.",
        examples=["leave-out"],
    )
    accelerators: tuple[KindSpec, ...] = Field(
        default=(),
        description="The types that jobs get whose trace names none.",
        examples=[[{"kind": "A100", "gpus": "2+"}, {"kind": "A10", "gpus": 1}]],
    )
    cpus_per_gpu: Annotated[int, whole(1, 1_024)] = Field(
        default=1, description="Cores for each GPU, where the trace says none.", examples=[8]
    )
    memory_per_gpu: OptionalMemory = Field(
        default=None, description="Memory for each GPU, where the trace says none.", examples=["60GiB"]
    )
    deadlines: DeadlineSpec | None = Field(
        default=None, description="Deadlines. None if left out.", examples=[{"share": 0.5, "slack": 2}]
    )
    estimates: Annotated[str, choice(*ESTIMATES)] = Field(
        default="exact",
        description="What users say of run times: the truth ('exact'), 0.5 to 1.5 times it ('noisy'), "
        "nothing ('absent').",
        examples=["noisy"],
    )
    checkpoints: KeepsSpec | None = Field(
        default=None, description="Which jobs keep checkpoints. None if left out.", examples=[{"share": 0.8}]
    )
    failures: FailuresSpec | None = Field(
        default=None, description="Which jobs fail by themselves. None if left out.", examples=[{"share": 0.02}]
    )

    @model_validator(mode="after")
    def _agree(self) -> "WorkSpec":
        bad: list[BadValue] = []
        if self.trace and self.synthetic:
            wrong = "stands beside `trace`"
            bad.append(BadValue(wrong, "keep one of them; --trace takes the place of either", "", ("synthetic",)))
        if not self.compress:
            bad.append(BadValue("lets no time pass", "write a number above 0", below=("compress",)))
        if bad:
            raise BadValues(tuple(bad))
        return self


class TenantSpec(Part):
    """A tenant: an organisation whose jobs these are."""

    name: Name = Field(description="Its name, as the trace has it.", examples=["ee9e8c"])
    home: Name = Field(description="The site that is its own; the policy 'home' uses no other.", examples=["tokyo"])
    share: Weight = Field(
        default=Decimal(1), description="Of the jobs that are made up, beside the other tenants.", examples=[3]
    )
    weight: Annotated[Decimal, decimal(0, 1_000)] = Field(
        default=Decimal(1), description="What its work is worth, beside that of others.", examples=[1.5]
    )
    guaranteed_percent: Annotated[Decimal, decimal(0, 100)] = Field(
        default=Decimal(0),
        description="Of the fleet. What it leaves unused, others borrow; who lent goes first for a while.",
        examples=[25],
    )
