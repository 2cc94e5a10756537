"""Connections that break in the middle of an append: nothing is lost, nothing is doubled, and the chain holds."""

import random
import threading
import time
from contextlib import suppress

import pytest
from sqlalchemy.exc import DBAPIError

from moyai.model.ids import TenantName, TextRef
from moyai.store.errors import Away, LogError
from moyai.store.export import verify
from moyai.store.log import Log, Sealed
from store.cutting import Cut, cutting
from store.pg import Postgres


@pytest.mark.parametrize("where", list(Cut), ids=lambda c: c.name)
def test_an_append_whose_connection_is_cut_is_stored_once(pg: Postgres, chain, where: Cut) -> None:
    name = pg.database()
    with cutting(pg.port) as proxy, Log.open(pg.url(name, proxy.port)) as log:
        log.take_over()
        records = chain(30)
        for at in range(0, 30, 3):
            proxy.cut = where
            text = Sealed(TextRef(f"{at:064}"), TenantName("lab"), b"ciphertext")
            log.append(1, records[at : at + 3], [text])
            assert log.sealed(text.ref) == text
        assert proxy.cuts == 10
        assert list(log.read()) == records
        assert log.take_over() == 2
    with Log.open(pg.url(name), read_only=True) as reader:
        assert verify(reader).events == 30


def test_a_take_over_whose_answer_is_lost_is_one_all_the_same(pg: Postgres) -> None:
    with cutting(pg.port) as proxy, Log.open(pg.url(pg.database(), proxy.port)) as log:
        proxy.cut = Cut.BEFORE_ANSWER
        epoch = log.take_over()
        assert epoch == 2  # one epoch that nobody has is no harm
        assert log.look().seq == 0
        assert log.epoch == epoch


def test_backends_that_are_killed_at_any_moment(pg: Postgres, chain) -> None:
    name = pg.database()
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    done = threading.Event()
    killed: list[int] = []

    def killer() -> None:
        chance = random.Random(4)
        while not done.is_set():
            killed.append(len(pg.execute(kill)))
            time.sleep(chance.uniform(0.0, 0.08))

    records = chain(900)
    with Log.open(pg.url(name)) as log:
        log.take_over()
        thread = threading.Thread(target=killer)
        thread.start()
        try:
            for at in range(0, 900, 3):
                _append(log, records[at : at + 3])
        finally:
            done.set()
            thread.join()
        assert sum(killed) > 3
        assert list(log.read()) == records
        assert verify(log).events == 900


def _append(log: Log, records: list) -> None:
    """As a writer does that can't rest: the same append again until its outcome is known."""
    for _ in range(50):
        try:
            return log.append(1, records)
        except Away:
            continue
    raise AssertionError("the database never came back")


def test_a_server_that_crashes_and_comes_back(pg: Postgres, chain) -> None:
    name = pg.database()
    with Log.open(pg.url(name)) as log:
        log.take_over()
        log.append(1, chain(5))
        pg.stop("immediate")
        try:
            with pytest.raises(Away, match="can't be reached"):
                log.append(1, chain(1, log.head))
            with pytest.raises(Away):
                log.look()
        finally:
            pg.start()
        log.append(1, chain(5, log.head))
        assert verify(log).events == 10


def test_an_append_that_came_through_unheard_is_seen_when_the_log_settles(pg: Postgres, chain) -> None:
    with cutting(pg.port) as proxy, Log.open(pg.url(pg.database(), proxy.port)) as log:
        log.take_over()
        log.home.again_s = ()
        records = chain(4)
        proxy.cut = Cut.BEFORE_ANSWER
        with pytest.raises(Away):
            log.append(1, records[:2])
        assert log.head.seq == 0
        assert log.settle().seq == 2
        log.append(1, records[2:])
        assert list(log.read()) == records


def test_a_process_that_stands_still_does_not_hold_the_head(pg: Postgres, chain) -> None:
    url = pg.url(pg.database())
    with Log.open(url) as log, Log.open(url) as standby:
        log.take_over()
        with suppress(DBAPIError), log.home.writer.connect() as stopped:  # the server ends its connection
            stopped.exec_driver_sql("UPDATE log SET epoch = epoch")  # and then it says nothing more
            begun = time.monotonic()
            assert standby.take_over() == 2
            assert 1.0 < time.monotonic() - begun < 4.9
        with pytest.raises(LogError, match="another one took over"):
            log.append(1, chain(1))
