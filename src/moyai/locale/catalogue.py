"""The words of Moyai in its languages: one TOML file each, keys with named placeholders that name their unit."""

import string
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import cast

from moyai.locale import figures
from moyai.locale.figures import Language

LANGUAGES: tuple[Language, ...] = ("en", "ja")

_UNITS: dict[str, Callable[[int, Language], str]] = {
    "": lambda value, _: str(value),
    "count": lambda value, _: f"{value:,}",
    "span": figures.span,
    "yen": figures.yen,
    "kwh": lambda value, _: figures.kwh(value),
    "kg": lambda value, _: figures.kg(value),
    "watts": lambda value, _: figures.watts(value),
    "size": lambda value, _: figures.size(value),
    "memory": lambda value, _: figures.memory(value),
    "rate": lambda value, _: figures.rate(value),
    "moment": lambda value, _: figures.moment(value),
    "signal": lambda value, _: figures.signal(value),
}
"""What may stand after the colon of a placeholder: "{found:span}". Beside these, "{wanted:n|node|nodes}" counts with
its noun, and "{text:raw}" keeps line ends."""


class _Words(string.Formatter):
    """Named placeholders only; a number takes the unit that its placeholder names, a text is made safe to print."""

    def __init__(self, lang: Language) -> None:
        self._lang: Language = lang

    def get_field(self, field_name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[object, str]:
        """The figure of that name; no attribute or index is followed."""
        return kwargs[field_name], field_name

    def format_field(self, value: object, format_spec: str) -> str:
        """`value` in words. Raises ValueError for a unit that isn't known or doesn't fit the value."""
        if isinstance(value, str):
            return value if format_spec == "raw" else figures.printable(value)
        if not isinstance(value, int):
            raise ValueError(f"a figure must be a text or an integer, not {type(value).__name__}")
        if format_spec.startswith("n|"):
            one, many = format_spec.split("|")[1:]
            return f"{value:,}{'' if self._lang == 'ja' else ' '}{one if value == 1 else many}"
        if format_spec not in _UNITS:
            raise ValueError(f"no such unit: {format_spec!r}")
        return _UNITS[format_spec](value, self._lang)


@cache
def messages(lang: Language) -> dict[str, str]:
    """Every message of a language, by its dotted key."""
    table = tomllib.loads(Path(__file__).with_name(f"{lang}.toml").read_text("utf-8"))
    return dict(_flat("", table))


def placeholders(template: str) -> frozenset[tuple[str, str]]:
    """(name, unit) of each placeholder of a message; the nouns of a counted one are left out."""
    parsed = string.Formatter().parse(template)
    return frozenset((name, (unit or "").partition("|")[0]) for _, name, unit, _ in parsed if name is not None)


def say(key: str, lang: Language, **given: object) -> str:
    """The message `key` in `lang`, with its figures. Raises KeyError where the key or one of its figures is missing."""
    return _words(lang).vformat(messages(lang)[key], (), given)


@cache
def _words(lang: Language) -> _Words:
    return _Words(lang)


def _flat(prefix: str, table: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, str):
            yield prefix + key, value
        else:
            yield from _flat(f"{prefix}{key}.", cast(Mapping[str, object], value))
