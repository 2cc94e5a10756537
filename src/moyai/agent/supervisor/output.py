"""The output of one rank on disk, bounded: its begin and its end are kept, what lies between is counted.

`output.<rank>` holds it from offset 0; `output.<rank>.<offset>` holds a later piece from that offset. So what is kept,
and how much is left out, can be read off the files alone.
"""

from __future__ import annotations

import os


class OutputFile:
    """Where the output of one rank goes. Never raises once it is open: what can't be written is left out."""

    def __init__(self, directory: str, rank: int, head_bytes: int, tail_bytes: int) -> None:
        """Open the first file. Raises OSError: a rank without a place for its output is not started."""
        self._base = f"{directory}/output.{rank}"
        self._head_bytes = head_bytes
        self._piece_bytes = max(tail_bytes // 2, 1)  # of the last two pieces at least one is whole
        self._pieces: list[str] = []  # after the head, oldest first
        self.total = 0
        self.kept = 0
        self._kept_of: dict[str, int] = {}
        self._fd: int | None = os.open(self._base, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._room = head_bytes

    @property
    def left_out(self) -> int:
        """How many bytes of the total are not on disk."""
        return self.total - self.kept

    def write(self, data: bytes) -> None:
        """Append `data`."""
        view = memoryview(data)
        while view:
            if self._fd is None or self._room == 0:
                self._next_piece()
            wrote = self._put(view[: self._room]) if self._fd is not None else 0
            if wrote == 0:  # the disk is full, or gone: this much is left out, the next write tries again
                self.total += len(view)
                self._close()
                return
            self.total += wrote
            self.kept += wrote
            self._room -= wrote
            if self._pieces:
                self._kept_of[self._pieces[-1]] += wrote
            view = view[wrote:]

    def close(self) -> None:
        """No more comes."""
        self._close()

    def _put(self, view: memoryview) -> int:
        assert self._fd is not None
        try:
            return os.write(self._fd, view)
        except OSError:
            return 0

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _next_piece(self) -> None:
        self._close()
        while len(self._pieces) > 1:
            oldest = self._pieces.pop(0)
            self.kept -= self._kept_of.pop(oldest)
            try:
                os.unlink(oldest)
            except FileNotFoundError:
                continue  # somebody tidied up
        path = f"{self._base}.{self.total}"
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        if path not in self._kept_of:
            self._pieces.append(path)
        self._kept_of[path] = 0
        self._room = self._piece_bytes
