"""When a certificate is due: by the life that it had when it came, whatever the clock does afterwards."""

from moyai.agent.identity import About
from moyai.model.ids import SiteName
from moyai.model.units import Instant


def test_the_next_certificate_is_due_after_two_thirds() -> None:
    day = 86_400_000_000
    about = About(SiteName("osaka"), Instant(1_000 * day), Instant(1_009 * day))
    assert about.due_at == 1_006 * day
    assert About(SiteName("osaka"), Instant(1_010 * day), Instant(1_009 * day)).due_at < 1_010 * day  # at once
