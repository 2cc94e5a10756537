"""The leader's place: one at a time, whatever the database's clock does."""

import threading

import pytest

from moyai.store.errors import Led, StaleEpoch
from moyai.store.leader import Seat, trusted_us
from moyai.store.log import Log
from store.pg import Postgres

LONG, SHORT = 60_000_000, 1


@pytest.fixture
def url(pg: Postgres) -> str:
    """A new database."""
    return pg.url(pg.database())


def test_one_leads_and_another_is_told_who(url: str, chain) -> None:
    with Log.open(url) as a, Log.open(url) as b:
        first, second = Seat(a, "a", "host-a", LONG), Seat(b, "b", "host-b", LONG)
        assert not first.look().leads
        assert first.take() == 1
        assert (first.look().where, first.look().epoch, first.look().leads) == ("host-a", 1, True)
        with pytest.raises(Led, match=r"another control plane leads \(host-a\)"):
            second.take()
        assert b.look().seq == 0
        assert b.epoch == 1  # a refused take-over raised nothing
        assert first.renew()
        assert not second.renew()
        a.append(1, chain(1))
        first.resign()
        assert not second.look().leads
        assert second.take() == 2
        assert not first.renew()
        with pytest.raises(StaleEpoch):
            a.append(1, chain(1, a.head))
        first.resign()  # of what is not his any more
        assert second.look().where == "host-b"


def test_a_lease_that_is_over_is_taken_and_not_got_back(url: str) -> None:
    with Log.open(url) as a, Log.open(url) as b:
        first, second = Seat(a, "a", "host-a", SHORT), Seat(b, "b", "host-b", LONG)
        assert first.take() == 1
        assert second.take() == 2
        assert not first.renew()


def test_a_leader_that_was_late_goes_on_where_nobody_else_came(url: str) -> None:
    with Log.open(url) as a:
        first = Seat(a, "a", "host-a", SHORT)
        assert first.take() == 1
        assert not first.look().leads
        assert first.renew()


def test_a_beat_that_stands_still_may_be_taken_whatever_the_clock_says(url: str) -> None:
    with Log.open(url) as a, Log.open(url) as b:
        first, second = Seat(a, "a", "host-a", LONG), Seat(b, "b", "host-b", LONG)
        first.take()
        seen = second.look().beat
        first.renew()
        with pytest.raises(Led):
            second.take(stale_beat=seen)  # it was renewed meanwhile
        assert second.take(stale_beat=second.look().beat) == 2
        assert not first.renew()


def test_of_many_that_try_at_once_one_gets_it(url: str) -> None:
    with Log.open(url) as log:
        Seat(log, "old", "old", SHORT).take()
        got: list[int] = []
        refused: list[Led] = []

        def attempt(name: str) -> None:
            with Log.open(url) as own:
                try:
                    got.append(Seat(own, name, name, LONG).take())
                except Led as error:
                    refused.append(error)

        threads = [threading.Thread(target=attempt, args=(f"n{i}",)) for i in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [2]
        assert len(refused) == 4


def test_who_waits_is_told_of_growth_and_of_a_free_place(url: str, chain) -> None:
    with Log.open(url) as a, Log.open(url) as b:
        first, second = Seat(a, "a", "host-a", LONG), Seat(b, "b", "host-b", LONG)
        first.take()
        bell = second.listen()
        try:
            assert not second.heard(bell, 0.01)
            a.append(1, chain(3))
            assert second.heard(bell, 10)
            first.resign()
            assert second.heard(bell, 10)
        finally:
            bell.close()


@pytest.mark.parametrize("lease_us", [1, 1_000, 3_000_000, 3_333_333])
def test_the_holder_trusts_its_lease_for_less_than_it_is(lease_us: int) -> None:
    assert trusted_us(lease_us) < lease_us
    assert trusted_us(lease_us) >= lease_us - max(1, lease_us * 4 // 1000)
