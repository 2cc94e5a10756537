"""What lies in the directory of an attempt under another scheduler: its guards' records, and what it leaves."""

import logging
from pathlib import Path

from moyai.agent.clocks import wall_us
from moyai.agent.engines.batch.order import ORDER
from moyai.agent.guarding import record
from moyai.agent.guarding.proof import SECRET
from moyai.agent.messages import Began, Ended, Over, encode
from moyai.agent.supervisor.record import NAME as RECORD
from moyai.agent.supervisor.record import RecordFile
from moyai.model.ids import AttemptId

LOG = logging.getLogger("moyai.agent.batch")


def records(place: Path, nonce: str) -> list[Began | Over]:
    """What the guards of a start left; nothing where its directory is gone or can't be read."""
    if not nonce:
        return []
    try:
        return record.read(str(place), nonce)
    except OSError as error:
        LOG.warning("%s: %s", place, error.strerror or error)
        return []


def no_word(attempt: AttemptId, nonce: str) -> Ended:
    """The record of an attempt of which no guard told an end."""
    return Ended(attempt, nonce, "exit", "", -1, 0, 0, wall_us(), 0, [])


def keep_end(place: Path, ended: Ended) -> None:
    """Leave the record that says that no more output comes."""
    if (place / RECORD).exists() or not place.is_dir():
        return
    try:
        RecordFile(str(place), len(ended.ranks)).write(encode(ended))
    except OSError as error:
        LOG.warning("%s: its end can't be kept: %s", place, error.strerror or error)


def tidy(place: Path) -> None:
    """Remove what only its guards needed: the tenant's words among them."""
    for name in (ORDER, SECRET):
        try:
            (place / name).unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            LOG.warning("%s: %s", place / name, error.strerror or error)
