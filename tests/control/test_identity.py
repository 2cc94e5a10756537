"""Tokens work once, certificates end, and nobody speaks for another site."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.fleet import World
from moyai.control import requests as r
from moyai.control.apply_identity import KEPT_US
from moyai.control.core import Control, Refused
from moyai.control.identity import MAX_CERTIFICATES, Presented, certificate_of, check_presented, profile_problem
from moyai.control.lease import LeaseTable
from moyai.control.state import State, state_bytes, state_from
from moyai.model import events as e
from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import Flavor, SiteProfile
from moyai.model.units import Instant

NOW = Instant(1_800_000_000_000_000)
HOUR = 3_600_000_000
OSAKA, KYOTO = SiteName("osaka"), SiteName("kyoto")
FLAVOR = Flavor(FlavorName("standard"), 2, 4, 1 << 30, idle_w=10, peak_w=20)


def profile(site: SiteName = OSAKA) -> SiteProfile:
    return SiteProfile(site, "host", "JP-27", 34_700_000, 135_500_000, (FLAVOR,), 25_000_000, 430_000)


def control() -> Control:
    return Control(State(), 1, LeaseTable(15_000_000))


def new(key: str, serial: str = "", at: int = NOW, life_us: int = 9 * 24 * HOUR) -> r.NewCertificate:
    return r.NewCertificate(serial or f"{key * 16:.32}", key, Instant(at), Instant(at + life_us))


def issue(c: Control, token: str = "t1", site: SiteName = OSAKA, at: int = NOW) -> None:
    c.request(r.IssueToken("me", token, site, Instant(at + HOUR)), Instant(at))


def join(c: Control, key: str = "aa", token: str = "t1", site: SiteName = OSAKA, at: int = NOW) -> list[str]:
    records = c.request(r.SpendToken(token, profile(site), new(key, at=at)), Instant(at))
    return [record.kind for record in records]


def refusal(c: Control, request: r.Request, at: int = NOW) -> tuple[int, str]:
    before = state_bytes(c.state)
    with pytest.raises(Refused) as found:
        c.request(request, Instant(at))
    assert state_bytes(c.state) == before
    assert found.value.message
    return found.value.status, found.value.code


def test_a_token_lets_one_agent_join_once() -> None:
    c = control()
    issue(c)
    assert join(c) == ["JoinTokenSpent", "SiteDeclared", "CertificateIssued"]
    assert c.state.sites[OSAKA].profile == profile()
    spend = r.SpendToken("t1", profile(), new("bb"))
    assert refusal(c, spend) == (401, "token-used")


def test_the_same_key_may_ask_again_and_gets_the_same() -> None:
    c = control()
    issue(c)
    join(c)
    before = state_bytes(c.state)
    again = r.SpendToken("t1", profile(), new("aa", serial="f" * 32, at=NOW + 1_000_000))
    assert c.request(again, Instant(NOW + 1_000_000)) == ()
    assert state_bytes(c.state) == before
    assert c.state.tokens["t1"].serial == new("aa").serial


def test_a_token_has_an_end_a_site_and_a_control_plane() -> None:
    c = control()
    issue(c)
    assert refusal(c, r.SpendToken("t1", profile(), new("aa")), NOW + HOUR) == (401, "token-over")
    assert refusal(c, r.SpendToken("t1", profile(KYOTO), new("aa"))) == (403, "wrong-site")
    assert refusal(c, r.SpendToken("t2", profile(), new("aa")))[0] == 401
    c.request(r.Revoke("me", "osaka"), NOW)
    assert refusal(c, r.SpendToken("t1", profile(), new("aa")))[0] == 401


@pytest.mark.parametrize("site", ["", "control", "Osaka", "o/o", "-a", "a" * 64, "大阪"])
def test_a_token_is_for_a_name_that_a_site_can_have(site: str) -> None:
    assert refusal(control(), r.IssueToken("me", "t1", SiteName(site), Instant(NOW + HOUR)))[0] == 422


def test_a_certificate_counts_until_it_is_over_or_revoked() -> None:
    c = control()
    issue(c)
    join(c)
    serial = new("aa").serial
    shown = Presented(OSAKA, serial, Instant(NOW + HOUR))
    check_presented(c.state, shown, NOW)
    for wrong, at, code in (
        (shown, NOW + HOUR, "certificate-over"),
        (replace(shown, serial="0" * 32), NOW, "certificate-unknown"),
        (replace(shown, site=KYOTO), NOW, "certificate-unknown"),
    ):
        with pytest.raises(Refused) as found:
            check_presented(c.state, wrong, Instant(at))
        assert (found.value.status, found.value.code) == (401, code)
    c.request(r.Revoke("me", serial.upper()), NOW)
    with pytest.raises(Refused) as revoked:
        check_presented(c.state, shown, NOW)
    assert revoked.value.code == "revoked"
    assert c.request(r.Revoke("me", serial), NOW) == ()


def test_a_revoked_site_can_not_come_back_by_its_old_token() -> None:
    c = control()
    issue(c)
    join(c)
    c.request(r.Revoke("me", "osaka"), NOW)
    assert refusal(c, r.SpendToken("t1", profile(), new("aa"))) == (401, "revoked")


def test_revoking_a_site_takes_all_that_counts() -> None:
    c = control()
    issue(c)
    join(c)
    c.request(r.RenewCertificate(OSAKA, new("bb")), NOW)
    issue(c, "t2")
    issue(c, "t3", KYOTO)
    bodies = [record.body for record in c.request(r.Revoke("me", "osaka"), NOW)]
    assert bodies == [
        e.CertificateRevoked(new("aa").serial, OSAKA),
        e.CertificateRevoked(new("bb").serial, OSAKA),
        e.JoinTokenRevoked("t2", OSAKA),
    ]
    assert refusal(c, r.Revoke("me", "nagoya"))[0] == 404
    assert refusal(c, r.Revoke("me", "0123456789abcdef"))[0] == 404


def test_a_renewal_may_come_twice_and_is_bounded() -> None:
    c = control()
    issue(c)
    join(c)
    assert [x.kind for x in c.request(r.RenewCertificate(OSAKA, new("bb")), NOW)] == ["CertificateIssued"]
    assert c.request(r.RenewCertificate(OSAKA, new("bb", serial="e" * 32)), NOW) == ()
    assert certificate_of(c.state, OSAKA, "bb", NOW) == new("bb").serial
    assert certificate_of(c.state, KYOTO, "bb", NOW) is None
    for number in range(MAX_CERTIFICATES - 2):
        c.request(r.RenewCertificate(OSAKA, new(f"c{number}")), NOW)
    assert refusal(c, r.RenewCertificate(OSAKA, new("dd")))[0] == 429


def test_a_site_declares_itself_alone() -> None:
    c = control()
    issue(c)
    join(c)
    wider = replace(profile(), flavors=(replace(FLAVOR, count=9),))
    assert [x.kind for x in c.request(r.DeclareSite(OSAKA, wider), NOW)] == ["SiteDeclared"]
    assert c.request(r.DeclareSite(OSAKA, wider), NOW) == ()
    assert refusal(c, r.DeclareSite(OSAKA, profile(KYOTO))) == (403, "wrong-site")


@pytest.mark.parametrize(
    "bad",
    [
        replace(profile(), engine="Host!"),
        replace(profile(), jurisdiction="japan"),
        replace(profile(), latitude_microdeg=91_000_000),
        replace(profile(), price_micro_yen_per_kwh=-1),
        replace(profile(), carbon_mg_per_kwh=2**60),
        replace(profile(), pue_milli=0),
        replace(profile(), flavors=()),
        replace(profile(), flavors=(FLAVOR, FLAVOR)),
        replace(profile(), flavors=(replace(FLAVOR, count=-3),)),
        replace(profile(), flavors=(replace(FLAVOR, idle_w=30),)),
        replace(profile(), flavors=(replace(FLAVOR, name=FlavorName("a\nb")),)),
        replace(profile(), flavors=(replace(FLAVOR, accelerator="H100"),)),
    ],
)
def test_a_profile_from_elsewhere_is_checked(bad: SiteProfile) -> None:
    assert profile_problem(bad)
    c = control()
    issue(c)
    assert refusal(c, r.SpendToken("t1", bad, new("aa")))[0] == 422


def test_all_profiles_of_the_tests_are_good() -> None:
    for site in World().control.state.sites.values():
        assert profile_problem(site.profile) == ""


def test_what_is_long_over_is_forgotten() -> None:
    c = control()
    issue(c)
    c.request(r.SpendToken("t1", profile(), new("aa", life_us=HOUR)), NOW)
    late = NOW + HOUR + KEPT_US + 1
    issue(c, "t2", at=late)
    assert list(c.state.tokens) == ["t2"]
    assert c.state.certificates == {}


@given(st.lists(st.tuples(st.sampled_from("irjnv"), st.integers(0, 3), st.integers(0, 40)), max_size=40))
def test_whatever_comes_a_token_has_one_key_and_the_state_survives_a_restart(steps: list[tuple[str, int, int]]) -> None:
    c = control()
    keys: dict[str, set[str]] = {}
    at = NOW
    for kind, number, minutes in steps:
        at = Instant(at + minutes * 60_000_000)
        token, key = f"t{number}", f"k{number + minutes % 2}"
        try:
            match kind:
                case "i":
                    issue(c, token, at=at)
                case "j" | "n":
                    c.request(r.SpendToken(token, profile(), new(key, at=at, life_us=2 * HOUR)), at)
                    keys.setdefault(token, set()).add(key)
                case "v":
                    c.request(r.Revoke("me", "osaka"), at)
                case _:
                    c.request(r.RenewCertificate(OSAKA, new(f"r{key}{at}", f"{at:032x}", at, HOUR)), at)
        except Refused:
            pass
        assert state_bytes(state_from(state_bytes(c.state))) == state_bytes(c.state)
        assert len(c.state.certificates) <= 200
    tokens = {t: held.key for t, held in c.state.tokens.items() if held.key}
    assert all(keys[token] >= {key} for token, key in tokens.items())
