"""YAML text → plain data and the position of every key. Built from the parser's events, so that nothing can surprise.

Scalars stay the text they are: `no`, `on`, `1:30` and `1e3` mean themselves. Only an empty value, `~` and `null` are
None. Refused, with a clear problem: what isn't UTF-8, control characters, tabs as indentation, several documents,
duplicate keys, tags, keys that are no text, aliases beyond a small bound, and what is too large or too deep.
"""

import math
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeAlias, cast

from moyai.model.specs.problems import Path, Place, Problem, Source, SpecError, key_text, printable, quoted

Plain: TypeAlias = "str | list[Plain] | dict[str, Plain] | None"

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 10_000
"""Values and keys of a document, with every alias counted as all that it stands for."""
MAX_ALIASES = 64

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "seq", "map")) | {"!"}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Document:
    """What was read, where its keys stand, and what is wrong with it so far."""

    data: dict[str, Plain]
    source: Source
    problems: tuple[Problem, ...] = ()
    spoilt: tuple[Path, ...] = ()  # the values that a problem is about: nothing more is said of them


def read_file(path: FilePath) -> Document:
    """Read a YAML file. Raises SpecError: it can't be read, is too large, or is no YAML mapping."""
    file = str(path)
    try:
        with open(path, "rb") as opened:
            if stat.S_ISDIR(os.fstat(opened.fileno()).st_mode):  # unreachable on Linux, which refuses to open it
                raise IsADirectoryError
            content = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError((Problem("no such file", "check its name and where you are", file=file),)) from None
    except IsADirectoryError:
        raise SpecError((Problem("is a directory", "name a file in it", file=file),)) from None
    except (OSError, ValueError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SpecError((Problem(f"can't be read: {said}", file=file),)) from None
    return read_text(content, file)


def read_text(text: str | bytes, file: str = "") -> Document:
    """Read YAML (or JSON, which is YAML). `file` is its name in problems. Raises SpecError where it can't be read."""
    content = _decoded(text, file)
    reader = _Reader(file)
    try:
        reader.take(content)
    except _yaml().YAMLError as error:
        raise SpecError((*reader.problems, _syntax(error, content, file))) from None
    except RecursionError:
        raise SpecError((Problem("is nested too deeply", f"nest at most {MAX_DEPTH} levels", file=file),)) from None
    return reader.document()


def read_data(data: object, file: str = "") -> Document:
    """Take plain data, as JSON gives it: numbers and booleans become the text that a file would hold.

    Raises SpecError where it is no mapping, too large or too deep, or holds what no file could.
    """
    walk = _Walk(Source(file))
    plain = walk.plain(data, ())
    if not isinstance(plain, dict):
        raise SpecError(tuple(walk.problems) or (_no_mapping(plain, walk.source),))
    return Document(plain, walk.source, tuple(walk.problems), tuple(walk.spoilt))


# text


def _decoded(text: str | bytes, file: str) -> str:
    size = len(text)
    if isinstance(text, bytes):
        try:
            text = text[: MAX_BYTES + 1].decode("utf-8-sig") if size <= MAX_BYTES else ""
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
            wrong = f"is not UTF-8: byte 0x{text[error.start]:02x} at position {error.start}"
            raise SpecError((Problem(wrong, "save it as UTF-8", file=file, line=line),)) from None
    if size > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        hint = "put large input into a dataset or into a file beside it"
        raise SpecError((Problem(f"is larger than {MAX_BYTES // 2**20} MiB", hint, file=file),))
    text = text.removeprefix("\ufeff")
    bad = _CONTROL.search(text)
    if bad:
        line, column = text.count("\n", 0, bad.start()) + 1, bad.start() - text.rfind("\n", 0, bad.start())
        wrong = "stands here, and no text may hold it"
        raise SpecError((Problem(wrong, "take it out", quoted(bad[0]), file=file, line=line, column=column),))
    return text


def _yaml() -> Any:  # the module: PyYAML's stubs don't know the C loader's events
    import yaml

    return yaml


def _events(text: str) -> Iterator[Any]:
    yaml = _yaml()
    return yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _syntax(error: Any, text: str, file: str) -> Problem:
    """A parser's error in plain words, with its place."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Problem(f"can't be read as YAML: {printable(str(error))}", file=file)
    lines, line, column = text.split("\n"), int(mark.line), int(mark.column)
    for number in (line, line - 1):
        if 0 <= number < len(lines) and "\t" in lines[number][: len(lines[number]) - len(lines[number].lstrip())]:
            wrong, hint = "a tab indents this line, and YAML takes spaces only", "write two spaces for each tab"
            return Problem(wrong, hint, file=file, line=number + 1, column=lines[number].index("\t") + 1)
    said = printable(str(getattr(error, "problem", None) or error))
    context = printable(str(getattr(error, "context", None) or ""))
    hint = "put the value in quotes" if "mapping values" in said or "start any token" in said else ""
    wrong = f"is no YAML here: {said}" + (f" {context}" if context else "")
    return Problem(wrong, hint, file=file, line=line + 1, column=column + 1)


@dataclass(slots=True)
class _Open:
    """A mapping or a list that is being read."""

    value: dict[str, Plain] | list[Plain]
    path: Path
    anchor: str | None
    nodes: int  # counted before it
    key: str | None = None


@dataclass(slots=True)
class _Reader:
    file: str
    problems: list[Problem] = field(default_factory=list[Problem])
    spoilt: list[Path] = field(default_factory=list[Path])
    places: dict[Path, Place] = field(default_factory=dict[Path, Place])
    stack: list[_Open] = field(default_factory=list[_Open])
    anchors: dict[str, tuple[Plain, int] | None] = field(default_factory=dict[str, "tuple[Plain, int] | None"])
    nodes: int = 0
    aliases: int = 0
    documents: int = 0
    top: Plain = None

    def take(self, text: str) -> None:
        """Read all events of `text`. Raises SpecError or the parser's error."""
        yaml = _yaml()
        for event in _events(text):
            place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
            match event:
                case yaml.DocumentStartEvent():
                    self.documents += 1
                    if self.documents > 1:
                        raise self._stop("a second document starts here", "write one workload in a file", place)
                case yaml.ScalarEvent():
                    self._tagged(event, place)
                    empty = event.implicit[0] and event.value in _NULLS
                    self._value(None if empty and not self._wants_key() else event.value, place, event.anchor)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._tagged(event, place)
                    self._start({} if isinstance(event, yaml.MappingStartEvent) else [], place, event.anchor)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._end()
                case yaml.AliasEvent():
                    self._alias(event.anchor, place)
                case _:
                    pass

    def document(self) -> Document:
        """What was read. Raises SpecError where it is no mapping."""
        source = Source(self.file, self.places)
        if not isinstance(self.top, dict):
            raise SpecError((*self.problems, _no_mapping(self.top, source)))
        return Document(self.top, source, tuple(self.problems), tuple(self.spoilt))

    def _wants_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None

    def _here(self) -> Path:
        if not self.stack:
            return ()
        at = self.stack[-1]
        return (*at.path, len(at.value) if isinstance(at.value, list) else at.key or "")

    def _count(self, nodes: int, place: Place) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise self._stop(f"holds more than {MAX_NODES:,} values", "aliases count as what they stand for", place)

    def _value(self, value: Plain, place: Place, anchor: str | None = None) -> None:
        """A value that is complete: a key, an item, a mapping's value, or the whole document."""
        self._count(1, place)
        if self._wants_key():
            self._key(cast(str, value), place)
            return
        path = self._here()
        if isinstance(value, str):
            self._check_text(value, path, place)
        if anchor is not None:
            self.anchors[anchor] = (value, 1)
        self._put(value, path, place)
        if value is None and path:
            self._wrong(path, "has no value", "write one, or leave the line out", place)

    def _put(self, value: Plain, path: Path, place: Place) -> None:
        self.places.setdefault(path, place)
        if not self.stack:
            self.top = value
        elif isinstance(at := self.stack[-1].value, list):
            at.append(value)
        else:
            at.setdefault(self.stack[-1].key or "", value)
            self.stack[-1].key = None

    def _key(self, key: str, place: Place) -> None:
        at = self.stack[-1]
        at.key = key
        path = (*at.path, key)
        self._check_text(key, path, place)
        if key in at.value:
            wrong = f"appears twice; the first is on line {self.places[path].line}"
            self._wrong(path, wrong, "keep one of them", place, spoilt=False)
        self.places.setdefault(path, place)

    def _start(self, value: dict[str, Plain] | list[Plain], place: Place, anchor: str | None) -> None:
        if self._wants_key():
            raise self._stop("a key must be plain text", "put it in quotes if it is meant as text", place)
        if len(self.stack) >= MAX_DEPTH:
            raise self._stop("is nested too deeply", f"nest at most {MAX_DEPTH} levels", place)
        path = self._here()
        self._put(value, path, place)
        if anchor is not None:
            self.anchors[anchor] = None  # open: an alias to it from inside would have no end
        self.stack.append(_Open(value, path, anchor, self.nodes))
        self._count(1, place)

    def _end(self) -> None:
        closed = self.stack.pop()
        if closed.anchor is not None:
            self.anchors[closed.anchor] = (closed.value, self.nodes - closed.nodes)

    def _alias(self, anchor: str, place: Place) -> None:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self._stop(f"more than {MAX_ALIASES} aliases", "write the values out", place)
        if self._wants_key():
            raise self._stop("an alias can't be a key", "write the key out", place)
        if anchor not in self.anchors:
            raise self._stop(
                "is no anchor of this file", f"write '&{printable(anchor)}' before it", place, f"*{anchor}"
            )
        found = self.anchors[anchor]
        if found is None:
            raise self._stop("holds itself", "write the values out", place, f"*{anchor}")
        self._count(found[1], place)
        self._put(found[0], self._here(), place)

    def _check_text(self, text: str, path: Path, place: Place) -> None:
        problem = _text_problem(text)
        if problem:
            self._wrong(path, *problem, place)

    def _tagged(self, event: Any, place: Place) -> None:
        if event.tag is not None and event.tag not in _TAGS:
            self._wrong(self._here(), "tags aren't used in these files", "take it out", place, quoted(event.tag))

    def _wrong(self, path: Path, wrong: str, hint: str, place: Place, found: str = "", *, spoilt: bool = True) -> None:
        self.problems.append(Problem(wrong, hint, found, key_text(path), self.file, place.line, place.column))
        if spoilt:
            self.spoilt.append(path)

    def _stop(self, wrong: str, hint: str, place: Place, found: str = "") -> SpecError:
        last = Problem(wrong, hint, quoted(found) if found else "", "", self.file, place.line, place.column)
        return SpecError((*self.problems, last))


# data


@dataclass(slots=True)
class _Walk:
    source: Source
    problems: list[Problem] = field(default_factory=list[Problem])
    spoilt: list[Path] = field(default_factory=list[Path])
    nodes: int = 0
    size: int = 0

    def plain(self, value: object, path: Path) -> Plain:
        """`value` as a file would hold it; what can't be held is None, with a problem."""
        self._count(path)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return self._number(value, path)
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, Mapping):
            return self._mapping(cast(Mapping[object, object], value), path)
        if isinstance(value, list | tuple):
            return [self.plain(item, (*path, i)) for i, item in enumerate(cast(Sequence[object], value))]
        if value is None:
            if path:
                self._wrong(path, "has no value", "write one, or leave the line out")
            return None
        self._wrong(
            path, f"is a {type(value).__name__}, which no file can hold", "give text, numbers, lists or mappings"
        )
        return None

    def _mapping(self, value: Mapping[object, object], path: Path) -> Plain:
        done: dict[str, Plain] = {}
        for key, item in value.items():
            if isinstance(key, str):
                self._text(key, (*path, key))
                done[key] = self.plain(item, (*path, key))
            else:
                self._wrong(path, "has a key that is no text", "write it as text", quoted(repr(key)))
        return done

    def _number(self, value: int | float, path: Path) -> Plain:
        if isinstance(value, int):
            if value.bit_length() <= 128:
                return str(value)
        elif math.isfinite(value) and abs(value) < 1e18:
            from decimal import Decimal

            return format(Decimal(repr(value)).normalize(), "f")
        self._wrong(path, "is no number that can be used", "write a plain number")
        return None

    def _text(self, text: str, path: Path) -> str:
        self.size += len(text)
        if self.size > MAX_BYTES:
            wrong = f"is larger than {MAX_BYTES // 2**20} MiB"
            raise SpecError((self.source.problem(path, wrong, "put large input into a dataset"),))
        problem = _text_problem(text)
        if problem:
            self._wrong(path, *problem)
        return text

    def _count(self, path: Path) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise SpecError((self.source.problem((), f"holds more than {MAX_NODES:,} values", "split it"),))
        if len(path) > MAX_DEPTH:
            raise SpecError((self.source.problem((), "is nested too deeply", f"nest at most {MAX_DEPTH} levels"),))

    def _wrong(self, path: Path, wrong: str, hint: str, found: str = "") -> None:
        self.problems.append(self.source.problem(path, wrong, hint, found))
        self.spoilt.append(path)


def _text_problem(text: str) -> tuple[str, str] | None:
    """What makes a text unusable anywhere: no process can be given a NUL, nothing can encode half a character."""
    if "\0" in text:
        return "holds a NUL character", "take it out"
    if any("\ud800" <= c <= "\udfff" for c in text):
        return "holds half a character (a lone surrogate)", "take it out"
    return None


def _no_mapping(top: Plain, source: Source) -> Problem:
    example = "write keys and values, such as 'name: hello'"
    if top is None:
        return source.problem((), "is empty", example)
    return source.problem((), "is no mapping", example, quoted(top) if isinstance(top, str) else "a list")
