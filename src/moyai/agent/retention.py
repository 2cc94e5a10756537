"""How long the directories of attempts stay: code and checkpoints until the end is known, output while it fits."""

import logging
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass

from moyai.agent import transfers
from moyai.agent.places import Places
from moyai.data.io import tree
from moyai.model.ids import AttemptId, BlobId, ManifestId

LOG = logging.getLogger("moyai.agent")


@dataclass(frozen=True, slots=True)
class Kept:
    """How much output of ended attempts a site keeps; the oldest goes first."""

    attempts: int = 5_000
    size_bytes: int = 2 << 30


class Retention:
    """Tidies attempts' directories. Its methods block: call them in one thread."""

    def __init__(self, places: Places, kept: Kept) -> None:
        self._places = places
        self._kept = kept
        self._ended: dict[AttemptId, int] = {}  # → bytes of output; oldest first
        self._size = 0

    def left(self, owned: Collection[AttemptId]) -> list[AttemptId]:
        """At the agent's start: attempts that lie here and aren't `owned`, oldest first. Give each to `ended`.

        To be called before anything new can be launched: what is not owned has ended then.
        """
        self._places.attempts.mkdir(parents=True, exist_ok=True)
        with os.scandir(self._places.attempts) as scan:
            found = sorted((entry.stat().st_mtime_ns, entry.name) for entry in scan if entry.is_dir())
        return [AttemptId(name) for _, name in found if name not in owned]

    def ended(self, attempt: AttemptId) -> None:
        """The end of an attempt is in the journal: keep its output alone, and that within bounds."""
        place = self._places.attempt(attempt)
        if attempt in self._ended or not place.is_dir():
            return
        for name in ("work", "ckpt"):
            _remove(place / name)
        size = sum(entry.stat().st_size for entry in os.scandir(place))
        self._ended[attempt] = size
        self._size += size
        while len(self._ended) > self._kept.attempts or (self._size > self._kept.size_bytes and len(self._ended) > 1):
            oldest = next(iter(self._ended))
            self._size -= self._ended.pop(oldest)
            _remove(self._places.attempt(oldest))


def tidy_objects(places: Places, known: Collection[ManifestId], fetches: Collection[ManifestId]) -> None:
    """At the agent's start: remove objects that aren't `known`, and partial fetches that aren't `fetches`.

    A crash leaves them: an object is there before the journal says so.
    """
    here = tree.tidy(places.objects)
    transfers.tidy(places.objects, fetches)
    for manifest in here:
        if manifest not in known:
            LOG.info("object %s is not in the journal: it is removed", manifest)
            tree.drop(places.objects, manifest)
    for manifest in sorted(known):
        if manifest not in here and manifest not in fetches:
            LOG.error("object %s is in the journal and not on disk", manifest)


def tidy_blobs(places: Places, wanted: Collection[BlobId], most_bytes: int = 1 << 30) -> None:
    """At the agent's start: of the archives of working directories keep `wanted` and the newest, within bounds."""
    places.blobs.mkdir(parents=True, exist_ok=True)
    keep = {places.blob(blob) for blob in wanted}
    size = 0
    for path in sorted(places.blobs.iterdir(), key=lambda p: p.stat().st_mtime_ns, reverse=True):
        size += path.stat().st_size
        if path.suffix == ".part" or (size > most_bytes and path not in keep):
            path.unlink()


def _remove(path: "os.PathLike[str]") -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        LOG.warning("%s can't be removed: %s", path, error)
