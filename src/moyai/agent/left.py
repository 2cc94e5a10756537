"""What a supervisor that died left: processes, and the record of an end. Standard library only."""

from pathlib import Path

from moyai.agent import killing
from moyai.agent.messages import BadMessage, Ended, decode

ROUNDS = 100


def kill_left(attempt: str, nonce: str) -> int:
    """Kill what carries the marks of a start, until nothing is left. Returns how many there were."""
    found: set[int] = set()
    for _ in range(ROUNDS):
        left = killing.members(killing.marks(attempt, nonce))
        if not left:
            break
        found.update(left)
        killing.kill_all(left)
    return len(found)


def recorded(path: Path) -> Ended | None:
    """The end that lies at `path`; None where there is none. Raises BadMessage, OSError."""
    try:
        message = decode(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(message, Ended):
        raise BadMessage("it is no end")
    return message
