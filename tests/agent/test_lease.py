"""The lease rule: the stop signal, its grace, and the kill all fit into the lease."""

from hypothesis import given
from hypothesis import strategies as st

from moyai.agent.lease import FOREVER_US, Lease

LENGTHS = st.integers(100_000, 3_600_000_000)
MOMENTS = st.integers(0, 2**50)


@given(MOMENTS, LENGTHS, st.integers(0, 2**40))
def test_stop_grace_and_kill_fit_into_the_lease(sent: int, length: int, grace: int) -> None:
    lease = Lease(sent, length, length)
    assert sent < lease.stop_at_us(grace) <= lease.kill_at_us < lease.end_us == sent + length
    assert lease.kill_at_us - lease.stop_at_us(grace) <= max(length // 3, 1)
    assert lease.grace_us(grace) <= grace


@given(MOMENTS, LENGTHS, LENGTHS, st.integers(0, 10_000_000))
def test_a_renewal_never_shortens_it_and_counts_from_its_sending(
    sent: int, first: int, second: int, later: int
) -> None:
    lease = Lease(sent, first, first)
    lease.renew(sent + later, second, second)
    assert lease.end_us == sent + max(first, later + second)


def test_an_agent_without_a_lease_takes_none_away() -> None:
    lease = Lease(0, 10_000_000, 10_000_000)
    lease.renew(5_000_000, 0, 0)
    assert (lease.end_us, lease.length_us) == (10_000_000, 10_000_000)


@given(MOMENTS, LENGTHS, st.integers(0, 2**40), st.floats(0, 1))
def test_it_is_renewed_well_before_the_stop_signal(sent: int, length: int, grace: int, part: float) -> None:
    lease = Lease(sent, length, length)
    now = sent + int((lease.stop_at_us(grace) - sent) * part)
    wait = lease.renew_after_us(now, grace)
    assert wait == 50_000 or now + 2 * wait <= lease.stop_at_us(grace)


def test_one_that_waits_out_a_partition_never_ends() -> None:
    assert Lease(5, 2**62, 1_000_000).endless
    assert not Lease(5, 10**15, 10**15).endless
    assert FOREVER_US > 10**18
