"""What lies at the site, and the fetches, adoptions and deletions under way, as the journal holds them.

A deletion waits for the attempts that were launched before it was asked for; a launch or a fetch that was asked for
after a deletion waits for the deletion. Command numbers say which came first, so a restart changes nothing.
"""

from collections.abc import Iterable, Mapping

from moyai.agent.core.attempts import Held
from moyai.agent.core.effects import AdoptTree, DropObject, Effect, FetchObject, Write
from moyai.agent.core.journal import REPORTED, encode
from moyai.model.commands import Adopt, Drop, Fetch
from moyai.model.exchange import Numbered
from moyai.model.ids import BlobId, DatasetName, ManifestId, TransferId

_HERE = b"1"


def fetch_key(transfer: TransferId) -> str:
    """Where the journal keeps a fetch under way."""
    return f"fetch/{transfer}"


def adopt_key(dataset: DatasetName, version: int) -> str:
    """Where the journal keeps an adoption under way."""
    return f"adopt/{dataset}@{version}"


def drop_key(manifest: ManifestId) -> str:
    """Where the journal keeps a deletion under way."""
    return f"drop/{manifest}"


class Objects:
    """Manifests and working directories that lie here, and what is being done about others."""

    __slots__ = ("_work", "blobs", "held")

    def __init__(self, held: Mapping[str, int], work: dict[str, Numbered]) -> None:
        self.held: dict[ManifestId, int] = {ManifestId(m): number for m, number in held.items()}
        self.blobs: dict[BlobId, None] = {}  # asked for again after a restart
        self._work = work

    @property
    def owed(self) -> int:
        """Each command under way makes one report."""
        return len(self._work)

    def knows(self, key: str) -> bool:
        """Whether that command is under way."""
        return key in self._work

    def take(self, key: str, numbered: Numbered) -> Write:
        """A command is under way from now on."""
        self._work[key] = numbered
        return Write(key, encode(numbered))

    def done(self, key: str) -> Numbered | None:
        """A command is done with; None where it isn't under way."""
        return self._work.pop(key, None)

    def hold(self, manifest: ManifestId, report: int = 0) -> list[Effect]:
        """A manifest lies here; `report` says so of a task's file."""
        if manifest in self.held and not report:
            return []
        self.held[manifest] = report
        return [Write(f"held/{manifest}", REPORTED + str(report).encode() if report else _HERE)]

    def let_go(self, manifest: ManifestId) -> list[Effect]:
        """A manifest lies here no more."""
        if manifest not in self.held:
            return []
        del self.held[manifest]
        return [Write(f"held/{manifest}", None)]

    def all_here(self, held: Held) -> bool:
        """Whether an attempt may read everything it needs."""
        workdir = held.launch.workdir
        if workdir is not None and workdir not in self.blobs:
            return False
        return all(m in self.held and not self._dropped_before(m, held.numbered.number) for m in held.manifests())

    def _dropped_before(self, manifest: ManifestId, number: int) -> bool:
        drop = self._work.get(drop_key(manifest))
        return drop is not None and drop.number < number

    def due(self, attempts: Iterable[Held], manifest: ManifestId | None = None) -> list[Effect]:
        """What can be done now, in the order of the commands; with a manifest, only what concerns it."""
        held = list(attempts)
        out: list[Effect] = []
        for numbered in sorted(self._work.values(), key=lambda n: n.number):
            match numbered.command:
                case Fetch() as fetch:
                    wanted = manifest in (None, fetch.manifest)
                    if wanted and not self._dropped_before(fetch.manifest, numbered.number):
                        out.append(FetchObject(fetch))
                case Adopt() as adopt:
                    if manifest is None:
                        out.append(AdoptTree(adopt, numbered.text))
                case Drop() as drop:
                    if manifest in (None, drop.manifest) and not any(
                        h.numbered.number < numbered.number and h.needs(drop.manifest) for h in held
                    ):
                        out.append(DropObject(drop.manifest))
                case _:
                    raise AssertionError(f"{numbered.kind} is no work on objects")
        return out

    def ask(self, numbered: Numbered, attempts: Iterable[Held]) -> list[Effect]:
        """What to do about a command that was just taken."""
        match numbered.command:
            case Adopt() as adopt:
                return [AdoptTree(adopt, numbered.text)]
            case Fetch() as command:
                return [] if self._dropped_before(command.manifest, numbered.number) else [FetchObject(command)]
            case Drop() as command:
                waits = any(h.needs(command.manifest) for h in attempts)
                return [] if waits else [DropObject(command.manifest)]
            case _:
                raise AssertionError(f"{numbered.kind} is no work on objects")
