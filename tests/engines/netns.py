"""Network namespaces for tests of the network, where root: hosts on one bridge, whose packets nft can drop.

    with Net() as net:
        a, b = net.host(), net.host()          # 10.x.y.2, 10.x.y.3, …
        a.run("ping", "-c1", b.address)
        with net.dropped(b):                   # packets vanish, nobody is told
            ...

Everything has a name of its own and is gone at the end.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

NEEDED = ("ip", "nft")


def need_netns() -> None:
    """Skip where namespaces can't be made, saying why."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root; the TCP proxy's tests stand in")
    for program in NEEDED:
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: install iproute2 and nftables")
    probe = f"mnp{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode != 0:
        pytest.skip("`ip netns add` is forbidden here")
    subprocess.run(["ip", "netns", "delete", probe], capture_output=True)


@dataclass
class Host:
    """One namespace with one address."""

    name: str
    address: str
    outside: str  # its interface on the bridge

    def words(self, *command: str) -> list[str]:
        """A command line that runs there."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Run something there to its end."""
        return subprocess.run(self.words(*command), capture_output=True, text=True, timeout=timeout)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start something there."""
        return subprocess.Popen(self.words(*command), start_new_session=True)


class Net:
    """A bridge, itself in the test's own namespace at `address`, and hosts on it."""

    def __init__(self) -> None:
        self._tag = f"{os.getpid():x}{random.randrange(1 << 12):x}"[-8:]
        self._bridge = f"mb{self._tag}"
        self._table = f"moyai_{self._tag}"
        self._net = f"10.{random.randrange(64, 250)}.{random.randrange(1, 255)}"
        self.address = f"{self._net}.1"
        self.hosts: list[Host] = []

    def __enter__(self) -> "Net":
        _do("ip", "link", "add", self._bridge, "type", "bridge")
        _do("ip", "address", "add", f"{self.address}/24", "dev", self._bridge)
        _do("ip", "link", "set", self._bridge, "up")
        _do("nft", "add", "table", "netdev", self._table)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["nft", "delete", "table", "netdev", self._table], capture_output=True)
        for host in self.hosts:
            pids = subprocess.run(["ip", "netns", "pids", host.name], capture_output=True, text=True).stdout.split()
            for pid in pids:
                subprocess.run(["kill", "-9", pid], capture_output=True)
            subprocess.run(["ip", "link", "delete", host.outside], capture_output=True)
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True)
        subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True)

    def host(self) -> Host:
        """One more host."""
        number = len(self.hosts)
        name, outside = f"mn{self._tag}{number}", f"mv{self._tag}{number}"
        host = Host(name, f"{self._net}.{number + 2}", outside)
        _do("ip", "netns", "add", name)
        self.hosts.append(host)
        _do("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
        _do("ip", "link", "set", outside, "master", self._bridge, "up")
        _do(*host.words("ip", "address", "add", f"{host.address}/24", "dev", "eth0"))
        for interface in ("eth0", "lo"):
            _do(*host.words("ip", "link", "set", interface, "up"))
        return host

    @contextmanager
    def dropped(self, host: Host, *, there: bool = True, back: bool = True) -> Iterator[None]:
        """Packets to (`there`) and from (`back`) a host vanish."""
        chosen = [hook for hook, wanted in (("egress", there), ("ingress", back)) if wanted]
        chains = [f"{hook}_{host.outside}" for hook in chosen]
        for hook, chain in zip(chosen, chains, strict=True):
            rule = f"{{ type filter hook {hook} device {host.outside} priority 0; policy drop; }}"
            _do("nft", "add", "chain", "netdev", self._table, chain, rule)
        try:
            yield
        finally:
            for chain in chains:
                _do("nft", "delete", "chain", "netdev", self._table, chain)

    @contextmanager
    def unplugged(self, host: Host) -> Iterator[None]:
        """Its cable is out."""
        _do("ip", "link", "set", host.outside, "down")
        try:
            yield
        finally:
            _do("ip", "link", "set", host.outside, "up")


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
