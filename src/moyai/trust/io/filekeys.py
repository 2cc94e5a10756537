"""Keys in files: one of each tenant, and the signing key. A key is made on first use.

The files are their owner's alone. Looser modes are refused, not repaired: a key that others could read is no secret
any more, and somebody has to know.
"""

import hashlib
import os
import re
import secrets
import stat
from pathlib import Path

from moyai.model.ids import TenantName
from moyai.trust.seal import KEY_BYTES, public_of

_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}|-")
_SIGNING = "signing.key"


class KeyTrouble(Exception):
    """A key that can't be used: others can read it, it is damaged, or its directory can't be used."""


class FileKeys:
    """The keys in one directory. Safe to use from several threads and processes at once."""

    def __init__(self, directory: Path) -> None:
        """Makes `directory` (mode 0700) where it is missing. Raises KeyTrouble."""
        self._directory = directory
        self._keys: dict[str, bytes] = {}
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            found = os.stat(directory)
        except OSError as error:
            raise KeyTrouble(f"{directory}: the keys' directory can't be used ({error.strerror})") from None
        _check_private(directory, found, "700")

    def tenant_key(self, tenant: TenantName) -> bytes:
        """The 32-byte key of `tenant`. After `destroy` a new one is made, which opens nothing older."""
        return self._key(_file_name(tenant))

    def has(self, tenant: TenantName) -> bool:
        """Whether there is a key of `tenant`; none is made. Raises KeyTrouble."""
        path = self._directory / _file_name(tenant)
        try:
            return _read(path) is not None
        except OSError as error:
            raise KeyTrouble(f"{path}: the key can't be used ({error.strerror})") from None

    @property
    def directory(self) -> Path:
        """Where the keys lie."""
        return self._directory

    def signing_key(self) -> bytes:
        """The 32-byte Ed25519 seed that signs checkpoints."""
        return self._key(_SIGNING)

    @property
    def public_key(self) -> bytes:
        """The 32-byte public key of `signing_key`."""
        return public_of(self.signing_key())

    def destroy(self, tenant: TenantName) -> bool:
        """Overwrites and deletes the key of `tenant`: nothing it sealed can be opened again. False: it had none.

        Copies of the file elsewhere (backups, snapshots of the disk) are not reached.
        """
        path = self._directory / _file_name(tenant)
        self._keys.pop(path.name, None)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise KeyTrouble(f"{path}: the key can't be destroyed ({error.strerror})") from None
        try:
            os.write(handle, bytes(os.fstat(handle).st_size))
            os.fsync(handle)
            os.unlink(path)
        except FileNotFoundError:
            return True  # another process destroyed it meanwhile
        except OSError as error:
            raise KeyTrouble(f"{path}: the key can't be destroyed ({error.strerror})") from None
        finally:
            os.close(handle)
        self._sync_directory()
        return True

    def _key(self, name: str) -> bytes:
        known = self._keys.get(name)
        if known is None:
            path = self._directory / name
            try:
                known = _read(path) or self._make(path)
            except OSError as error:
                raise KeyTrouble(f"{path}: the key can't be used ({error.strerror})") from None
            self._keys[name] = known
        return known

    def _make(self, path: Path) -> bytes:
        # Written aside and linked into place, so that nobody ever reads half a key; the first link wins.
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, secrets.token_bytes(KEY_BYTES))
            os.fsync(handle)
            os.link(aside, path)
            self._sync_directory()
        except FileExistsError:
            pass
        finally:
            os.close(handle)
            os.unlink(aside)
        made = _read(path)
        if made is None:
            raise KeyTrouble(f"{path}: the key is being destroyed, or that stopped half way; then delete the file")
        return made

    def _sync_directory(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read(path: Path) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        _check_private(path, os.fstat(handle), "600")
        key = os.read(handle, KEY_BYTES + 1)
    finally:
        os.close(handle)
    if len(key) != KEY_BYTES:
        raise KeyTrouble(
            f"{path}: the key is damaged: it has {len(key)} bytes, not {KEY_BYTES}; restore it from a copy"
        )
    if key == bytes(KEY_BYTES):
        return None  # its destruction is under way
    return key


def _check_private(path: Path, found: os.stat_result, mode: str) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise KeyTrouble(f"{path}: belongs to user {found.st_uid}; keys must belong to the user who runs Moyai")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise KeyTrouble(
            f"{path}: others may use it (mode {stat.S_IMODE(found.st_mode):04o}); if nobody has read it, "
            f"run `chmod {mode} {path}`, else destroy the key"
        )


def _file_name(tenant: TenantName) -> str:
    # A name that is no plain word goes by its hash; "~" stands in no plain name, so the two never meet.
    plain = tenant if _PLAIN.fullmatch(tenant) else "~" + hashlib.sha256(tenant.encode()).hexdigest()[:40]
    return f"tenant-{plain}.key"
