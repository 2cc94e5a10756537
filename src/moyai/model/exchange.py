"""What an agent and the control plane say to each other.

Both sides number what they send, resend until it is acknowledged, and drop what they have: at least once on the wire,
exactly once in effect. Reports are numbered from 1 in each incarnation; commands carry the `seq` of their event.
Renewals, output and bulk bytes are not numbered and never enter the log.
"""

from dataclasses import dataclass
from enum import StrEnum

from moyai.model.commands import Command
from moyai.model.events import (
    AttemptEnded,
    AttemptStarted,
    CapacityReported,
    CheckpointCompleted,
    DatasetAdopted,
    DatasetRejected,
    FileStored,
    ReplicaDropped,
    TransferEnded,
)
from moyai.model.ids import AttemptId, ManifestId, SiteName
from moyai.model.quick import quick
from moyai.model.units import Instant

ReportBody = (
    AttemptStarted
    | AttemptEnded
    | CheckpointCompleted
    | FileStored
    | TransferEnded
    | DatasetAdopted
    | DatasetRejected
    | ReplicaDropped
    | CapacityReported
)
"""The events that a site may report."""


@quick
@dataclass(frozen=True, slots=True)
class Report:
    """One numbered report. `reported_at` is the site's wall clock: it never orders or bills alone."""

    number: int
    reported_at: Instant
    kind: str
    body: ReportBody


@dataclass(frozen=True, slots=True)
class Hello:
    """An agent comes, or comes back. `attempts` are those its journal still owns, `manifests` what it holds."""

    site: SiteName
    incarnation: str
    capabilities: tuple[str, ...]
    attempts: tuple[AttemptId, ...] = ()
    manifests: tuple[ManifestId, ...] = ()


@dataclass(frozen=True, slots=True)
class Welcome:
    """The agent may work. Attempts in `unknown` are not, or no longer, this site's: stop and forget them."""

    term: int
    epoch: int
    lease_us: int
    reports_through: int  # the highest report of this incarnation that is in the log
    unknown: tuple[AttemptId, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Batch:
    """Reports in order, from the lowest that is not acknowledged; empty for a mere renewal of the lease."""

    incarnation: str
    term: int
    reports: tuple[Report, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Ack:
    """Reports up to `through` are durable. Where `renewed`, the lease runs `lease_us` from the sending of the batch."""

    epoch: int
    through: int
    renewed: bool
    lease_us: int


@quick
@dataclass(frozen=True, slots=True)
class Numbered:
    """A command with its number, and the sealed text it refers to, opened for this delivery."""

    number: int
    kind: str
    command: Command
    text: str = ""  # JSON of the text's type in `moyai.model.workload`


class AskKind(StrEnum):
    """What can be asked of a site outside the log."""

    OUTPUT = "output"  # subject: attempt; file: rank
    FILE = "file"  # subject: manifest; file: index into its files
    MANIFEST = "manifest"  # subject: manifest; the canonical bytes of it


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a range of bytes that lie at a site; never logged, answered once or timed out."""

    ask: str
    kind: AskKind
    subject: str
    file: int = 0
    offset: int = 0
    limit: int = 0
    wait_us: int = 0  # how long to wait for the first byte of an output that is still written


@dataclass(frozen=True, slots=True)
class Commands:
    """What a poll answers: commands above the number asked for, and open asks."""

    epoch: int
    term: int
    commands: tuple[Numbered, ...] = ()
    asks: tuple[Ask, ...] = ()
