"""The agent's core towards the objects at its site: what was fetched, adopted, dropped."""

from moyai.agent.core.base import Base
from moyai.agent.core.effects import Effect, Write
from moyai.agent.core.objects import adopt_key, drop_key, fetch_key
from moyai.model.commands import Fetch
from moyai.model.events import DatasetAdopted, DatasetRejected, ReplicaDropped, TransferEnded
from moyai.model.exchange import Numbered
from moyai.model.ids import BlobId, DatasetName, ManifestId, TransferId
from moyai.model.units import Instant


class Holdings(Base):
    """What the shell says about manifests and archives."""

    def fetched(
        self, transfer: TransferId, *, stored: bool, moved_bytes: int, took_us: int, detail: str, at: Instant
    ) -> list[Effect]:
        """A fetch is over; where `stored`, the whole manifest lies here, verified and durable."""
        numbered = self._done(fetch_key(transfer))
        if numbered is None:
            return []
        fetch = numbered.command
        assert isinstance(fetch, Fetch)
        if stored:
            self._out += self.objects.hold(fetch.manifest)
        self._report(TransferEnded(transfer, stored, moved_bytes, took_us, detail), at)
        self._start_new()
        return self._take()

    def adopted(
        self,
        dataset: DatasetName,
        version: int,
        manifest: ManifestId | None,
        *,
        size_bytes: int,
        detail: str,
        at: Instant,
    ) -> list[Effect]:
        """An adoption is over; without a manifest it could not be done, and `detail` says why."""
        if self._done(adopt_key(dataset, version)) is None:
            return []
        if manifest is None:
            self._report(DatasetRejected(dataset, version, self.meta.site, detail), at)
        else:
            self._out += self.objects.hold(manifest)
            self._report(DatasetAdopted(dataset, version, self.meta.site, manifest, size_bytes), at)
            self._start_new()
        return self._take()

    def dropped(self, manifest: ManifestId, at: Instant) -> list[Effect]:
        """A manifest is deleted here."""
        if self._done(drop_key(manifest)) is None:
            return []
        self._out += self.objects.let_go(manifest)
        self._report(ReplicaDropped(manifest, self.meta.site), at)
        self._out += self.objects.due(self.attempts.values(), manifest)  # a fetch may have waited for this
        return self._take()

    def have(self, here: ManifestId | BlobId) -> list[Effect]:
        """A manifest, or the archive of a working directory that was asked for, lies here."""
        if any(h.launch.workdir == here for h in self.attempts.values()):
            self.objects.blobs[BlobId(here)] = None
        else:
            self._out += self.objects.hold(ManifestId(here))
        self._start_new()
        return self._take()

    def _done(self, key: str) -> Numbered | None:
        numbered = self.objects.done(key)
        if numbered is not None:
            self._reports.owed -= 1
            self._out.append(Write(key, None))
        return numbered
