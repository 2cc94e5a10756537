"""A control plane with a CA and a listener for agents, and hands that join it, well or badly."""

import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from moyai.agent.identity import Identity
from moyai.agent.join import join
from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import Flavor, SiteProfile
from moyai.model.units import Instant
from moyai.trust import ca
from moyai.trust.io.cafiles import AGENT_LIFE_US, Authority, make_authority, new_serial
from server.process import Server

HOUR = 3_600_000_000


def now() -> Instant:
    """The wall clock."""
    return Instant(time.time_ns() // 1_000)


def profile(site: str, cores: int = 2) -> SiteProfile:
    """What a site of the tests is."""
    flavor = Flavor(FlavorName("standard"), 4, cores, 2 << 30, idle_w=60, peak_w=220)
    return SiteProfile(SiteName(site), "host", "JP-27", 34_700_000, 135_500_000, (flavor,), 25_000_000, 430_000)


@dataclass
class Door:
    """A server with its CA. Start it by `open`."""

    server: Server
    authority: Authority

    @classmethod
    def make(cls, server: Server, life_us: int = AGENT_LIFE_US) -> "Door":
        """Make the CA in the server's directory."""
        return cls(server, make_authority(server.root / "ca", now(), life_us))

    def open(self, *extra: str, port: int = 0) -> "Door":
        """Start the server."""
        self.server.start("--agents", f"127.0.0.1:{port}", *extra)
        return self

    @property
    def address(self) -> str:
        """Where agents come."""
        return "https://" + json.loads((self.server.root / "server.json").read_bytes())["agents"]

    @property
    def log(self) -> str:
        """What the server has to say."""
        return (self.server.root / "server.log").read_text()

    def token(self, site: str, lifetime_us: int = HOUR) -> str:
        """A join token."""
        return self.server.post(f"/v1/sites/{site}/token?lifetime={lifetime_us}")["token"]

    def joined(self, site: str, directory: Path) -> Identity:
        """A site that has joined."""
        join([self.address], self.token(site), profile(site), directory)
        return Identity(directory / "identity").load()

    def client(self, context: "ssl.SSLContext | None") -> httpx.Client:
        """An agent's client."""
        return httpx.Client(verify=context or self.bare(), base_url=self.address, trust_env=False, timeout=20)

    def bare(self) -> ssl.SSLContext:
        """TLS by the right CA, without a certificate of one's own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=self.authority.root.pem.decode())
        return context

    def with_pem(self, pem: bytes, file: Path) -> ssl.SSLContext:
        """TLS by the right CA, with this key and certificate."""
        file.write_bytes(pem)
        context = self.bare()
        context.load_cert_chain(file)
        return context

    def forged(self, site: str, begin: int, end: int, root: ca.Root | None = None) -> bytes:
        """A key and its certificate that the log knows nothing of."""
        key = ca.new_key()
        request = ca.read_request(ca.make_request(key, SiteName(site)))
        term = ca.Term(new_serial(), Instant(begin), Instant(end))
        return ca.key_pem(key) + ca.agent_certificate(root or self.authority.root, request, SiteName(site), term)
