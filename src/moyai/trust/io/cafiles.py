"""The CA's directory: `ca.pem` for everybody, `ca.key` for its owner alone, `policy.json` with the life it gives.

Control planes that share a log share this directory, or a copy of it.
"""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from moyai.model.units import Instant
from moyai.trust.ca import AGENT_LIFE_US, BadRequest, Root, key_pem, make_root, new_key, read_root
from moyai.trust.io.private import LooseFile, read_private, write_private

KEY, CERTIFICATE, POLICY = "ca.key", "ca.pem", "policy.json"
LEAST_LIFE_US = 1_000_000
MOST_LIFE_US = 397 * 86_400_000_000


class AuthorityTrouble(Exception):
    """The CA's directory can't be used; the message says why and `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA as it lies in its directory. `life_us` is how long agents' certificates last."""

    root: Root
    life_us: int


def new_serial() -> int:
    """A serial number from the system's chance: 126 bits and never 0, so that it is of one length in hex."""
    return secrets.randbits(126) | 1 << 126


def make_authority(directory: Path, now: Instant, life_us: int = AGENT_LIFE_US) -> Authority:
    """Make a CA in `directory`. Raises AuthorityTrouble: there is one, or it can't be written."""
    if not LEAST_LIFE_US <= life_us <= MOST_LIFE_US:
        raise AuthorityTrouble("certificates may last from a second to 397 days", "choose another --lifetime")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (directory / CERTIFICATE).exists():
            raise AuthorityTrouble(f"{directory}: there is a CA already", "agents that joined by it depend on it")
        root = make_root(new_key(), new_serial(), now)
        # The certificate is written last: a directory without one has no CA yet, whatever else lies there.
        write_private(directory / KEY, key_pem(root.key))
        write_private(directory / POLICY, json.dumps({"agent_life_us": life_us}).encode())
        write_private(directory / CERTIFICATE, root.pem)
    except OSError as error:
        raise AuthorityTrouble(f"{error.filename or directory}: can't be written ({error.strerror})") from None
    return Authority(root, life_us)


def read_authority(directory: Path) -> Authority:
    """The CA in `directory`. Raises AuthorityTrouble."""
    try:
        certificate = (directory / CERTIFICATE).read_bytes()
        key = read_private(directory / KEY)
        policy = json.loads((directory / POLICY).read_bytes())
        life_us = int(policy["agent_life_us"])
    except LooseFile as error:
        raise AuthorityTrouble(str(error)) from None
    except FileNotFoundError as error:
        raise AuthorityTrouble(f"{error.filename}: is not there", "make a CA: moyai ca init") from None
    except OSError as error:
        raise AuthorityTrouble(f"{error.filename or directory}: can't be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise AuthorityTrouble(f"{directory / POLICY}: can't be read", 'write {"agent_life_us": N}') from None
    try:
        return Authority(read_root(certificate, key), min(max(life_us, LEAST_LIFE_US), MOST_LIFE_US))
    except BadRequest as error:
        raise AuthorityTrouble(f"{directory}: {error}", "restore it from a copy") from None
