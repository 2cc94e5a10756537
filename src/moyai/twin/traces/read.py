"""Read a trace, whatever its format."""

import re
from collections.abc import Callable, Iterable
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from moyai.model.specs.problems import quoted
from moyai.twin.traces import alibaba, azure, gavel, openb, philly, sia, swf, wfformat
from moyai.twin.traces.naming import stem
from moyai.twin.traces.opening import bytes_of, head_of, lines_of
from moyai.twin.traces.rows import Wrong, cells
from moyai.twin.traces.trace import BadRow, Limits, Trace, TraceError

Load = Callable[[Iterable[str], str, Limits], tuple[Trace, tuple[BadRow, ...]]]


class Format(StrEnum):
    """A format that a loader is there for."""

    PHILLY = "philly"
    SWF = "swf"
    OPENB = "openb"
    GAVEL = "gavel"
    SIA = "sia"
    WFFORMAT = "wfformat"
    AZURE = "azure"
    ALIBABA = "alibaba-2026"


_TABLES: tuple[tuple[Format, tuple[str, ...]], ...] = (
    (Format.PHILLY, philly.COLUMNS),
    (Format.OPENB, openb.NODE_COLUMNS),
    (Format.OPENB, openb.POD_COLUMNS),
    (Format.SIA, sia.COLUMNS),
    (Format.AZURE, azure.COLUMNS),
    (Format.ALIBABA, alibaba.COLUMNS),
)
_NAMES: tuple[tuple[str, Format], ...] = (
    (r"\.swf\b", Format.SWF),
    (r"\.trace\b", Format.GAVEL),
    (r"\.json\b", Format.WFFORMAT),
    (r"philly.*\.csv\b", Format.PHILLY),
    (r"openb.*\.csv\b", Format.OPENB),
    (r"azurellm.*\.csv\b", Format.AZURE),
    (r"spot_node.*\.csv\b", Format.ALIBABA),
    (r"workload-[0-9]+\.csv\b", Format.SIA),
)
_LINES: dict[Format, Load] = {
    Format.PHILLY: philly.load,
    Format.SWF: swf.load,
    Format.OPENB: openb.load,
    Format.SIA: sia.load,
    Format.AZURE: azure.load,
    Format.ALIBABA: alibaba.load,
}


def read(
    path: Path, format: Format | None = None, *, strict: bool = False, limits: Limits | None = None
) -> tuple[Trace, tuple[BadRow, ...]]:
    """The trace in a file (plain, gzip, or a tar with one file in it), and the rows that couldn't be taken.

    format  None: as the first line says, else as the name says
    strict  any bad row raises TraceError with all of them
    limits  the bounds of the reading; those of `Limits()` where None

    Raises TraceError for a file that can't be used: not there, damaged, of no known format, without its header, or a
    workflow in which anything is wrong. A Gavel trace takes the steps a second from `simulation_throughputs.json`
    (or .json.gz) beside it.
    """
    limits = limits or Limits()
    trace, bad = _load(path, format or detect(str(path), head_of(path)), limits)
    if strict and bad:
        raise TraceError(bad)
    return trace, bad


def detect(file: str, start: list[str]) -> Format:
    """The format of a file with the first lines `start`. Raises TraceError where neither they nor the name tell."""
    first = next((line for line in start if line.strip()), "").strip().removeprefix("\ufeff")
    if not first:
        raise TraceError((BadRow(file, 0, "is empty"),))
    found = _by_content(first) or _by_name(file)
    if found is None:
        known = ", ".join(Format)
        said = f"can't tell its format, by its name or its first line, {quoted(first)}; say which it is: {known}"
        raise TraceError((BadRow(file, 0, said),))
    return found


def _by_content(first: str) -> Format | None:
    if first.startswith("{"):
        return Format.WFFORMAT
    fields = first.split()
    if first.startswith(";") or (len(fields) == len(swf.FIELDS) and re.fullmatch(r"[-+0-9.\s]+", first)):
        return Format.SWF
    if first.count("\t") + 1 in (7, *gavel.LONG):
        return Format.GAVEL
    try:
        names = {cell.strip() for cell in cells(first)}
    except Wrong:
        return None
    return next((format for format, columns in _TABLES if names.issuperset(columns)), None)


def _by_name(file: str) -> Format | None:
    name = file.replace("\\", "/").rpartition("/")[2].lower()
    return next((format for pattern, format in _NAMES if re.search(pattern, name)), None)


def _load(path: Path, format: Format, limits: Limits) -> tuple[Trace, tuple[BadRow, ...]]:
    if format is Format.WFFORMAT:
        if stem(str(path)) == stem(gavel.THROUGHPUTS):
            said = "is Gavel's table of steps a second; name a .trace beside it, which is read with it"
            raise TraceError((BadRow(str(path), 0, said),))
        return wfformat.load(bytes_of(path), str(path), limits)
    with closing(lines_of(path)) as lines:
        if format is Format.GAVEL:
            return gavel.load(lines, str(path), limits, _throughputs(path))
        return _LINES[format](lines, str(path), limits)


def _throughputs(path: Path) -> gavel.Throughputs | None:
    for ending in ("", ".gz"):
        beside = path.with_name(gavel.THROUGHPUTS + ending)
        if beside.is_file():
            return gavel.read_throughputs(bytes_of(beside), str(beside))
    return None
