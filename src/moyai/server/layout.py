"""The directory of a control plane: what lies where, who has it, and its sockets. Standard library only."""

import fcntl
import hashlib
import json
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

SOCKET_PATH_BYTES = 100
"""A longer path than this does not fit an address on every system."""


class StartTrouble(Exception):
    """Why the server can't start: one line, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Layout:
    """The paths below one directory."""

    def __init__(self, root: Path, keys: Path | None = None) -> None:
        """`keys`: a directory of keys elsewhere, which several control planes share."""
        self.root = Path(os.path.abspath(root))
        self._keys = Path(os.path.abspath(keys.expanduser())) if keys is not None else self.root / "keys"

    @property
    def lock(self) -> Path:
        """Held by the server of the directory as long as it lives."""
        return self.root / "lock"

    @property
    def log(self) -> Path:
        """The log of events."""
        return self.root / "log.db"

    @property
    def keys(self) -> Path:
        """The tenants' keys and the signing key."""
        return self._keys

    @property
    def ca(self) -> Path:
        """The CA, where this control plane has one."""
        return self.root / "ca"

    @property
    def door(self) -> Path:
        """The certificate and key of the listener for agents of other machines."""
        return self.root / "door.pem"

    @property
    def blobs(self) -> Path:
        """Archives of working directories."""
        return self.root / "blobs"

    @property
    def sites(self) -> Path:
        """One directory for each site whose agent runs on this machine."""
        return self.root / "sites"

    @property
    def fleet(self) -> Path:
        """The fleet that an operator declared, if one did."""
        return self.root / "fleet.yaml"

    @property
    def said(self) -> Path:
        """Where a running server says how to reach it."""
        return self.root / "server.json"

    @property
    def server_log(self) -> Path:
        """What the server has to say to an operator."""
        return self.root / "server.log"

    @property
    def socket(self) -> Path:
        """The Unix socket: in the directory, or, where that path is too long, in a private one below /tmp."""
        inside = self.root / "control.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(f"/tmp/moyai-{os.geteuid()}") / f"{name}.sock"  # noqa: S108 – checked to be ours alone

    def prepare(self) -> None:
        """Make the directory and check that it can be used. Raises StartTrouble."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = os.stat(self.root).st_uid
            if owner != os.geteuid():
                raise StartTrouble(
                    f"{self.root}: belongs to another user (uid {owner})",
                    "choose a directory of your own by --dir or $MOYAI_DIR",
                )
            for below in (self.keys, self.blobs, self.sites):
                below.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unusable(self.root, error) from None

    def take(self) -> int:
        """Take the lock; its descriptor, to be kept open. Raises StartTrouble where another server has it."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self.root, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StartTrouble(
                f"{self.root}: another server has this directory" + (f" (process {holder})" if holder else ""),
                "use that one, end it by `moyai down`, or choose another directory by --dir",
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            os.close(descriptor)
            raise _unusable(self.root, error) from None
        return descriptor

    def say(self, pid: int, epoch: int, url: str, agents: str = "") -> None:
        """Write down how to reach the server, in one step. `agents`: where those of other machines come."""
        said = {"pid": pid, "epoch": epoch, "socket": str(self.socket), "url": url, "agents": agents}
        write_whole(self.said, json.dumps(said).encode())

    def unsay(self) -> None:
        """The server is no longer there."""
        for gone in (self.said, self.socket):
            with suppress(OSError):
                gone.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that nobody ever reads half of it. Raises OSError."""
    part = path.with_name(f".{path.name}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    os.replace(part, path)


def listen_unix(path: Path) -> socket.socket:
    """A listening socket at `path`, for this user alone. Call it with the lock held. Raises StartTrouble."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        if path.parent.name.startswith("moyai-"):
            _private(path.parent)
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        sock.listen(256)
    except OSError as error:
        sock.close()
        raise StartTrouble(f"{path}: can't listen there ({error.strerror})") from None
    finally:
        os.umask(before)
    return sock


def _private(directory: Path) -> None:
    """A directory below /tmp that nobody else can have prepared for us. Raises StartTrouble or OSError."""
    with suppress(FileExistsError):
        os.mkdir(directory)
        os.chmod(directory, 0o700)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise StartTrouble(f"{directory}: is not a directory of yours alone", "delete it, or choose a shorter --dir")


def listen_loopback(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0: any that is free. Raises StartTrouble."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise StartTrouble(
            f"port {port} can't be used ({error.strerror})",
            "choose another by --port, or leave it out for any free one",
        ) from None
    return sock


def _unusable(root: Path, error: OSError) -> StartTrouble:
    return StartTrouble(
        f"{error.filename or root}: can't be used ({error.strerror})",
        "choose a directory that you may write to by --dir or $MOYAI_DIR",
    )
