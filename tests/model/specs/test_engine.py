"""What a site's file says of its engine, as its agent reads it."""

import pytest

from moyai.model.codec import decode, encode
from moyai.model.engine import EngineFile, GuardSettings, SlurmFlavor, SlurmSettings, SshHost
from moyai.model.specs.fleet import SiteFile
from moyai.model.specs.problems import SpecError
from moyai.model.specs.resolve import resolve_engine, resolve_site

SITE = """
name: fukuoka
engine: {engine}
jurisdiction: JP-40
latitude: 33.5
longitude: 130.4
price_yen_per_kwh: 24
carbon_g_per_kwh: 380
flavors: [{{name: h100, count: 2, cpus: 8, memory: 16GiB, accelerators: "h100:4", idle_w: 70, peak_w: 210}}]
"""
SLURM = """
slurm:
  rest: http://127.0.0.1:6820/
  jwt_key: /etc/slurm/jwt.key
  user: moyai
  accounts: {zeta: zeta-svc, acme: acme-svc}
  flavors: {h100: {partition: batch, gres: "gpu:h100"}}
  poll: 2s
  guard: {python: /usr/bin/python3, listen: "10.0.0.5:7070"}
"""
SSH = """
ssh:
  hosts:
    - {name: gate, address: 10.0.0.1, flavor: h100}
    - {name: inner, address: 192.168.0.2, flavor: h100, port: 2222, user: moyai, key: /k, jump: gate}
"""


def test_a_slurm_site_resolves_and_its_file_is_read_back() -> None:
    site = SiteFile.from_text(SITE.format(engine="slurm") + SLURM)
    engine = resolve_engine(site)
    assert engine.settings == SlurmSettings(
        rest="http://127.0.0.1:6820",
        jwt_key="/etc/slurm/jwt.key",
        user="moyai",
        accounts=(("acme", "acme-svc"), ("zeta", "zeta-svc")),
        flavors=(SlurmFlavor("h100", "batch", "", "gpu:h100"),),
        poll_us=2_000_000,
        guard=GuardSettings("/usr/bin/python3", "10.0.0.5:7070"),
    )
    assert decode(encode(engine), EngineFile) == engine
    assert resolve_site(site).engine == "slurm"


def test_what_control_knows_of_a_site_names_no_file_of_it() -> None:
    profile = encode(resolve_site(SiteFile.from_text(SITE.format(engine="slurm") + SLURM)))
    assert b"jwt" not in profile
    assert b"6820" not in profile


def test_machines_reached_through_another() -> None:
    settings = resolve_engine(SiteFile.from_text(SITE.format(engine="ssh") + SSH)).ssh
    assert settings is not None
    assert settings.hosts[1] == SshHost("inner", "192.168.0.2", "h100", 2222, "moyai", "/k", "gate")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("jump: gate", "jump: inner"), "ssh.hosts[1].jump: 'inner' leads back to this host; name another"),
        (("jump: gate", "jump: door"), "ssh.hosts[1].jump: 'door' is no host of this list; hosts: gate, inner"),
        (("name: inner", "name: gate"), "ssh.hosts[1].name: 'gate' is taken by another; choose another name"),
        (("flavor: h100, port", "flavor: a100, port"), "'a100' is no flavor of this site; flavors: h100"),
        (("key: /k", "key: k"), "ssh.hosts[1].key: 'k' is no absolute path; write '/k'"),
        (("192.168.0.2", "'a b'"), "ssh.hosts[1].address: 'a b' is no plain word"),
    ],
)
def test_a_mistake_in_a_list_of_machines(change: tuple[str, str], message: str) -> None:
    text = SITE.format(engine="ssh") + SSH.replace(*change)
    with pytest.raises(SpecError) as caught:
        SiteFile.from_text(text, "site.yaml")
    assert message in str(caught.value)
