"""What is wrong in something that a person wrote: where, what was found, what to write instead. All of it at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Path = tuple[str | int, ...]
"""The way to a value: keys of mappings, indexes (from 0) into lists."""

SHOWN = 40
"""Problems that a SpecError words; the rest is counted."""
_QUOTED = 60


class BadValue(ValueError):
    """A value that can't be taken. `wrong` goes on from the value as found: "asks for none", "has no unit"."""

    def __init__(self, wrong: str, hint: str = "", found: str | None = None, below: Path = ()) -> None:
        super().__init__(f"{wrong}; {hint}" if hint else wrong)
        self.wrong = wrong
        self.hint = hint
        self.found = found  # None: the value itself
        self.below = below  # the way from the value that was looked at to the one that is wrong


class BadValues(ValueError):
    """Several bad values, found together."""

    def __init__(self, values: tuple[BadValue, ...]) -> None:
        super().__init__("; ".join(map(str, values)))
        self.values = values


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `train.yaml:7: resources.accelerators: 'H100:0' asks for none; write 'H100:1'`."""

    wrong: str
    hint: str = ""
    found: str = ""  # as `quoted`, or a few words for it; "" where nothing is there
    key: str = ""  # "resources.accelerators", "data[0].mount"; "" for the whole
    file: str = ""  # "" where it came from no file
    line: int = 0  # from 1; 0 unknown
    column: int = 0  # from 1; 0 unknown

    @property
    def where(self) -> str:
        """The file with its line, the file, the line, or nothing: "train.yaml:7"."""
        file = printable(self.file)
        if not self.line:
            return file
        return f"{file}:{self.line}" if file else f"line {self.line}"

    @property
    def said(self) -> str:
        """What is wrong, without where and without the hint."""
        return f"{self.found} {self.wrong}" if self.found else self.wrong

    def __str__(self) -> str:
        parts = [part for part in (self.where, self.key) if part]
        parts.append(f"{self.said}; {self.hint}" if self.hint else self.said)
        return ": ".join(parts)


class SpecError(Exception):
    """Everything that is wrong in one spec, in the order of its lines. Printed, it is one line for each problem."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        if not problems:
            raise ValueError("a SpecError needs a problem")
        super().__init__(problems)
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        more = len(self.problems) - SHOWN
        return "\n".join([*lines, f"and {more} more"] if more > 0 else lines)


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a text, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where a spec was read. It is no part of what the spec says, so all sources are equal."""

    file: str = ""
    places: Mapping[Path, Place] = field(default_factory=dict[Path, Place])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source)

    def __hash__(self) -> int:
        return 0

    def problem(self, path: Path, wrong: str, hint: str = "", found: str = "") -> Problem:
        """A problem at `path`, with the line of its key or of the nearest thing that holds it."""
        place = next((self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places), Place(0, 0))
        return Problem(wrong, hint, found, key_text(path), self.file, place.line, place.column)


def key_text(path: Path) -> str:
    """A path as people write it: "resources.accelerators", "data[0].mount"."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + _shortened(printable(part))
    return text


def quoted(text: str) -> str:
    """`text` in quotes on one line: control characters escaped, the middle of a long one left out."""
    inside = printable(text).replace("'", "\\'") if "'" in text and '"' in text else printable(text)
    mark = '"' if "'" in text and '"' not in text else "'"
    return mark + _shortened(inside) + mark


def printable(text: str) -> str:
    """`text` with every character that a terminal would act on, or that can't be encoded, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _shortened(text: str) -> str:
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 20]}…{text[-16:]}"
