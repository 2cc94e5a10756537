"""`moyai doctor` as people and programs meet it."""

import json
from pathlib import Path

import pytest

from agent.doctor.answering import closed_address
from cli.conftest import Moyai

SITE = """\
name: tokyo
engine: {engine}
jurisdiction: JP-13
latitude: 35
longitude: 139
price_yen_per_kwh: 20
carbon_g_per_kwh: 400
flavors: [{{name: cpu, count: 1, cpus: 4, memory: 4GiB, idle_w: 50, peak_w: 200}}]
"""


def test_a_machine_with_a_server(moyai: Moyai, home: Path) -> None:
    ran = moyai("doctor", "--dir", home)
    assert ran.code == 0, ran.out
    assert " 0 bad" in ran.out
    said = json.loads(moyai("doctor", "--dir", home, "--json").out)
    assert said["fine"] is True
    names = {check["name"] for check in said["checks"]}
    assert names >= {"python", "platform", "boot-clock", "bubblewrap", "cgroups", "directory", "disk", "server", "log"}
    assert all(set(check) == {"name", "verdict", "what", "mend"} for check in said["checks"])


def test_a_site_whose_engine_is_away(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    (tmp_path / "token").write_text("secret-token")
    address = closed_address()
    file.write_text(
        SITE.format(engine="slurm") + f"slurm: {{rest: '{address}', token: {tmp_path}/token, user: moyai}}\n"
    )
    ran = moyai("doctor", "--site", file)
    assert ran.code == 1
    assert "BAD" in ran.out
    assert "start slurmrestd, or mend `rest`" in " ".join(ran.out.split())
    assert "secret-token" not in ran.out
    said = json.loads(moyai("doctor", "--site", file, "--json").out)
    assert [c["name"] for c in said["checks"] if c["verdict"] == "bad"] == ["slurm"]


def test_a_site_on_this_machine(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(SITE.format(engine="host"))
    assert moyai("doctor", "--site", file).code == 0


def test_a_file_that_is_none(moyai: Moyai, tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("name: tokyo\nengin: host\n")
    ran = moyai("doctor", "--site", file)
    assert ran.code == 2
    assert "site.yaml:2" in ran.err


def test_in_japanese(moyai: Moyai, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "ja")
    ran = moyai("doctor", "--dir", tmp_path / "gone")
    assert "コントロールプレーンはない" in ran.out.replace("\n", "")
    assert ran.code == 0
