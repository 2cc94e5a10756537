"""Canonical bytes of the model's types: JSON without spaces, fields in their declared order, mapping keys sorted.

Decoding is strict: a float where an integer belongs, an unknown kind or a missing field is an error.
"""

from typing import Any, TypeVar

import msgspec

from moyai.model import commands, events, exchange

T = TypeVar("T")
_ENCODER = msgspec.json.Encoder(order="deterministic")


class DecodeError(ValueError):
    """Bytes that are not what they are said to be; the message says what is wrong and where in them."""


def encode(value: object) -> bytes:
    """The canonical bytes of a model value (frozen dataclasses, tuples, dicts, str, int, bool, None)."""
    return _ENCODER.encode(value)


class _Decoders(dict[type[Any], msgspec.json.Decoder[Any]]):
    """One for each type, made when it is asked for first."""

    def __missing__(self, kind: type[Any]) -> msgspec.json.Decoder[Any]:
        made = self[kind] = msgspec.json.Decoder(kind)
        return made


_DECODERS = _Decoders()


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """The value of type `kind` in `data`. Raises DecodeError."""
    try:
        return _DECODERS[kind].decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"{kind.__name__}: {error}") from None


class _WireReport(msgspec.Struct, frozen=True):
    number: int
    reported_at: int
    kind: str
    body: msgspec.Raw


class _WireBatch(msgspec.Struct, frozen=True):
    incarnation: str
    term: int
    reports: tuple[_WireReport, ...] = ()


class _WireNumbered(msgspec.Struct, frozen=True):
    number: int
    kind: str
    command: msgspec.Raw
    text: str = ""


class _WireCommands(msgspec.Struct, frozen=True):
    epoch: int
    term: int
    commands: tuple[_WireNumbered, ...] = ()
    asks: tuple[exchange.Ask, ...] = ()


REPORT_KINDS: dict[str, type[Any]] = {cls.__name__: cls for cls in exchange.ReportBody.__args__}
COMMAND_KINDS: dict[str, type[Any]] = {cls.__name__: cls for cls in commands.Command.__args__}


def _known(kinds: dict[str, type[Any]], kind: str, what: str) -> type[Any]:
    try:
        return kinds[kind]
    except KeyError:
        raise DecodeError(f"unknown {what} {kind!r}; known: {', '.join(sorted(kinds))}") from None


def decode_report(data: bytes | msgspec.Raw) -> exchange.Report:
    """One report, as `encode` wrote it. Raises DecodeError."""
    return _report(decode(data, _WireReport))


def _report(wire: _WireReport) -> exchange.Report:
    body = decode(wire.body, _known(REPORT_KINDS, wire.kind, "report"))
    return exchange.Report(wire.number, events.Instant(wire.reported_at), wire.kind, body)


def decode_batch(data: bytes) -> exchange.Batch:
    """A batch of reports. Raises DecodeError."""
    wire = decode(data, _WireBatch)
    return exchange.Batch(wire.incarnation, wire.term, tuple(_report(r) for r in wire.reports))


def decode_numbered(data: bytes | msgspec.Raw) -> exchange.Numbered:
    """One numbered command. Raises DecodeError."""
    return _numbered(decode(data, _WireNumbered))


def _numbered(wire: _WireNumbered) -> exchange.Numbered:
    command = decode(wire.command, _known(COMMAND_KINDS, wire.kind, "command"))
    return exchange.Numbered(wire.number, wire.kind, command, wire.text)


def decode_commands(data: bytes) -> exchange.Commands:
    """What a poll answered. Raises DecodeError."""
    wire = decode(data, _WireCommands)
    return exchange.Commands(wire.epoch, wire.term, tuple(_numbered(n) for n in wire.commands), wire.asks)
