"""Checkpoints of the state: where a replay may start instead of at zero.

One is used only where its signature, the code version, the state's hash and the log's own hash at its sequence all
agree; else it is passed over with a warning. A checkpoint is never needed: the log alone gives the same state.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard

from moyai.model.codec import encode

KEEP = 3
"""How many checkpoints a log keeps."""

_LOG = logging.getLogger("moyai.store")
_PURPOSE = "moyai checkpoint 1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after the event at `seq`: canonical JSON under zstd, the SHA-256 of the JSON, and a signature."""

    seq: int
    head_hash: str
    state_hash: str
    code_version: str
    state: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Restored:
    """A state that may be trusted: replay goes on after `seq`, whose record has the hash `head_hash`."""

    seq: int
    head_hash: str
    state: bytes


class Checkpoints(Protocol):
    """A log, as far as restoring needs it."""

    def checkpoints(self) -> Iterator[Checkpoint]:
        """The checkpoints that the log keeps, newest first."""
        ...

    def hash_at(self, seq: int) -> str | None:
        """The stored hash of the event at `seq`, or None where it is missing."""
        ...


def make_checkpoint(
    seq: int, head_hash: str, code_version: str, state: bytes, sign: Callable[[bytes], bytes]
) -> Checkpoint:
    """The checkpoint of `state` (canonical bytes) after the record at `seq`, signed by `sign`."""
    packed = zstandard.ZstdCompressor(level=3).compress(state)
    state_hash = hashlib.sha256(state).hexdigest()
    signature = sign(_signed(seq, head_hash, state_hash, code_version, packed))
    return Checkpoint(seq, head_hash, state_hash, code_version, packed, signature)


def restore(log: Checkpoints, code_version: str, verify: Callable[[bytes, bytes], bool]) -> Restored | None:
    """The newest checkpoint of `log` that holds, or None: then replay starts at zero.

    `verify(message, signature)` says whether this log's own key signed the message.
    """
    for checkpoint in log.checkpoints():
        restored, problem = _open(log, checkpoint, code_version, verify)
        if restored is not None:
            return restored
        _LOG.warning("checkpoint at event %d is not used: %s", checkpoint.seq, problem)
    return None


def _open(
    log: Checkpoints, c: Checkpoint, code_version: str, verify: Callable[[bytes, bytes], bool]
) -> tuple[Restored | None, str]:
    if not verify(_signed(c.seq, c.head_hash, c.state_hash, c.code_version, c.state), c.signature):
        return None, "its signature is wrong"
    if c.code_version != code_version:
        return None, f"version {c.code_version} made it, this is {code_version}"
    if log.hash_at(c.seq) != c.head_hash:
        return None, "it does not belong to this log"
    try:
        state = zstandard.ZstdDecompressor().decompress(c.state)
    except zstandard.ZstdError as error:
        return None, f"its state can't be unpacked: {error}"
    if hashlib.sha256(state).hexdigest() != c.state_hash:
        return None, "its state does not match its hash"
    return Restored(c.seq, c.head_hash, state), ""


def _signed(seq: int, head_hash: str, state_hash: str, code_version: str, packed: bytes) -> bytes:
    # The packed bytes are signed too, so that nothing unsigned is ever unpacked.
    return encode((_PURPOSE, seq, head_hash, state_hash, code_version, hashlib.sha256(packed).hexdigest()))
