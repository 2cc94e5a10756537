"""What control asks an agent to do. A command's number is the `seq` of the event that caused it, so numbers only grow.

Every command is idempotent by the id it carries: an agent may see it again after any crash.
"""

from dataclasses import dataclass

from moyai.model.ids import (
    AttemptId,
    BlobId,
    DatasetName,
    FlavorName,
    JobId,
    ManifestId,
    ProjectName,
    SiteName,
    TenantName,
    TextRef,
    TransferId,
)
from moyai.model.quick import quick
from moyai.model.reasons import Reason
from moyai.model.workload import CheckpointRule, Need, OnPartition


@dataclass(frozen=True, slots=True)
class Input:
    """A dataset version that must lie at the site before the start."""

    dataset: DatasetName
    version: int
    manifest: ManifestId
    name: str = ""  # as the job calls it, where that isn't the dataset's name


@quick
@dataclass(frozen=True, slots=True)
class Launch:
    """Run this attempt once everything it needs lies at the site."""

    attempt: AttemptId
    job: JobId
    name: str
    tenant: TenantName
    project: ProjectName
    flavor: FlavorName
    nodes: tuple[int, ...]
    need: Need
    power_w: int  # modelled draw at the feed, for the energy account where nothing is measured
    limit_us: int
    grace_us: int
    on_partition: OnPartition
    checkpoint: CheckpointRule | None
    inputs: tuple[Input, ...]
    workdir: BlobId | None
    restore: ManifestId | None
    covered_us: int
    text: TextRef
    files: tuple[str, ...] = ()  # to be kept when it succeeded, as its text says where; without them it failed


@quick
@dataclass(frozen=True, slots=True)
class Stop:
    """End this attempt: its stop signal, its grace, then the kill. One that was never launched is not launched."""

    attempt: AttemptId
    reason: Reason


@quick
@dataclass(frozen=True, slots=True)
class Fetch:
    """Copy a manifest here from `source`, no faster than the pace."""

    transfer: TransferId
    manifest: ManifestId
    source: SiteName
    size_bytes: int
    bytes_per_second: int
    latency_us: int


@dataclass(frozen=True, slots=True)
class Adopt:
    """Hash and keep a dataset that lies at this site; its path is in the sealed text."""

    dataset: DatasetName
    version: int
    text: TextRef


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete a manifest that nothing needs any more, unless a later report says that a file with its content came."""

    manifest: ManifestId
    reports_through: int = 0  # the reports of the site that control knew


Command = Launch | Stop | Fetch | Adopt | Drop
