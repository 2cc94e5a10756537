"""The way to a control plane elsewhere, over real TLS: joined, not joined, of another CA, gone, and at another time."""

import time
from pathlib import Path

import pytest

from agent.doctor.answering import answering, closed_address
from moyai.agent.doctor.agent import check_agent
from moyai.agent.doctor.check import Check, Verdict
from moyai.agent.doctor.control import check_remote
from server.door import Door
from server.process import Server


@pytest.fixture(autouse=True)
def in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOYAI_LANG", "en")


def only(checks: list[Check]) -> Check:
    """The one that is bad."""
    (found,) = [check for check in checks if check.verdict is Verdict.BAD]
    assert found.mend
    return found


def test_a_site_that_joined_and_one_that_did_not(server: Server, tmp_path: Path) -> None:
    door = Door.make(server).open()
    new = check_remote(door.address, tmp_path / "osaka")
    assert not [check for check in new if check.verdict is Verdict.BAD]
    assert "has not joined" in new[0].what
    door.joined("osaka", tmp_path / "osaka")
    found = check_remote(door.address, tmp_path / "osaka")
    assert "is of this site's CA" in found[0].what
    wrong = only(check_remote(door.address, tmp_path / "osaka", now_s=time.time() - 7_200))
    assert (wrong.name, "2 h behind" in wrong.what) == ("wall-clock", True)
    # Its certificate is looked at in the agent's directory; nobody runs there.
    names = {check.name: check.verdict for check in check_agent(tmp_path / "osaka")}
    assert names == {"agent:osaka": Verdict.BAD, "certificate": Verdict.OK}
    later = check_agent(tmp_path / "osaka", now_s=time.time() + 400 * 86_400)
    assert "ended at" in next(check.what for check in later if check.name == "certificate")


def test_a_control_plane_of_another_ca(server: Server, tmp_path: Path) -> None:
    door = Door.make(server).open()
    door.joined("osaka", tmp_path / "osaka")
    other = Server()
    try:
        elsewhere = Door.make(other).open()
        wrong = only(check_remote(elsewhere.address, tmp_path / "osaka"))
    finally:
        other.destroy()
    assert "of another CA" in wrong.what


def test_nobody_there_and_somebody_else(tmp_path: Path) -> None:
    away = closed_address().replace("http:", "https:")
    assert "does not answer" in only(check_remote(away, tmp_path)).what
    with answering({}) as address:
        assert "does not answer" in only(check_remote(address.replace("http:", "https:"))).what
    with pytest.raises(ValueError, match="is no address of a control plane"):
        check_remote("tokyo")


def test_an_identity_that_is_spoilt(tmp_path: Path) -> None:
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "identity.pem").write_text("# {}")
    (tmp_path / "identity" / "identity.pem").chmod(0o600)
    assert "can't be used" in only(check_remote(closed_address().replace("http:", "https:"), tmp_path)).what
