"""The log as the writer sees it: appends under its epoch, signed checkpoints, and the way back to the state.

A start loads the newest checkpoint that holds and replays what follows. The events before the checkpoint are checked
too, bytes, hashes and chain: before the start where there are not too many, else beside the running server.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import moyai
from moyai.control.core import replay
from moyai.control.state import State, state_from
from moyai.model.codec import DecodeError
from moyai.model.envelope import CorruptRecord, Record
from moyai.store.checkpoint import make_checkpoint, restore

if TYPE_CHECKING:
    from moyai.store.log import Log, Sealed

VERSION = "0.1.0"
SCAN_BEFORE_START = 200_000
"""Events before the checkpoint that are checked before the server answers anybody; about 3 µs each."""


@cache
def code_version() -> str:
    """The version, with a hash of the code that makes the state: a checkpoint of other reducers is never used."""
    digest = hashlib.sha256()
    root = Path(moyai.__file__).parent
    for room in ("control", "model", "plan"):
        for file in sorted((root / room).glob("*.py")):
            digest.update(file.read_bytes())
    return f"{VERSION}+{digest.hexdigest()[:12]}"


class KeptLog:
    """The log of this control plane, in one epoch."""

    def __init__(
        self, log: "Log", sign: Callable[[bytes], bytes], verify: Callable[[bytes, bytes], bool], epoch: int = 0
    ) -> None:
        self.log = log
        self.epoch = epoch
        self.checkpoint_seq = 0  # where the newest load began
        self._sign = sign
        self._verify = verify

    def append(self, records: Sequence[Record], sealed: "Sequence[Sealed]") -> None:
        """Make the records and texts durable, all or none. Raises LogError."""
        self.log.append(self.epoch, records, sealed)

    def checkpoint(self, seq: int, head_hash: str, state: bytes) -> None:
        """Keep the canonical bytes of the state after the event `seq`, signed. Raises LogError."""
        self.log.save_checkpoint(make_checkpoint(seq, head_hash, code_version(), state, self._sign))

    def load(self) -> State:
        """The state at the log's head. Raises LogError, CorruptRecord or BrokenInvariant."""
        if self.epoch and self.log.home.shared:
            self.log.settle()  # an append whose connection was torn may still be on its way
        found = restore(self.log, code_version(), self._verify)
        state, prev = State(), None
        if found is not None:
            try:
                state, prev = state_from(found.state), found.head_hash
            except DecodeError:  # signed, so whole, but of a state that this code does not know: the log has it all
                state = State()
        self.checkpoint_seq = state.seq
        return replay(state, self.log.read(state.seq, prev_hash=prev))

    def scan_before_start(self) -> int:
        """Check what lies before the checkpoint that `load` used; up to which event that is left for later.

        Raises CorruptRecord.
        """
        left = max(0, self.checkpoint_seq - SCAN_BEFORE_START)
        for _ in self.log.scan(left, self.checkpoint_seq):
            pass
        return left

    def scan_later(self, until: int, pause: Callable[[], None]) -> CorruptRecord | None:
        """Check the events up to `until`, with a pause after every thousand; the damage, if there is any."""
        try:
            for _ in self.log.scan(0, until):
                pause()
        except CorruptRecord as error:
            return error
        return None
