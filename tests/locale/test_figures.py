"""Figures as people read them."""

from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.locale import figures


@pytest.mark.parametrize(
    ("duration_us", "english", "japanese"),
    [
        (0, "0 s", "0秒"),
        (499, "0 s", "0秒"),
        (350_000, "350 ms", "350ミリ秒"),
        (999_600, "1.0 s", "1.0秒"),
        (9_949_000, "9.9 s", "9.9秒"),
        (9_960_000, "10 s", "10秒"),
        (59_499_999, "59 s", "59秒"),
        (59_500_000, "1 min", "1分"),
        (89_000_000, "1 min 29 s", "1分29秒"),
        (3_599_999_999, "1 h", "1時間"),
        (7_800_000_000, "2 h 10 min", "2時間10分"),
        (86_399_000_000, "1 d", "1日"),
        (4 * 86_400_000_000 + 3 * 3_600_000_000, "4 d 3 h", "4日3時間"),
        (-65_000_000, "-1 min 5 s", "-1分5秒"),
        (-5, "0 s", "0秒"),
    ],
)
def test_spans(duration_us: int, english: str, japanese: str) -> None:
    assert (figures.span(duration_us), figures.span(duration_us, "ja")) == (english, japanese)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (figures.yen(12_300_000), "¥12.3"),
        (figures.yen(12_300_000, "ja"), "12.3円"),
        (figures.yen(0), "¥0"),
        (figures.yen(-1_370_000), "-¥1.37"),
        (figures.yen(4_200), "¥0.0042"),
        (figures.yen(3), "¥<0.0001"),
        (figures.yen(128_400_000_000), "¥128,400"),
        (figures.kwh(10_800), "0.003 kWh"),
        (figures.kwh(4_500_000), "1.25 kWh"),
        (figures.kg(2_000), "0.002 kg"),
        (figures.watts(350), "350 W"),
        (figures.watts(2_400_000), "2.4 MW"),
        (figures.size(0), "0 B"),
        (figures.size(4_200_000), "4.2 MB"),
        (figures.memory(3 * 2**29), "1.5 GiB"),
        (figures.rate(1_250_000_000), "10 Gbit/s"),
        (figures.signal(15), "SIGTERM (15)"),
        (figures.signal(99), "99"),
        (figures.moment(0), ""),
        (figures.moment(1_796_083_200_000_000, UTC), "2026-12-01 00:00:00"),
        (figures.moment(1_796_083_200_000_000, UTC, 1_796_083_300_000_000), "00:00:00"),
        (figures.moment(10**24), f"{10**24} µs"),
        (figures.printable("日本\x1b[m\u202e"), r"日本\x1b[m\u202e"),
    ],
)
def test_figures(said: str, expected: str) -> None:
    assert said == expected


@settings(deadline=None)
@given(st.integers(-(2**80), 2**80))
def test_every_integer_has_words(value: int) -> None:
    for worded in (
        figures.span,
        figures.yen,
        figures.kwh,
        figures.kg,
        figures.watts,
        figures.size,
        figures.memory,
        figures.moment,
    ):
        assert worded(value).isprintable()


@settings(deadline=None)
@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_spans_are_within_their_unit(a: int, b: int) -> None:
    for duration in (a, b):
        for part, most in (("min", 60), ("h", 24), ("s", 60)):
            words = figures.span(duration).split()
            if part in words and "d" not in words[:2]:
                assert float(words[words.index(part) - 1]) < most
