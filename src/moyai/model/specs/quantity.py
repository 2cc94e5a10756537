"""Quantities as people write them: '128GiB', 'H100:8', '16+', '1h30m', '10Gbit/s', '2026-12-01T09:00+09:00'.

Each `parse_…` raises BadValue with what to write instead; each `…_text` writes what it reads back to the same value.
Pure, standard library only.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar

from moyai.model.specs.problems import BadValue, quoted
from moyai.model.units import Instant
from moyai.model.workload import Need

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Amount:
    """From `low` to `high`, both included; no upper bound where `high` is None. What is asked for is `low`."""

    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Accelerators:
    """A type of accelerator, in upper case, and how many of it one node has."""

    kind: str
    count: Amount


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant, or a span from the submission. Exactly one of them is set."""

    at: Instant | None = None
    span_us: int = 0


MAX_CPUS = 65_536
MAX_ACCELERATORS = 1_024
MAX_MEMORY_BYTES = 2**50
MAX_SPAN_US = 3_650 * 86_400 * 1_000_000
MAX_BYTES_PER_SECOND = 10**15

SECOND_US = 1_000_000

_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"
_BYTES = {"B": 1} | {
    f"{prefix}{suffix}": base ** (power + 1)
    for suffix, base in (("iB", 1024), ("B", 1000))
    for power, prefix in enumerate("KMGTP" if base == 1024 else "kMGTP")
}
_SPANS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
_BITS = {"bit/s": 1, "kbit/s": 10**3, "Mbit/s": 10**6, "Gbit/s": 10**9, "Tbit/s": 10**12}
_RATES = {unit: Fraction(size, 8) for unit, size in _BITS.items()} | {
    f"{unit}/s": Fraction(size) for unit, size in _BYTES.items()
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIZE = re.compile(rf"({_NUMBER}) ?([A-Za-z]*)")
_RATE = re.compile(rf"({_NUMBER}) ?([A-Za-z]+/?[A-Za-z]*)?")
_SPAN = re.compile(rf"({_NUMBER}) ?(min|ms|us|µs|[dhms])? ?")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,31}")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?")
_ZONE = re.compile(r"Z|[+-][0-9]{2}:?[0-9]{2}")


# counts and sizes


def parse_count(text: str, most: int, what: str, before: str = "") -> Amount:
    """An amount of whole things: '16', '16+', '1..8'.

    `what` names them in the plural ("cores"); `before` is what stands before the number in the file ("H100:").
    """
    return _amount(text, lambda part: _whole(part, most, what, before), str, before)


def parse_memory(text: str) -> Amount:
    """An amount of bytes: '128GiB', '80GiB+', '64GiB..128GiB'. The unit must be written."""
    return _amount(text, _size, lambda size: _exact(size, _BYTES))


def parse_accelerators(text: str) -> Accelerators:
    """Accelerators of one node: 'H100:8', 'H100:1..8', 'H100:8+'. The type is kept in upper case."""
    kind, colon, count = (part.strip() for part in text.partition(":"))
    if not colon and re.fullmatch(r"[0-9.+]+", kind):
        raise BadValue("names no type", f"write {quoted(f'H100:{kind}')}, with the type that you need")
    if not _KIND.fullmatch(kind):
        raise _unread(text, "is no type and number of accelerators", "write for example 'H100:8'", parse_accelerators)
    if not count:
        raise BadValue("names no number", f"write {quoted(f'{kind}:1')}")
    return Accelerators(kind.upper(), parse_count(count, MAX_ACCELERATORS, "accelerators", f"{kind}:"))


def count_text(amount: Amount) -> str:
    """The shortest text that `parse_count` reads as `amount`."""
    return _amount_text(amount, str)


def memory_text(amount: Amount) -> str:
    """A text that `parse_memory` reads as `amount`, exactly: '128GiB', '1500MB', '80GiB+'."""
    return _amount_text(amount, lambda size: _exact(size, _BYTES))


def accelerators_text(accelerators: Accelerators) -> str:
    """The text that `parse_accelerators` reads as `accelerators`."""
    return f"{accelerators.kind}:{count_text(accelerators.count)}"


def need_words(need: Need) -> str:
    """What one node must have, in the words of a workload file: "cpus 16, memory 128GiB, accelerators H100:8"."""
    words = [f"cpus {need.cores}"]
    if need.memory_bytes:
        words.append(f"memory {_exact(need.memory_bytes, _BYTES)}")
    if need.accelerators:
        words.append(f"accelerators {need.accelerator}:{need.accelerators}")
    return ", ".join(words)


def parse_whole(text: str, least: int, most: int) -> int:
    """A whole number from `least` to `most`, both included."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        hint = f"write one from {least:,} to {most:,}"
        raise _unread(text, "is no whole number", hint, lambda wide: parse_whole(wide, least, most))
    if not least <= int(text) <= most:
        raise BadValue("is out of range", f"write a whole number from {least:,} to {most:,}")
    return int(text)


def parse_decimal(text: str, least: int, most: int) -> Decimal:
    """A plain decimal number from `least` to `most`; its unit stands in the name of the key."""
    if not re.fullmatch(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,12})?", text):
        plain = re.search(r"[0-9]+(?:\.[0-9]+)?", text.replace(",", ""))
        hint = "the unit stands in the key's name, so write the number alone"
        hint += f": {plain[0]}" if plain and len(plain[0]) < 20 else ""
        raise _unread(text, "is no plain number", hint, lambda wide: parse_decimal(wide, least, most))
    if not least <= Decimal(text) <= most:
        raise BadValue("is out of range", f"write a number from {least:,} to {most:,}")
    return Decimal(text)


def decimal_text(number: Decimal) -> str:
    """A number without an exponent."""
    return format(number, "f")


# time


def parse_span(text: str, least_us: int = 1) -> int:
    """Microseconds in a span: '36h', '90m', '1h30m', '1.5h', '500ms'. Units go from large to small, each once."""
    whole = text.strip()
    total, at, last = Fraction(0), 0, max(_SPANS.values()) + 1
    while at < len(whole):
        part = _SPAN.match(whole, at)
        unit = {"min": "m", "µs": "us"}.get(part[2], part[2]) if part else None
        if not part or (unit and _SPANS[unit] >= last) or not (unit or part.end() == len(whole)):
            raise _unread(text, "is no span of time", "write for example '36h', '90m' or '1h30m'", parse_span)
        if not unit:
            ways = [quoted(f"{whole[: part.end(1)]}{known}") for known in "smh" if _SPANS[known] < last]
            wrong = "has no unit at its end" if at else "has no unit"
            raise BadValue(wrong, f"write {_either(ways)}" if ways else "write for example '1h30m'")
        total, at, last = total + Fraction(part[1]) * _SPANS[unit], part.end(), _SPANS[unit]
    if not whole or total.denominator != 1:
        raise BadValue(
            "is no span of whole microseconds" if whole else "is empty", "write for example '36h' or '1h30m'"
        )
    if total < least_us:
        raise BadValue("is too short", f"write at least {quoted(span_text(least_us))}")
    if total > MAX_SPAN_US:
        raise BadValue("is too long", f"write at most {quoted(span_text(MAX_SPAN_US))}")
    return int(total)


def span_text(duration_us: int) -> str:
    """The text that `parse_span` reads as `duration_us` (not negative): '1h30m'."""
    text = ""
    for unit, size in _SPANS.items():
        count, duration_us = divmod(duration_us, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_instant(text: str) -> Instant:
    """An instant in ISO 8601 with its zone: '2026-12-01T09:00+09:00', '2026-12-01T00:00Z'."""
    whole = text.strip()
    example = "write for example '2026-12-01T09:00+09:00'"
    date = _ISO.match(whole)
    if not date:
        raise _unread(text, "is no date and time", example, parse_instant)
    zone = whole[date.end() :].strip()
    if len(date[0]) == 10 and (not zone or _ZONE.fullmatch(zone)):
        raise BadValue("names no time of day", f"write {quoted(date[0] + 'T09:00' + (zone or '+09:00'))}")
    if not zone:
        raise BadValue(
            "names no time zone", f"write {quoted(date[0].replace(' ', 'T') + '+09:00')}, or end it with 'Z' for UTC"
        )
    if not _ZONE.fullmatch(zone):
        raise BadValue(
            f"has {quoted(zone)} where its time zone should stand",
            "write it as an offset such as '+09:00', or 'Z' for UTC",
        )
    try:
        at = datetime.fromisoformat(date[0].replace(" ", "T") + ("+00:00" if zone == "Z" else zone))
    except ValueError:
        raise BadValue("is a date, time or zone that doesn't exist", example) from None
    if not 1970 <= at.year <= 9998:
        raise BadValue("is out of range", "write a year from 1970 to 9998")
    return Instant((at - _EPOCH) // timedelta(microseconds=1))


def instant_text(instant: Instant) -> str:
    """The text that `parse_instant` reads as `instant`, in UTC. Raises OverflowError beyond the years 1 to 9999."""
    at = _EPOCH + timedelta(microseconds=instant)
    return at.replace(tzinfo=None).isoformat() + "Z"


def parse_deadline(text: str) -> Deadline:
    """An instant with its zone, or a span from the submission: '36h'."""
    whole = text.strip()
    if re.match(r"[0-9.]{1,18} ?(?:[a-zµ]|$)", whole):
        return Deadline(span_us=parse_span(text, SECOND_US))
    if not re.match(r"[0-9]{4}-", whole):
        hint = "write for example '2026-12-01T09:00+09:00' or '36h'"
        raise _unread(text, "is neither an instant nor a span of time", hint, parse_deadline)
    return Deadline(at=parse_instant(text))


def deadline_text(deadline: Deadline) -> str:
    """The text that `parse_deadline` reads as `deadline`."""
    return span_text(deadline.span_us) if deadline.at is None else instant_text(deadline.at)


# rates


def parse_rate(text: str) -> int:
    """Bytes a second: '10Gbit/s', '100MB/s', '1GiB/s'. Rounded down."""
    found = _RATE.fullmatch(text.strip())
    if not found:
        raise _unread(text, "is no rate", "write for example '10Gbit/s'", parse_rate)
    unit = found[2] or ""
    if unit not in _RATES:
        near = next((known for known in _RATES if known.lower() == unit.lower()), "Gbit/s")
        wrong = f"has the unit {quoted(unit)}, which isn't known" if unit else "has no unit"
        raise BadValue(wrong, f"write {quoted(found[1] + near)}")
    rate = Fraction(found[1]) * _RATES[unit]
    if rate < 1:
        raise BadValue("moves nothing", "write at least '8bit/s', or leave the link out")
    if rate > MAX_BYTES_PER_SECOND:
        raise BadValue("is more than any link has", "write at most '8000Tbit/s'")
    return int(rate)


def rate_text(bytes_per_second: int) -> str:
    """A text that `parse_rate` reads as `bytes_per_second`, exactly."""
    return _exact(bytes_per_second * 8, _BITS)


# shared


def _amount(text: str, part: Callable[[str], int], worded: Callable[[int], str], before: str = "") -> Amount:
    """An amount, its bounds read by `part`. `worded` and `before` are for the hint alone."""
    whole = text.strip()
    if whole.endswith("+"):
        return Amount(part(whole[:-1].strip()), None)
    first, dots, last = (side.strip() for side in whole.partition(".."))
    low = part(first)
    if not dots:
        return Amount(low, low)
    high = part(last)
    if high < low:
        raise BadValue("ends below its start", f"write {quoted(f'{before}{worded(high)}..{worded(low)}')}")
    return Amount(low, high)


def _amount_text(amount: Amount, worded: Callable[[int], str]) -> str:
    if amount.high is None:
        return worded(amount.low) + "+"
    return worded(amount.low) if amount.high == amount.low else f"{worded(amount.low)}..{worded(amount.high)}"


def _whole(text: str, most: int, what: str, before: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        hint = f"write for example {_either([quoted(before + way) for way in ('4', '4+', '1..8')])}"
        raise _unread(text, f"is no number of {what}", hint, lambda wide: _whole(wide, most, what, before))
    if int(text) == 0:
        raise BadValue("asks for none", f"write {quoted(f'{before}1')} or leave the line out")
    if int(text) > most:
        raise BadValue(f"is more {what} than any node has", f"write at most {most}")
    return int(text)


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if not found:
        raise _unread(text, "is no amount of memory", "write for example '16GiB'", _size)
    number, unit = found[1], found[2]
    if unit not in _BYTES:
        near = _near_size(unit)
        wrong = f"has the unit {quoted(unit)}, which isn't known" if unit else "has no unit"
        raise BadValue(wrong, f"write {quoted(number + near)}")
    size = -(-Fraction(number) * _BYTES[unit] // 1)
    if size == 0:
        raise BadValue("asks for none", "write '1GiB' or leave the line out")
    if size > MAX_MEMORY_BYTES:
        raise BadValue("is more memory than any node has", f"write at most {quoted(_exact(MAX_MEMORY_BYTES, _BYTES))}")
    return int(size)


def _either(ways: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(ways[:-1]), ways[-1])))


def _near_size(unit: str) -> str:
    """The unit that was probably meant: 'G', 'Gi', 'gib' → 'GiB'; 'gb' → 'GB'."""
    lower = unit.lower()
    for known in _BYTES:
        if lower == known.lower() or (
            lower and lower in (known[0].lower(), known[:2].lower()) and known.endswith("iB")
        ):
            return known
    return "GiB"


def _exact(size: int, units: dict[str, int]) -> str:
    """`size` as a whole number of the largest unit that divides it."""
    unit = max((unit for unit in units if size % units[unit] == 0), key=units.__getitem__)
    return f"{size // units[unit]}{unit}"


def _unread(text: str, wrong: str, hint: str, again: Callable[[str], _T]) -> BadValue:
    """The error for a text that can't be read; where it is only full-width, the hint is its usual form."""
    if not text.strip():
        return BadValue("is empty", hint)
    narrow = unicodedata.normalize("NFKC", text)
    if narrow != text:
        try:
            again(narrow)
        except BadValue:
            return BadValue(wrong, hint)
        return BadValue("has full-width characters", f"write {quoted(narrow)}")
    return BadValue(wrong, hint)
