"""A job as a person writes it. Everything else reads the `JobOrder` that `resolve` makes of it."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from moyai.model.specs.base import Part, Spec
from moyai.model.specs.fields import (
    AbsolutePath,
    Cpus,
    DatasetRef,
    Directory,
    EnvName,
    EnvText,
    Name,
    OptionalAccelerators,
    OptionalDeadline,
    OptionalMemory,
    OptionalSpan,
    Purpose,
    Read,
    Region,
    RunText,
    ShortSpan,
    SignalName,
    Text,
    check_env_size,
    one_of,
    parse_dataset,
    whole,
)
from moyai.model.specs.problems import BadValue, BadValues
from moyai.model.specs.quantity import Amount

MAX_NODES = 4_096
MAX_RETRIES = 100


def _no_empty_residency(codes: tuple[str, ...]) -> tuple[str, ...]:
    if not codes:
        raise BadValue("allows no place at all", "name a code such as 'JP', or leave the line out", "the empty list")
    twice = next((i for i, code in enumerate(codes) if code in codes[:i]), None)
    if twice is not None:
        raise BadValue("stands in the list twice", "keep one of them", below=(twice,))
    return codes


class ResourcesSpec(Part):
    """What one node of the job must have."""

    cpus: Cpus = Field(
        default=Amount(1, None),
        description="Cores of one node: '16' or '16+' for at least 16, '8..32' for a range. 1 if left out.",
        examples=[16, "16+", "8..32"],
    )
    memory: OptionalMemory = Field(
        default=None,
        description="Memory of one node, with its unit: '128GiB', '80GiB+', '64GiB..128GiB'. Any if left out.",
        examples=["128GiB", "80GiB+"],
    )
    accelerators: OptionalAccelerators = Field(
        default=None,
        description="Accelerators of one node, type and number: 'H100:8', 'H100:1..8'. None if left out.",
        examples=["H100:8", "H100:1..8"],
    )


class DataSpec(Part):
    """A dataset that the job reads."""

    dataset: DatasetRef = Field(
        description="Its name, with '@' and a version for one that never changes; the newest version otherwise.",
        examples=["corpus-ja@3", "corpus-ja"],
    )
    mount: AbsolutePath | None = Field(
        default=None,
        description="Where the job sees it, as an absolute path. It is at $MOYAI_DATA_<NAME> in any case.",
        examples=["/data"],
    )
    purpose: Purpose = Field(
        default="",
        description="What the job uses it for; some datasets allow certain purposes only.",
        examples=["training"],
    )


class CheckpointSpec(Part):
    """How the job keeps its progress. It writes complete directories below $MOYAI_CHECKPOINT."""

    path: AbsolutePath | None = Field(
        default=None,
        description="Where the job sees $MOYAI_CHECKPOINT, as an absolute path. Only the variable if left out.",
        examples=["/ckpt"],
    )
    signal: SignalName = Field(
        default="SIGUSR1", description="The signal that asks the job for a checkpoint now.", examples=["SIGUSR1"]
    )
    stop_signal: SignalName = Field(
        default="SIGTERM", description="The signal that asks the job to save and end.", examples=["SIGTERM"]
    )
    grace: ShortSpan = Field(
        default=timedelta(seconds=60),
        description="How long the job may take to save and end before it is killed.",
        examples=["60s", "5m"],
    )


class JobSpec(Spec):
    """A job: a command that runs at one site, on one node or several, and ends."""

    name: Name = Field(
        description="What people call it: lower-case letters, digits and '-', at most 63.", examples=["train-gpt"]
    )
    resources: ResourcesSpec = Field(
        default=ResourcesSpec(),
        description="What one node must have.",
        examples=[{"cpus": "16+", "memory": "128GiB", "accelerators": "H100:8"}],
    )
    nodes: Annotated[int, whole(1, MAX_NODES)] = Field(
        default=1,
        description="How many nodes it runs on, all at the same time; each runs the command, as rank $MOYAI_RANK.",
        examples=[2],
    )
    deadline: OptionalDeadline = Field(
        default=None,
        description="When it should be done: an instant with its zone, or a span from the submission. Late work costs.",
        examples=["2026-12-01T09:00+09:00", "36h"],
    )
    expect: OptionalSpan = Field(
        default=None,
        description="Your estimate of its run time. It helps the plan and stops nothing.",
        examples=["5h"],
    )
    limit: OptionalSpan = Field(
        default=None, description="The run time after which it is stopped. No limit if left out.", examples=["8h"]
    )
    retries: Annotated[int, whole(0, MAX_RETRIES)] = Field(
        default=0,
        description="How many times it is tried again after a failure of its own. The loss of a site does not count.",
        examples=[2],
    )
    priority: Annotated[int, whole(-100, 100)] = Field(
        default=0, description="From -100 to 100; work of higher priority is worth more on time.", examples=[10]
    )
    residency: Annotated[tuple[Region, ...], AfterValidator(_no_empty_residency)] = Field(
        default=(),
        description="Where it may run: countries (JP) or parts of one (JP-40), by ISO 3166. Anywhere if left out; "
        "the rules of its datasets are added.",
        examples=[["JP"], ["JP-13", "JP-40"]],
    )
    data: tuple[DataSpec, ...] = Field(
        default=(),
        description="Datasets it reads.",
        examples=[[{"dataset": "corpus-ja@3", "mount": "/data", "purpose": "training"}]],
    )
    checkpoint: CheckpointSpec | None = Field(
        default=None,
        description="How it keeps its progress. Without this, a job that moves starts from the beginning.",
        examples=[{"signal": "SIGUSR1", "grace": "60s"}],
    )
    on_partition: Annotated[str, Read(one_of("stop", "wait"), str, {"type": "string", "enum": ["stop", "wait"]})] = (
        Field(
            default="stop",
            description="If its site can't be reached: 'stop' it there and run it elsewhere, or 'wait' for the site.",
            examples=["stop", "wait"],
        )
    )
    grace: ShortSpan = Field(
        default=timedelta(seconds=10),
        description="Time between the signal that asks it to end and the kill, where `checkpoint` says nothing longer.",
        examples=["10s"],
    )
    env: Annotated[dict[EnvName, EnvText], AfterValidator(check_env_size)] = Field(
        default={},
        description="Environment variables. They are sealed under the tenant's key and never written to the log.",
        examples=[{"EPOCHS": "10"}],
    )
    workdir: Directory | None = Field(
        default=None,
        description="A directory that travels with it and is its working directory, relative to this file. "
        "What its .moyaiignore names stays behind.",
        examples=["."],
    )
    setup: Text = Field(
        default="",
        description="Shell commands that run once on each node before `run`.",
        examples=["pip install -r requirements.txt"],
    )
    run: RunText = Field(description="The shell command that is the job.", examples=["python train.py"])

    @model_validator(mode="after")
    def _agree(self) -> "JobSpec":
        bad = [*self._bad_times(), *self._bad_data()]
        if bad:
            raise BadValues(tuple(bad))
        return self

    def _bad_times(self) -> list[BadValue]:
        if self.limit is None or self.expect is None or self.expect <= self.limit:
            return []
        return [BadValue("is shorter than `expect`", "raise it, or lower `expect`", below=("limit",))]

    def _bad_data(self) -> list[BadValue]:
        bad: list[BadValue] = []
        names = [parse_dataset(use.dataset)[0] for use in self.data]
        mounts = [use.mount for use in self.data]
        for i, use in enumerate(self.data):
            if names[i] in names[:i]:
                bad.append(BadValue("is listed twice", "list each dataset once", below=("data", i, "dataset")))
            clash = next((other for other in mounts[:i] if other and use.mount and _overlap(other, use.mount)), None)
            if clash:
                wrong = f"overlaps with the mount at {clash}"
                bad.append(BadValue(wrong, "give each a path of its own", below=("data", i, "mount")))
        path = self.checkpoint.path if self.checkpoint else None
        if path and any(mount and _overlap(mount, path) for mount in mounts):
            bad.append(BadValue("overlaps with a mount", "give each a path of its own", below=("checkpoint", "path")))
        return bad


def _overlap(a: str, b: str) -> bool:
    return a == b or a.startswith(b + "/") or b.startswith(a + "/")
