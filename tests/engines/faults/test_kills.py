"""A short soak: agents and the server killed at random while jobs run. The long one is `make soak`."""

from engines.faults.soak import Soak


def test_random_kills_lose_nothing_and_run_nothing_twice() -> None:
    told = Soak(jobs=120, seconds=25, seed=7, kill_every_s=2).run()
    assert told.findings == ()
    assert told.agents_killed + told.leaders_killed > 2
