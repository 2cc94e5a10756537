"""What lets a site's agent speak to a control plane on another machine: its key, its certificate, the CA's root.

One file holds key and certificate, so that they change together; a line above them says for which site and until when.
The key is made here and never leaves.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moyai.model.codec import DecodeError, decode, encode
from moyai.model.ids import SiteName
from moyai.model.units import Instant
from moyai.trust.io.private import LooseFile, read_private, write_private

if TYPE_CHECKING:
    import ssl

IDENTITY, ROOT, PENDING = "identity.pem", "root.pem", "joining.key"


class NoIdentity(Exception):
    """The site has no certificate that can be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class About:
    """Whose certificate it is. Instants by the site's own clock, but for its end."""

    site: SiteName
    got_at: Instant
    ends_at: Instant

    @property
    def due_at(self) -> Instant:
        """When the next one is to be asked for: after two thirds of its life."""
        return Instant(self.got_at + (self.ends_at - self.got_at) * 2 // 3)


class Identity:
    """The files in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.about = About(SiteName(""), Instant(0), Instant(0))
        self._read: tuple[int, int] = (0, 0)

    @property
    def pending(self) -> Path:
        """The key of a join that was not answered yet, so that the next try is by the same."""
        return self.directory / PENDING

    @property
    def _file(self) -> Path:
        return self.directory / IDENTITY

    @property
    def _root(self) -> Path:
        return self.directory / ROOT

    def load(self) -> "Identity":
        """Read what the directory holds. Raises NoIdentity."""
        try:
            mark = self._mark()
            first = read_private(self._file).partition(b"\n")[0]
            self.about = decode(first.removeprefix(b"# "), About)
            self._read = mark
        except FileNotFoundError:
            hint = "join first: moyai agent join --control URL --token TOKEN --site site.yaml"
            raise NoIdentity(f"{self._file} is not there; {hint}") from None
        except (OSError, DecodeError, LooseFile) as error:
            raise NoIdentity(f"{self._file} can't be used: {error}") from None
        return self

    def changed(self) -> bool:
        """Whether somebody wrote the file since it was read: this site joined anew. Raises OSError."""
        return self._mark() != self._read

    def root(self) -> bytes:
        """The CA's root as PEM. Raises OSError."""
        return self._root.read_bytes()

    def save(self, about: About, key: bytes, certificate: bytes, root: bytes) -> None:
        """Keep a new key with its certificate, durably and in one step. Raises OSError."""
        write_private(self._root, root)
        write_private(self._file, b"# " + encode(about) + b"\n" + key + certificate)
        self._read = self._mark()
        self.about = about

    def context(self) -> "ssl.SSLContext":
        """TLS 1.3 to a control plane of this CA, by this certificate. Raises NoIdentity.

        No host name is checked: whoever holds a server's certificate of this CA is the control plane, at whatever
        address it is met. An agent's certificate can't serve; OpenSSL looks at its extended key usage.
        """
        import ssl

        context = bare_context()
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self._root)
            context.load_cert_chain(self._file)
        except (OSError, ssl.SSLError) as error:
            raise NoIdentity(f"{self.directory} holds no key with its certificate: {error}; join again") from None
        return context

    def _mark(self) -> tuple[int, int]:
        found = self._file.stat()
        return found.st_ino, found.st_mtime_ns


def bare_context() -> "ssl.SSLContext":
    """TLS 1.3 that checks nobody yet."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context
