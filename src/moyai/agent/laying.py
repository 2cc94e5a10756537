"""What lies in an attempt's directory before a rank runs. Standard library only: other machines use it too."""

import os
import re
import shutil
from pathlib import Path

KEPT_ENV = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|VIRTUAL_ENV|SSL_CERT_(FILE|DIR)|NO_COLOR"
)
"""What a job sees of the environment around it; all else is the agent's business."""


class CannotPrepare(Exception):
    """The attempt can't be started here; the message says why."""


def inherited() -> dict[str, str]:
    """What a job sees of this process's environment."""
    return {name: value for name, value in os.environ.items() if KEPT_ENV.fullmatch(name)}


def shell() -> str:
    """The shell that runs the lines of jobs here."""
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"


def clear(place: Path) -> tuple[Path, Path]:
    """Empty directories in `place` for the code and the checkpoints, whatever was there. Raises OSError."""
    work, kept = place / "work", place / "ckpt"
    for left in (work, kept):
        if left.exists():
            shutil.rmtree(left)
        left.mkdir(parents=True)
    return work, kept


def link_path(work: Path, path: str) -> Path:
    """Where the relative `path` of a job lies. Raises CannotPrepare where that is not below `work`."""
    link = Path(os.path.normpath(work / path))
    if not link.is_relative_to(work) or link == work:
        raise CannotPrepare(f"the path {path!r} leads out of the working directory")
    return link


def show(work: Path, path: str, source: Path) -> None:
    """Let a job see `source` at `path` below `work`. Raises CannotPrepare, OSError."""
    link = link_path(work, path)
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.parent.resolve().is_relative_to(work.resolve()):
        raise CannotPrepare(f"the path {path!r} leads out of the working directory")
    try:
        link.symlink_to(source)
    except FileExistsError:
        raise CannotPrepare(f"the working directory has {path!r} already") from None
