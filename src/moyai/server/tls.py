"""TLS 1.3 of the listener for agents of other machines: its own certificate, and what a peer's says.

Client certificates are asked for and checked by OpenSSL against the CA alone; one that isn't good ends the handshake.
Joining has none yet. Sessions are not resumed: each connection shows its certificate anew.
"""

import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moyai.control.identity import Presented
from moyai.model.identity import SITE_ID
from moyai.model.ids import SiteName
from moyai.model.units import Instant
from moyai.server.layout import StartTrouble

if TYPE_CHECKING:
    from moyai.trust.io.cafiles import Authority

SAID_EVERY_S = 60.0
MOST_SAID = 256

_LOG = logging.getLogger("moyai.server")


class Seldom:
    """A warning for each matter at most once a minute, with how often it came; few matters at a time."""

    def __init__(self, say: Callable[[str], None] = _LOG.warning, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}  # when last, and how often since

    def say(self, matter: str, text: str) -> None:
        """Say `text`, unless something of this matter was said a moment ago."""
        now = self._clock()
        at, unsaid = self._said.get(matter, (-SAID_EVERY_S, 0))
        if now - at < SAID_EVERY_S:
            self._said[matter] = (at, unsaid + 1)
            return
        if matter not in self._said and len(self._said) >= MOST_SAID:
            del self._said[next(iter(self._said))]
        self._said.pop(matter, None)
        self._said[matter] = (now, 0)
        self._say(f"{text} ({unsaid} more like it before)" if unsaid else text)


def presented(secured: ssl.SSLObject) -> Presented | None:
    """What the certificate at the other end says, which OpenSSL found good; None where there is none, or no site's."""
    shown = secured.getpeercert()
    if not shown:
        return None
    names = [str(value) for kind, value in shown.get("subjectAltName", ()) if kind == "URI"]
    serial, end = shown.get("serialNumber"), shown.get("notAfter")
    if len(names) != 1 or not names[0].startswith(SITE_ID) or not isinstance(serial, str) or not isinstance(end, str):
        return None
    ends_at = Instant(int(ssl.cert_time_to_seconds(end)) * 1_000_000)
    return Presented(SiteName(names[0].removeprefix(SITE_ID)), serial.lower(), ends_at)


class ServerSide:
    """The listener's context, and its certificate, which is made anew before it is over."""

    def __init__(self, authority: "Authority", hosts: Sequence[str], path: Path, seldom: Seldom) -> None:
        """`hosts` are names that the certificate holds, `path` the file for it and its key. Raises StartTrouble."""
        self._authority = authority
        self._hosts = hosts
        self._path = path
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.verify_flags |= ssl.VERIFY_X509_STRICT
        self.context.load_verify_locations(cadata=authority.root.pem.decode())
        self.context.sslobject_class = _noting(seldom)
        self._due = Instant(0)

    def renew(self, now: Instant) -> bool:
        """Make the certificate anew where it is time to; whether it was. Raises StartTrouble."""
        from moyai.trust.ca import SERVER_LIFE_US, key_pem, new_key, server_certificate
        from moyai.trust.io.cafiles import new_serial
        from moyai.trust.io.private import write_private

        if now < self._due:
            return False
        key, root = new_key(), self._authority.root
        certificate = server_certificate(root, key, self._hosts, serial=new_serial(), now=now, life_us=SERVER_LIFE_US)
        try:
            write_private(self._path, key_pem(key) + certificate)
            self.context.load_cert_chain(self._path)
        except OSError as error:
            raise StartTrouble(f"{self._path}: can't be written ({error.strerror})") from None
        self._due = Instant(now + min(SERVER_LIFE_US, root.ends_at - now) * 2 // 3)
        return True


@dataclass(frozen=True, slots=True)
class Door:
    """Where agents of other machines come in."""

    sock: socket.socket
    side: ServerSide
    authority: "Authority"

    @property
    def address(self) -> str:
        """Where it listens: "HOST:PORT"."""
        host, port = self.sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_door(sock: socket.socket, host: str, directory: Path, certificate: Path, now: Instant) -> Door:
    """The listener on `sock`, by the CA in `directory`. Its certificate goes to a file. Raises StartTrouble."""
    from moyai.trust.io.cafiles import AuthorityTrouble, read_authority

    try:
        authority = read_authority(directory)
    except AuthorityTrouble as trouble:
        raise StartTrouble(trouble.message, trouble.hint) from None
    if authority.root.ends_at <= now:
        raise StartTrouble(f"{directory}: the CA is over", "make a new one, and let every agent join again")
    names = [name for name in (host, socket.gethostname(), "localhost", "127.0.0.1", "::1") if _is_name(name)]
    side = ServerSide(authority, names, certificate, Seldom())
    side.renew(now)
    return Door(sock, side, authority)


def _is_name(name: str) -> bool:
    return bool(name) and name.isascii() and name not in ("0.0.0.0", "::")  # noqa: S104 – all addresses, so none


def _noting(seldom: Seldom) -> type[ssl.SSLObject]:
    """OpenSSL's connections, of which those that it refuses are said."""

    class Noting(ssl.SSLObject):
        """One connection."""

        def do_handshake(self) -> None:
            """The handshake, said where it fails."""
            try:
                super().do_handshake()
            except ssl.SSLCertVerificationError as error:
                said = f"an agent was refused: its certificate is not good: {error.verify_message}"
                seldom.say(f"tls {error.verify_code}", said)
                raise
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                reason = error.reason or error.strerror
                seldom.say(f"tls {reason}", f"somebody at the listener for agents speaks no TLS 1.3: {reason}")
                raise

    return Noting
