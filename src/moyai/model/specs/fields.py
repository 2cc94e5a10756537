"""The types of the fields of specs: how each is read from text, written back, and described to an editor.

A field takes the text that a file holds, or the Python value itself: a number for a count, a timedelta for a span.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from moyai.model.specs import quantity
from moyai.model.specs.problems import BadValue, quoted
from moyai.model.specs.quantity import Accelerators, Amount, Deadline
from moyai.model.specs.regions import parse_region

NAME = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
MAX_TEXT_BYTES = 60_000
"""Of `run` and of `setup`: both travel as one argument, which Linux bounds at 128 KiB."""
_SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """How a field is read. Annotates its type; `parse` takes the file's text; values of `takes` stay as they are."""

    parse: Callable[[str], object]
    write: Callable[[Any], object]  # of what `parse` gave, to the value that JSON holds
    schema: Mapping[str, object]  # JSON Schema of what a file may hold
    takes: tuple[type, ...] = ()
    optional: bool = False

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Pydantic's hook: one validator, one serializer."""
        written = core_schema.plain_serializer_function_ser_schema(self._written, when_used="json")
        return core_schema.no_info_plain_validator_function(self._taken, serialization=written)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Pydantic's hook."""
        return dict(self.schema)

    def _taken(self, value: object) -> object:
        if isinstance(value, self.takes) or (value is None and self.optional):
            return value
        if isinstance(value, bool):
            return self.parse("true" if value else "false")
        if isinstance(value, str | int | float | Decimal):
            return self.parse(str(value))
        raise BadValue("stands where a single value should")

    def _written(self, value: object) -> object:
        return None if value is None else self.write(value)


# names and texts


def parse_name(text: str) -> str:
    """A name: lower-case letters, digits and '-', at most 63, '-' neither first nor last."""
    if re.fullmatch(NAME, text):
        return text
    rule = "use lower-case letters, digits and '-', at most 63"
    if not text:
        raise BadValue("is empty", rule)
    if len(text) > 63 and re.fullmatch(r"[a-z0-9-]+", text):
        raise BadValue(f"has {len(text):,} characters", rule)
    wrong = next((c for c in text if not re.fullmatch("[a-z0-9-]", c)), "")
    near = re.sub("[^a-z0-9]+", "-", unicodedata.normalize("NFKC", text[:200]).lower()).strip("-")[:63].strip("-")
    hint = f"{rule}, such as {quoted(near)}" if near else rule
    raise BadValue(f"holds {quoted(wrong)}" if wrong else "begins or ends with '-'", hint)


def parse_dataset(text: str) -> tuple[str, int]:
    """A dataset's name and version: 'corpus-ja@3'; version 0, the newest, where none is written."""
    name, at, version = text.partition("@")
    parse_name(name)
    if at and not re.fullmatch("[1-9][0-9]{0,8}", version):
        raise BadValue(
            "has no whole number after its '@'", f"write {quoted(name + '@1')}, or {quoted(name)} for the newest"
        )
    return name, int(version) if at else 0


def _dataset(text: str) -> str:
    parse_dataset(text)
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise BadValue(
            "is no absolute path", f"write {quoted('/' + text.lstrip('./'))}" if text else "write for example '/data'"
        )
    if not text.isprintable() or len(text.encode()) > 255:
        raise BadValue("holds control characters or is longer than 255 bytes", "write a plain path such as '/data'")
    parts = text.split("/")[1:]
    if any(part in {"", ".", ".."} for part in parts):
        tidy = "/" + "/".join(part for part in parts if part not in {"", ".", ".."})
        raise BadValue("is no plain path", f"write {quoted(tidy)}" if tidy != "/" else "write for example '/data'")
    return text


def _directory(text: str) -> str:
    if not text or not text.isprintable() or len(text.encode()) > 4_000:
        raise BadValue(
            "is empty" if not text else "is no usable path", "write for example '.', the directory of this file"
        )
    return text


def _text(text: str) -> str:
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise BadValue(
            f"has {size:,} bytes", f"put it in a script beside it; at most {MAX_TEXT_BYTES:,} bytes fit here"
        )
    if "\0" in text:
        raise BadValue("holds a NUL character", "take it out")
    return text


def _run(text: str) -> str:
    if not text.strip():
        raise BadValue("is empty", "write for example 'run: python train.py'")
    return _text(text)


def _env_name(text: str) -> str:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,254}", text):
        raise BadValue("is no name of a variable", "use letters, digits and '_'", "")
    if text.startswith("MOYAI_"):
        raise BadValue("is set by Moyai", "choose a name that does not begin with MOYAI_", "")
    return text


def check_env_size(env: dict[str, str]) -> dict[str, str]:
    """`env`, if it is of a size that every system can pass to a process. Raises BadValue."""
    if sum(len(name.encode()) + len(value.encode()) for name, value in env.items()) > MAX_TEXT_BYTES:
        raise BadValue(f"is larger than {MAX_TEXT_BYTES:,} bytes in all", "put it in a file", "")
    return env


# choices


def _bool(text: str) -> bool:
    if text not in {"true", "false"}:
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(text.lower(), text.lower())
        raise BadValue(
            "is neither true nor false", f"write {meant}" if meant in {"true", "false"} else "write true or false"
        )
    return text == "true"


def _signal(text: str) -> str:
    if text in _SIGNALS:
        return text
    meant = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    meant = {"SIG1": "SIGHUP", "SIG2": "SIGINT", "SIG10": "SIGUSR1", "SIG12": "SIGUSR2", "SIG15": "SIGTERM"}.get(
        meant, meant
    )
    hint = f"write {quoted(meant)}" if meant in _SIGNALS else f"write one of {', '.join(_SIGNALS)}"
    raise BadValue("is no signal that can be asked for", hint)


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser that takes one of `choices`."""

    def parse(text: str) -> str:
        if text not in choices:
            ways = " or ".join(map(quoted, choices))
            raise BadValue("is not known here", f"write {ways}")
        return text

    return parse


# the types


def _schema(pattern: str = "", kinds: tuple[str, ...] = ("string",), **more: object) -> dict[str, object]:
    kind: dict[str, object] = {"type": kinds[0] if len(kinds) == 1 else list(kinds)}
    return kind | ({"pattern": pattern} if pattern else {}) | more


def _span(text: str) -> timedelta:
    return quantity.parse_span(text, quantity.SECOND_US) * _US


def span_us(span: timedelta | None) -> int:
    """Whole microseconds of a span; 0 where there is none."""
    return 0 if span is None else span // _US


_AMOUNT = ("string", "integer")
_SPAN_SCHEMA = _schema(r"^[0-9.]+ ?(d|h|min|m|s|ms|us)( ?[0-9.]+ ?(h|min|m|s|ms|us))*$")
_CPUS_PATTERN = r"^[0-9]+(\+|\.\.[0-9]+)?$"
_MEMORY_PATTERN = r"^[0-9.]+ ?([KMGTP]iB|[kMGTP]?B)(\+|\.\..+)?$"
_ACCELERATORS_PATTERN = r"^[A-Za-z][A-Za-z0-9._-]*: ?[0-9]+(\+|\.\.[0-9]+)?$"


def _span_text(span: timedelta) -> str:
    return quantity.span_text(span_us(span))


def _cpus(text: str) -> Amount:
    return quantity.parse_count(text, quantity.MAX_CPUS, "cores")


Name: TypeAlias = Annotated[str, Read(parse_name, str, _schema(f"^{NAME}$"))]
Purpose: TypeAlias = Annotated[str, Read(lambda text: text and parse_name(text), str, _schema(f"^({NAME})?$"))]
DatasetRef: TypeAlias = Annotated[str, Read(_dataset, str, _schema(f"^{NAME}(@[1-9][0-9]*)?$"))]
AbsolutePath: TypeAlias = Annotated[str, Read(_path, str, _schema("^/"))]
Directory: TypeAlias = Annotated[str, Read(_directory, str, _schema(minLength=1))]
Text: TypeAlias = Annotated[str, Read(_text, str, _schema())]
RunText: TypeAlias = Annotated[str, Read(_run, str, _schema(minLength=1))]
EnvName: TypeAlias = Annotated[str, Read(_env_name, str, _schema("^[A-Za-z_][A-Za-z0-9_]*$"))]
EnvText: TypeAlias = Annotated[str, Read(_text, str, _schema(kinds=("string", "number", "boolean")))]
Bool: TypeAlias = Annotated[bool, Read(_bool, bool, _schema(kinds=("boolean",)))]
SignalName: TypeAlias = Annotated[str, Read(_signal, str, _schema(enum=list(_SIGNALS)))]
Region: TypeAlias = Annotated[str, Read(parse_region, str, _schema("^[A-Z]{2}(-[A-Z0-9]{1,3})?$"))]
Cpus: TypeAlias = Annotated[Amount, Read(_cpus, quantity.count_text, _schema(_CPUS_PATTERN, _AMOUNT), (Amount,))]
Memory: TypeAlias = Annotated[
    Amount, Read(quantity.parse_memory, quantity.memory_text, _schema(_MEMORY_PATTERN), (Amount,))
]
OptionalMemory: TypeAlias = Annotated[
    Amount | None, Read(quantity.parse_memory, quantity.memory_text, _schema(_MEMORY_PATTERN), (Amount,), True)
]
OptionalAccelerators: TypeAlias = Annotated[
    Accelerators | None,
    Read(
        quantity.parse_accelerators,
        quantity.accelerators_text,
        _schema(_ACCELERATORS_PATTERN),
        (Accelerators,),
        True,
    ),
]
OptionalDeadline: TypeAlias = Annotated[
    Deadline | None, Read(quantity.parse_deadline, quantity.deadline_text, _schema(), (Deadline,), True)
]
OptionalSpan: TypeAlias = Annotated[timedelta | None, Read(_span, _span_text, _SPAN_SCHEMA, (timedelta,), True)]
ShortSpan: TypeAlias = Annotated[
    timedelta, Read(lambda text: quantity.parse_span(text, 0) * _US, _span_text, _SPAN_SCHEMA, (timedelta,))
]
Rate: TypeAlias = Annotated[
    int, Read(quantity.parse_rate, quantity.rate_text, _schema(r"^[0-9.]+ ?([kMGT]?bit|([KMGTP]i|[kMGTP])?B)/s$"))
]


def whole(least: int, most: int) -> Read:
    """A whole number in a range, both ends included."""
    schema = _schema(kinds=("integer",), minimum=least, maximum=most)
    return Read(lambda text: quantity.parse_whole(text, least, most), int, schema)


def number(least: int, most: int, optional: bool = False) -> Read:
    """A decimal number in a range, both ends included; its unit stands in the name of its key."""
    schema = _schema(kinds=("number",), minimum=least, maximum=most)
    return Read(lambda text: quantity.parse_decimal(text, least, most), quantity.decimal_text, schema, (), optional)
