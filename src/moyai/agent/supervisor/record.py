"""The exit record of an attempt: `exit.json` in its directory, whole or not there."""

import os

NAME = "exit.json"


class RecordFile:
    """Space for the record is taken before the attempt runs, so that a full disk can't swallow how it ended."""

    def __init__(self, directory: str, ranks: int) -> None:
        """Raises OSError, ENOSPC among them."""
        self._path = f"{directory}/{NAME}"
        self._fd = os.open(self._path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._fd, 0, 2_048 + 256 * ranks)
        except OSError:
            self.discard()
            raise

    def write(self, data: bytes) -> None:
        """Make `data` the record, durable before it has its name. Raises OSError."""
        os.pwrite(self._fd, data, 0)
        os.ftruncate(self._fd, len(data))
        os.fsync(self._fd)
        os.close(self._fd)
        os.rename(self._path + ".tmp", self._path)

    def discard(self) -> None:
        """Nothing ran: leave no record."""
        os.close(self._fd)
        try:
            os.unlink(self._path + ".tmp")
        except FileNotFoundError:
            return
