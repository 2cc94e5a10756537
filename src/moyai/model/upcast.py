"""Old event bodies, brought to the newest version one pure step at a time. The bytes in the log stay as they are."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from moyai.model.codec import DecodeError, decode, encode
from moyai.model.events import EVENTS

Fields = dict[str, Any]  # one event body as JSON holds it: the only place where a body has no type yet
Step = Callable[[Fields], Fields]

STEPS: dict[tuple[str, int], Step] = {}
"""(kind, version) → the step from that version to the next."""


def upcast(
    kind: str,
    version: int,
    body: bytes | msgspec.Raw,
    steps: Mapping[tuple[str, int], Step] = STEPS,
    newest: int | None = None,
) -> bytes:
    """The body of `kind` at `version`, as bytes of its newest version. Raises DecodeError where a step is missing."""
    target = EVENTS[kind][1] if newest is None else newest
    if version > target:
        raise DecodeError(f"{kind} version {version} is newer than this version of Moyai knows ({target})")
    fields = decode(body, Fields)
    for step in range(version, target):
        if (kind, step) not in steps:
            raise DecodeError(f"{kind} version {step} has no upcaster")
        fields = steps[kind, step](fields)
    return encode(fields)
