"""Where everything of a site lies in its directory."""

from pathlib import Path

from moyai.model.ids import AttemptId, BlobId


class Places:
    """The paths of one site's directory."""

    __slots__ = ("root",)

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def journal(self) -> Path:
        """The agent's journal."""
        return self.root / "journal.db"

    @property
    def log(self) -> Path:
        """What the agent has to say to an operator."""
        return self.root / "agent.log"

    @property
    def identity(self) -> Path:
        """Key, certificate and root, where the control plane is on another machine."""
        return self.root / "identity"

    @property
    def declared(self) -> Path:
        """The profile that a control plane on another machine took last."""
        return self.root / "declared.json"

    @property
    def attempts(self) -> Path:
        """One directory for each attempt."""
        return self.root / "attempts"

    @property
    def objects(self) -> Path:
        """One directory for each manifest."""
        return self.root / "objects"

    @property
    def blobs(self) -> Path:
        """Archives of working directories, by their id."""
        return self.root / "blobs"

    def attempt(self, attempt: AttemptId) -> Path:
        """The directory of an attempt. Raises ValueError where its id is no name for a directory."""
        if not attempt or "/" in attempt or "\0" in attempt or attempt.startswith("."):
            raise ValueError(f"{attempt!r} is no attempt id")
        return self.attempts / attempt

    def checkpoints(self, attempt: AttemptId) -> Path:
        """Where an attempt writes its checkpoints."""
        return self.attempt(attempt) / "ckpt"

    def blob(self, blob: BlobId) -> Path:
        """Where the archive of a working directory lies."""
        return self.blobs / f"{blob}.tar.zst"
