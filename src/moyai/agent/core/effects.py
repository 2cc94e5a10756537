"""What the agent's core asks of its shell, and what the shell tells it. Frozen values; nothing here acts.

The rule for the shell: make every `Write` of one answer durable in one transaction, then act on the rest in order, then
answer whoever asked. Every other effect may come again after a crash and must be harmless when it does.
"""

from dataclasses import dataclass

import msgspec

from moyai.model.commands import Adopt, Fetch, Launch
from moyai.model.events import Outcome
from moyai.model.ids import AttemptId, BlobId, ManifestId
from moyai.model.quick import quick
from moyai.model.reasons import Reason
from moyai.model.units import Instant

FOREVER = 2**62
"""Lease left, in µs, of an attempt whose guard must never stop it for want of a lease."""


class Write(msgspec.Struct, frozen=True, gc=False):
    """Set a key of the journal; None deletes it."""

    key: str
    value: bytes | None


@quick
@dataclass(frozen=True, slots=True)
class Start:
    """Hand the attempt to the engine, under its id. One that it has is not started again; an end is said again.

    `text` is JSON of `JobText`. Where it can't be handed over, answer with `launch_failed`.
    """

    launch: Launch
    text: str


@dataclass(frozen=True, slots=True)
class StopEngine:
    """Send the signal, wait the grace, then kill; a queued one is withdrawn.

    Answered by `ended` in the end; by `forgotten` where the engine doesn't know the attempt.
    """

    attempt: AttemptId
    grace_us: int
    signal: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Observe:
    """After a restart: this claimed attempt ran. Watch it again; answer with `forgotten` where the engine has lost it.

    Where the engine can say for sure that nothing of it runs any more, `ended` says so at once.
    """

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class FetchObject:
    """Copy a manifest here; answered by `fetched`."""

    fetch: Fetch


@dataclass(frozen=True, slots=True)
class FetchBlob:
    """Get the archive of a working directory; answered by `have`, or by `launch_failed` of each attempt that waits."""

    blob: BlobId


@dataclass(frozen=True, slots=True)
class AdoptTree:
    """Hash and keep a dataset that lies here; `text` holds its path. Answered by `adopted`."""

    adopt: Adopt
    text: str


@dataclass(frozen=True, slots=True)
class DropObject:
    """Delete a manifest; answered by `dropped`, also where it wasn't there."""

    manifest: ManifestId


class Forget(msgspec.Struct, frozen=True, gc=False):
    """The end of this attempt is in the journal: the engine may drop its own record of it. Output is kept apart."""

    attempt: AttemptId


Effect = Write | Start | StopEngine | Observe | FetchObject | FetchBlob | AdoptTree | DropObject | Forget
"""Everything the core asks for."""


@quick
@dataclass(frozen=True, slots=True)
class EngineEnd:
    """How an engine says an attempt ended."""

    outcome: Outcome
    reason: Reason
    run_us: int = 0  # by CLOCK_BOOTTIME, all ranks from first start to last end
    cpu_us: int = 0
    output_bytes: int = 0
    energy_j: int | None = None  # at the site's feed; None where nothing measured it: it is modelled then
    started_at: Instant = Instant(0)  # 0 where it never started, or `started` said it
    nonce: str = ""  # of the start that ended; "" where the engine can't tell starts apart


@quick
@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a rank's start claim. Refused: it leaves without running anything, and `reason` says why."""

    granted: bool
    lease_left_us: int  # from now; the guard is dead by then unless renewed; FOREVER where it waits out a partition
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the journal. At `reports` it takes no new work; `reserve` more are for saying so."""

    reports: int = 20_000
    reserve: int = 2_000
    attempts: int = 5_000
    checkpoints: int = 256  # names kept for each attempt, so that a checkpoint is reported once
