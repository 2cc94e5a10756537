"""The files that a workflow's task leaves: made into objects before its end is reported, and its directory goes."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from moyai.data.io import tree
from moyai.data.manifest import BadManifest, Manifest
from moyai.model.ids import ManifestId
from moyai.model.workload import JobText

AGAIN_S = 0.05
"""Between looks at an object with the same content that is still being deleted."""


class Unkept(Exception):
    """A file that the task should have written and that can't be kept. `detail` says why, for people."""

    def __init__(self, file: str, detail: str) -> None:
        super().__init__(f"{file}: {detail}")
        self.file = file
        self.detail = detail


async def keep(
    work: Path, objects: Path, file: str, text: JobText, going: Callable[[ManifestId], bool]
) -> tuple[ManifestId, Manifest]:
    """The object of `file`, which lies below `work` as the task's text says. Raises Unkept.

    `going` tells whether an object is being deleted: one with the same content is kept anew once it is gone.
    """
    path = dict(text.files).get(file)
    if path is None:
        raise Unkept(file, "its path is not known")
    place = Path(os.path.normpath(work / path))
    try:
        if not place.resolve(strict=True).is_relative_to(work.resolve()):
            raise Unkept(file, f"{path} leads out of the working directory")
        while True:
            name, held = await asyncio.to_thread(tree.keep_any, str(place), objects)
            if not going(name):
                return name, held
            await asyncio.sleep(AGAIN_S)
    except FileNotFoundError:
        raise Unkept(file, f"there is no {path}") from None
    except (tree.TreeError, BadManifest) as error:
        raise Unkept(file, str(error)) from None
    except OSError as error:
        raise Unkept(file, f"{error.filename or objects}: {error.strerror or error}") from None
