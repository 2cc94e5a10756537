"""What every loader needs: rows with their lines, numbers read strictly, bad rows collected within a bound."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter

from moyai.model.specs.problems import quoted
from moyai.model.units import MICROS_PER_SECOND
from moyai.twin.traces.trace import BadRow, Limits, TraceError

MOST_SECONDS = 100 * 366 * 86_400
"""A time or duration beyond a century is a slip of the pen."""
MOST = 10**15
"""No count in a trace is larger."""
REPLACED = "\ufffd"
"""What the opener puts in the place of bytes that aren't UTF-8."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(?:\.0{1,18})?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,2})?")
_WITH_UNIT = re.compile(r"[+-]?[0-9.]+ *([a-zA-Zµ%]{1,12})")


class Wrong(ValueError):
    """A row that can't be taken. Its text goes on from "file:line: "."""


class BadRows:
    """The bad rows of one file: the first `limits.bad_rows` as they are, the rest as a number."""

    def __init__(self, file: str, limits: Limits) -> None:
        self.file = file
        self._most = limits.bad_rows
        self._rows: list[BadRow] = []
        self._more = 0

    def add(self, line: int, problem: str) -> None:
        """Keep one, or count it where the bound is reached."""
        if len(self._rows) < self._most:
            self._rows.append(BadRow(self.file, line, problem))
        else:
            self._more += 1

    def refuse(self, problem: str, line: int = 0) -> TraceError:
        """The error for a file that is unusable as a whole, with the bad rows found so far before it."""
        return TraceError((*self.taken(), BadRow(self.file, line, problem)))

    def taken(self) -> tuple[BadRow, ...]:
        """All of them, and one more that says how many were only counted."""
        if not self._more:
            return tuple(self._rows)
        return (*self._rows, BadRow(self.file, 0, f"and {self._more} more bad rows"))


def rows(lines: Iterable[str], bad: BadRows, limits: Limits) -> Iterator[tuple[int, str]]:
    """Every line that isn't blank, with its number from 1, without its end and a byte order mark.

    One that isn't UTF-8 is a bad row; beyond `limits.rows` the reading stops, with a bad row that says so.
    """
    count = 0
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if number == 1:
            text = text.removeprefix("\ufeff")
        if not text or text.isspace():
            continue
        if REPLACED in text:
            bad.add(number, "isn't UTF-8 text")
            continue
        count += 1
        if count > limits.rows:
            bad.add(number, f"the reading stopped here, at the bound of {limits.rows} rows")
            return
        yield number, text


def table(
    lines: Iterable[str], bad: BadRows, limits: Limits, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The cells of each row of a table with a header, comma-separated, with its line.

    The cells come in the order of `columns` then `optional`, whatever the file's order; one of `optional` that the
    file lacks is "" in every row. A row with another number of cells than the header is a bad row. A file without a
    header, or whose header lacks one of `columns` or names one twice, raises TraceError.
    """
    found = rows(lines, bad, limits)
    first, header = next(found, (0, ""))
    if not first:
        raise bad.refuse("is empty")
    try:
        names = [name.strip() for name in cells(header)]
    except Wrong as wrong:
        raise bad.refuse(f"the header: {wrong}", first) from None
    twice = next((name for name in dict.fromkeys((*columns, *optional)) if names.count(name) > 1), None)
    if twice is not None:
        raise bad.refuse(f"the header names {quoted(twice)} twice", first)
    missing = [name for name in columns if name not in names]
    if missing:
        raise bad.refuse(f"the header has no {', '.join(missing)}; its columns are {quoted(', '.join(names))}", first)
    width = len(names)
    # The cell after the last one is "", for what is optional and not there.
    places = [names.index(name) if name in names else width for name in (*columns, *optional)]
    # With one place, an itemgetter would give a text and no tuple.
    take: Callable[[list[str]], tuple[str, ...]] = (
        itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)
    )
    for number, text in found:
        try:
            row = cells(text)
        except Wrong as wrong:
            bad.add(number, str(wrong))
            continue
        if len(row) != width:
            bad.add(number, f"has {len(row)} fields where the header names {width}")
            continue
        row.append("")
        yield number, take(row)


def cells(text: str) -> list[str]:
    """The cells of one line of comma-separated values. Raises Wrong where a quote isn't closed on it."""
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise Wrong(f"its quotes don't hold together: {error}") from None


def whole(column: str, text: str, least: int = 0, most: int = MOST) -> int:
    """A whole number from `least` to `most` ("8", "8.0"). Raises Wrong, with the column and what was found."""
    value = int(text) if text.isdecimal() and text.isascii() and len(text) <= 18 else _odd_whole(column, text)
    if value < least:
        raise Wrong(f"{column}: {quoted(text)} is less than {least}")
    if value > most:
        raise Wrong(f"{column}: {quoted(text)} is more than {most}")
    return value


def micros(column: str, text: str) -> int:
    """Microseconds in a duration or time of `text` seconds, 0 or more. Raises Wrong, with the column."""
    if text.isdecimal() and text.isascii() and len(text) <= 10:
        value_us = int(text) * MICROS_PER_SECOND
    else:
        value_us = round(number(column, text, "seconds") * MICROS_PER_SECOND)
    if value_us < 0:
        raise Wrong(f"{column}: {quoted(text)} is negative")
    if value_us > MOST_SECONDS * MICROS_PER_SECOND:
        raise Wrong(f"{column}: {quoted(text)} is more than 100 years; write seconds")
    return value_us


def number(column: str, text: str, of: str) -> float:
    """A finite number. Raises Wrong, with the column, what was found, and what its unit must be."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise Wrong(_not_a_number(column, text, f"number of {of}"))
    return float(text)


def word(column: str, text: str) -> str:
    """A name: not empty, printable, 200 characters at most. Raises Wrong, with the column."""
    text = text.strip()
    if not text:
        raise Wrong(f"{column}: nothing is there")
    if len(text) > 200 or not text.isprintable():
        raise Wrong(f"{column}: {quoted(text)} isn't a name")
    return text


def first_time(seen: dict[str, int], column: str, name: str, line: int) -> None:
    """Note that `name` is on `line`. Raises Wrong where an earlier line has it already."""
    earlier = seen.setdefault(name, line)
    if earlier != line:
        raise Wrong(f"{column}: {quoted(name)} is on line {earlier} already")


def within_job(limits: Limits, *, gpus: int = 0, cores: int = 0) -> None:
    """Raises Wrong where a job asks for more than the largest that `limits` states."""
    if limits.job_gpus and gpus > limits.job_gpus:
        raise Wrong(f"asks for {gpus} GPUs; the largest job stated is {limits.job_gpus}")
    if limits.job_cores and cores > limits.job_cores:
        raise Wrong(f"asks for {cores} cores; the largest job stated is {limits.job_cores}")


def _odd_whole(column: str, text: str) -> int:
    stripped = text.strip()
    if not _WHOLE.fullmatch(stripped):
        raise Wrong(_not_a_number(column, stripped, "whole number"))
    return int(stripped.partition(".")[0])


def _not_a_number(column: str, text: str, wanted: str) -> str:
    if not text:
        return f"{column}: nothing is there; a {wanted} is needed"
    unit = _WITH_UNIT.fullmatch(text)
    if unit and unit[1].lower() not in {"e", "inf", "nan"}:
        return f"{column}: {quoted(text)} has the unit {quoted(unit[1])}; a plain {wanted} is needed"
    return f"{column}: {quoted(text)} isn't a {wanted}"
