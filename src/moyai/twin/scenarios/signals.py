"""Prices, carbon and power caps over time: by hour of the day, from a CSV file, or step by step."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from moyai.model.events import Signal
from moyai.model.ids import SiteName
from moyai.model.site import SiteProfile
from moyai.model.specs.fields import span_us
from moyai.model.specs.problems import quoted
from moyai.model.specs.scenario import SeriesSpec, SignalSpec
from moyai.model.units import MICROS_PER_HOUR
from moyai.twin.replay.setup import Change
from moyai.twin.scenarios.scenario import Scenario
from moyai.twin.traces.opening import lines_of
from moyai.twin.traces.rows import BadRows, Wrong, number, table
from moyai.twin.traces.trace import BadRow, Limits, TraceError

SCALE = {Signal.PRICE: 1_000_000, Signal.CARBON: 1_000, Signal.POWER_CAP: 1_000}
"""From what people write (yen/kWh, g/kWh, kW) to what `Signal` names."""
LARGEST = 10_000_000
HOURS = 24


def series(path: Path, column: str) -> tuple[float, ...]:
    """A column of a CSV file, plain or gzip, with a header; its rows in order.

    Raises TraceError for a file that can't be read or lacks the column, and for all values that are no plain numbers,
    negative, or not finite, each with its line.
    """
    bad = BadRows(str(path), Limits())
    values: list[float] = []
    with closing(lines_of(path)) as lines:
        for line, (text,) in table(lines, bad, Limits(), (column,)):
            try:
                value = number(column, text, "the column's unit")
                if not 0 <= value <= LARGEST:
                    raise Wrong(f"{column}: {quoted(text)} is out of range; a number from 0 to {LARGEST:,} is needed")
                values.append(value)
            except Wrong as wrong:
                bad.add(line, str(wrong))
    if bad.taken():
        raise TraceError(bad.taken())
    if not values:
        raise bad.refuse("holds no values")
    return tuple(values)


def changes(scenario: Scenario, last_us: int, until_us: int) -> tuple[tuple[SiteProfile, ...], tuple[Change, ...]]:
    """The sites with the values of time 0, and every change after it until `until_us`, by time.

    A series must hold until `last_us`, the last submission; after its end the last value holds. Raises TraceError.
    """
    profiles = {profile.name: profile for profile in scenario.profiles}
    found: list[Change] = []
    for spec in scenario.spec.signals:
        signal = Signal(spec.signal)
        values = list(_values(scenario, spec, last_us, until_us))
        for name in map(SiteName, spec.sites):
            now = _value(profiles[name], signal)
            for at_us, value in values:
                if at_us <= 0:
                    profiles[name] = _with(profiles[name], signal, value)
                elif value != now:
                    found.append(Change(at_us, name, signal, value))
                now = value
    found.sort(key=lambda change: (change.at_us, change.site, change.signal))
    return tuple(profiles[profile.name] for profile in scenario.profiles), tuple(found)


def _values(scenario: Scenario, spec: SignalSpec, last_us: int, until_us: int) -> Iterator[tuple[int, int]]:
    """(time, value) of one signal, by time; the time is 0 or less for the value that holds at the start."""
    scale = SCALE[Signal(spec.signal)]
    if spec.steps:
        yield from ((span_us(step.at), _integer(step.value, scale)) for step in spec.steps)
    elif spec.by_hour:
        local_us = scenario.began + scenario.spec.utc_offset_h * MICROS_PER_HOUR
        hour, past_us = divmod(local_us % (HOURS * MICROS_PER_HOUR), MICROS_PER_HOUR)
        for n, at_us in enumerate(range(-past_us, until_us, MICROS_PER_HOUR)):
            yield at_us, _integer(spec.by_hour[(hour + n) % HOURS], scale)
    elif spec.csv:
        values = _column(scenario, spec.csv, last_us)
        yield from ((n * MICROS_PER_HOUR, round(value * scale)) for n, value in enumerate(values)
                    if n * MICROS_PER_HOUR < until_us)  # fmt: skip


def _column(scenario: Scenario, spec: SeriesSpec, last_us: int) -> tuple[float, ...]:
    path = scenario.base / spec.file
    values = series(path, spec.column)[spec.skip :]
    hours = last_us // MICROS_PER_HOUR + 1
    if len(values) < hours:
        said = f"holds {len(values)} values after the first {spec.skip}, and the replay needs {hours}, one an hour"
        raise TraceError((BadRow(str(path), 0, said),))
    return values


def _integer(value: Decimal, scale: int) -> int:
    return round(value * scale)


def _value(profile: SiteProfile, signal: Signal) -> int:
    if signal is Signal.PRICE:
        return profile.price_micro_yen_per_kwh
    return profile.carbon_mg_per_kwh if signal is Signal.CARBON else profile.power_cap_w


def _with(profile: SiteProfile, signal: Signal, value: int) -> SiteProfile:
    if signal is Signal.PRICE:
        return replace(profile, price_micro_yen_per_kwh=value)
    if signal is Signal.CARBON:
        return replace(profile, carbon_mg_per_kwh=value)
    return replace(profile, power_cap_w=value)
