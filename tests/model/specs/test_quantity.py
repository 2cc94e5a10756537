"""Quantities: what is read, what is refused and with which words, and that writing and reading are inverse."""

import contextlib
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.model.specs import quantity as q
from moyai.model.specs.problems import BadValue
from moyai.model.specs.quantity import Accelerators, Amount, Deadline
from moyai.model.units import Instant
from moyai.model.workload import Need

GIB = 2**30


def cores(text: str) -> Amount:
    return q.parse_count(text, q.MAX_CPUS, "cores")


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (cores, "16", Amount(16, 16)),
        (cores, "16+", Amount(16, None)),
        (cores, "8..32", Amount(8, 32)),
        (q.parse_memory, "128GiB", Amount(128 * GIB, 128 * GIB)),
        (q.parse_memory, "80 GiB+", Amount(80 * GIB, None)),
        (q.parse_memory, "1.5GiB", Amount(GIB * 3 // 2, GIB * 3 // 2)),
        (q.parse_memory, "0.1GiB", Amount(107374183, 107374183)),
        (q.parse_memory, "1GB..2GB", Amount(10**9, 2 * 10**9)),
        (q.parse_accelerators, "H100:8", Accelerators("H100", Amount(8, 8))),
        (q.parse_accelerators, "h100: 1..8", Accelerators("H100", Amount(1, 8))),
        (q.parse_span, "36h", 36 * 3_600_000_000),
        (q.parse_span, "90m", 5_400_000_000),
        (q.parse_span, "1h30m", 5_400_000_000),
        (q.parse_span, "1h 30min", 5_400_000_000),
        (q.parse_span, "1.5h", 5_400_000_000),
        (q.parse_span, "250ms", 250_000),
        (q.parse_rate, "10Gbit/s", 1_250_000_000),
        (q.parse_rate, "1.5 GB/s", 1_500_000_000),
        (q.parse_instant, "1970-01-01T09:00+09:00", 0),
        (q.parse_instant, "1970-01-01 00:00:01.5Z", 1_500_000),
        (q.parse_deadline, "36h", Deadline(span_us=129_600_000_000)),
        (q.parse_deadline, "1970-01-01T00:00Z", Deadline(at=Instant(0))),
    ],
)
def test_reads(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (cores, "0", "asks for none; write '1' or leave the line out"),
        (cores, "8..4", "ends below its start; write '4..8'"),
        (cores, "1.5", "is no number of cores; write for example '4', '4+' or '1..8'"),
        (cores, "", "is empty; write for example '4', '4+' or '1..8'"),
        (cores, "１６", "has full-width characters; write '16'"),
        (cores, "9" * 18, "is more cores than any node has; write at most 65536"),
        (cores, "9" * 5000, "is no number of cores; write for example '4', '4+' or '1..8'"),
        (q.parse_memory, "80", "has no unit; write '80GiB'"),
        (q.parse_memory, "80G", "has the unit 'G', which isn't known; write '80GiB'"),
        (q.parse_memory, "80gb", "has the unit 'gb', which isn't known; write '80GB'"),
        (q.parse_memory, "2GiB..1GiB", "ends below its start; write '1GiB..2GiB'"),
        (q.parse_memory, "0GiB", "asks for none; write '1GiB' or leave the line out"),
        (q.parse_memory, "9999999TiB", "is more memory than any node has; write at most '1PiB'"),
        (q.parse_memory, "-1GiB", "is no amount of memory; write for example '16GiB'"),
        (q.parse_accelerators, "H100:0", "asks for none; write 'H100:1' or leave the line out"),
        (q.parse_accelerators, "H100", "names no number; write 'H100:1'"),
        (q.parse_accelerators, "8", "names no type; write 'H100:8', with the type that you need"),
        (q.parse_accelerators, "h100:8..1", "ends below its start; write 'h100:1..8'"),
        (q.parse_accelerators, "Ｈ100：8", "has full-width characters; write 'H100:8'"),
        (q.parse_span, "90", "has no unit; write '90s', '90m' or '90h'"),
        (q.parse_span, "1h30", "has no unit at its end; write '1h30s' or '1h30m'"),
        (q.parse_span, "1:30", "is no span of time; write for example '36h', '90m' or '1h30m'"),
        (q.parse_span, "30m1h", "is no span of time; write for example '36h', '90m' or '1h30m'"),
        (q.parse_span, "99999d", "is too long; write at most '3650d'"),
        (q.parse_deadline, "0s", "is too short; write at least '1s'"),
        (
            q.parse_deadline,
            "2026-12-01T09:00",
            "names no time zone; write '2026-12-01T09:00+09:00', or end it with 'Z' for UTC",
        ),
        (q.parse_deadline, "2026-12-01", "names no time of day; write '2026-12-01T09:00+09:00'"),
        (
            q.parse_deadline,
            "2026-12-01T09:00 JST",
            "has 'JST' where its time zone should stand; write it as an offset such as '+09:00', or 'Z' for UTC",
        ),
        (
            q.parse_deadline,
            "2026-02-30T09:00Z",
            "is a date, time or zone that doesn't exist; write for example '2026-12-01T09:00+09:00'",
        ),
        (q.parse_deadline, "0001-01-01T00:00Z", "is out of range; write a year from 1970 to 9998"),
        (
            q.parse_deadline,
            "tomorrow",
            "is neither an instant nor a span of time; write for example '2026-12-01T09:00+09:00' or '36h'",
        ),
        (q.parse_rate, "10", "has no unit; write '10Gbit/s'"),
        (q.parse_rate, "10Gbps", "has the unit 'Gbps', which isn't known; write '10Gbit/s'"),
        (q.parse_rate, "0bit/s", "moves nothing; write at least '8bit/s', or leave the link out"),
        (
            lambda text: q.parse_decimal(text, 0, 100),
            "28円",
            "is no plain number; the unit stands in the key's name, so write the number alone: 28",
        ),
        (lambda text: q.parse_decimal(text, 0, 100), "101", "is out of range; write a number from 0 to 100"),
        (lambda text: q.parse_whole(text, 1, 4096), "many", "is no whole number; write one from 1 to 4,096"),
        (lambda text: q.parse_whole(text, 1, 4096), "0", "is out of range; write a whole number from 1 to 4,096"),
    ],
)
def test_refuses(read: Callable[[str], object], text: str, said: str) -> None:
    with pytest.raises(BadValue) as caught:
        read(text)
    assert str(caught.value) == said


def amounts(most: int) -> st.SearchStrategy[Amount]:
    pairs = st.tuples(st.integers(1, most), st.integers(1, most) | st.none())
    return pairs.map(lambda pair: Amount(min(pair[0], pair[1] or most), pair[1] and max(pair)))  # type: ignore[type-var]


@settings(deadline=None)
@given(amounts(q.MAX_CPUS))
def test_counts_round_trip(amount: Amount) -> None:
    assert cores(q.count_text(amount)) == amount


@settings(deadline=None)
@given(amounts(q.MAX_MEMORY_BYTES))
def test_memory_round_trips(amount: Amount) -> None:
    assert q.parse_memory(q.memory_text(amount)) == amount


@settings(deadline=None)
@given(st.from_regex(r"[A-Z][A-Z0-9._-]{0,31}", fullmatch=True), amounts(q.MAX_ACCELERATORS))
def test_accelerators_round_trip(kind: str, amount: Amount) -> None:
    assert q.parse_accelerators(q.accelerators_text(Accelerators(kind, amount))) == Accelerators(kind, amount)


@settings(deadline=None)
@given(st.integers(0, q.MAX_SPAN_US))
def test_spans_round_trip(duration_us: int) -> None:
    assert q.parse_span(q.span_text(duration_us), 0) == duration_us


@settings(deadline=None)
@given(st.integers(1, q.MAX_BYTES_PER_SECOND))
def test_rates_round_trip(bytes_per_second: int) -> None:
    assert q.parse_rate(q.rate_text(bytes_per_second)) == bytes_per_second


@settings(deadline=None)
@given(st.integers(0, 253_339_228_800_000_000))  # to the end of 9997
def test_instants_round_trip(micros: int) -> None:
    instant = Instant(micros)
    assert q.parse_instant(q.instant_text(instant)) == instant
    assert q.parse_deadline(q.deadline_text(Deadline(at=instant))) == Deadline(at=instant)


@settings(deadline=None)
@given(st.decimals(-(10**9), 10**9, places=6))
def test_decimals_round_trip(number: Decimal) -> None:
    assert q.parse_decimal(q.decimal_text(number), -(10**9), 10**9) == number


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (
        cores,
        q.parse_memory,
        q.parse_accelerators,
        q.parse_span,
        q.parse_deadline,
        q.parse_instant,
        q.parse_rate,
    ):
        with contextlib.suppress(BadValue):
            read(text)


@pytest.mark.parametrize(
    "text", ["1" * 100_000 + "!", "1h" * 50_000, "0." * 50_000, "9" * 100_000 + "..", " " * 100_000]
)
def test_long_texts_are_refused_without_delay(text: str) -> None:
    for read in (cores, q.parse_memory, q.parse_accelerators, q.parse_span, q.parse_deadline, q.parse_rate):
        with pytest.raises(BadValue):
            read(text)


def test_a_need_in_words() -> None:
    assert q.need_words(Need(cores=4)) == "cpus 4"
    assert q.need_words(Need(16, 128 * GIB, "H100", 8)) == "cpus 16, memory 128GiB, accelerators H100:8"
