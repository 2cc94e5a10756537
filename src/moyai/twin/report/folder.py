"""A directory of results: it appears whole or not at all, and nothing that is there is overwritten."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class Taken(Exception):
    """Results can't go there; the text says why and what to do."""


@contextmanager
def folder(out: Path) -> Generator[Path]:
    """A new directory to write into, which is renamed to `out` at the end, and deleted where that is not reached.

    Raises Taken, before anything is made: `out` holds something, or its parent can't be written.
    """
    out = Path(os.path.abspath(out))
    check(out)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir()
    except OSError as error:
        raise Taken(f"{out}: can't be made ({error.strerror}); name another directory") from None
    try:
        yield part
        try:
            part.rename(out)
        except OSError as error:
            raise Taken(
                f"{out}: something came to be there meanwhile ({error.strerror}); nothing was written"
            ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check(out: Path) -> None:
    """Raises Taken where `out` is there and not an empty directory, or has no parent directory."""
    if not out.parent.is_dir():
        raise Taken(f"{out.parent}: there is no such directory; make it first")
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise Taken(f"{out}: is a file; name a directory that is not there yet")
    try:
        full = any(out.iterdir())
    except OSError as error:
        raise Taken(f"{out}: can't be read ({error.strerror}); name another directory") from None
    if full:
        raise Taken(f"{out}: holds something already; name a directory that is not there yet")
