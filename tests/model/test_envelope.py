"""The envelope and the chain: integers only, bytes kept verbatim, a break told at its very event."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.model.codec import DecodeError
from moyai.model.envelope import GENESIS, CorruptRecord, Draft, Origin, Record, open_record, seal
from moyai.model.events import EVENTS, ControlStarted, Placement, Signal, SignalChanged
from moyai.model.ids import FlavorName, ProjectName, SiteName, TenantName
from moyai.model.units import Instant

NOW = Instant(1_767_225_600_000_000)


def _price(value: Any) -> Draft:
    return Draft(SignalChanged(SiteName("tokyo"), Signal.PRICE, value), Origin.OUTSIDE)


def _chain(count: int) -> list[Record]:
    records: list[Record] = []
    prev = GENESIS
    for seq in range(1, count + 1):
        records.append(seal(_price(seq), seq, prev, NOW, 1))
        prev = records[-1].hash
    return records


def _open_all(lines: list[bytes]) -> list[Record]:
    records: list[Record] = []
    prev = GENESIS
    for seq, line in enumerate(lines, 1):
        records.append(open_record(line, seq, prev))
        prev = records[-1].hash
    return records


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(value=st.integers(-(2**80), 2**80), names=st.tuples(text, text, text, text), epoch=st.integers(0, 2**40))
def test_what_is_sealed_opens_the_same(value: int, names: tuple[str, str, str, str], epoch: int) -> None:
    tenant, project, actor, request = names
    draft = Draft(
        SignalChanged(SiteName(actor), Signal.CARBON, value),
        Origin.DECIDED,
        TenantName(tenant),
        ProjectName(project),
        actor,
        request,
        0,
        Instant(value),
    )
    record = seal(draft, 7, "ab" * 32, NOW, epoch)
    assert open_record(record.data, 7, "ab" * 32) == record
    assert record.hash == hashlib.sha256(record.data).hexdigest()
    assert b"\n" not in record.data


def test_the_bytes_are_pinned() -> None:
    """A change here changes what every log on every disk would be compared with."""
    record = seal(Draft(ControlStarted(3, "0.1.0"), Origin.OUTSIDE, actor="管理"), 1, GENESIS, NOW, 3)
    assert record.data.decode() == (
        '{"seq":1,"kind":"ControlStarted","version":1,"recorded_at":1767225600000000,"reported_at":null,"epoch":3,'
        '"tenant":"-","project":"-","actor":"管理","request":"","cause":0,"origin":"outside","prev_hash":"'
        + GENESIS
        + '",'
        '"body":{"epoch":3,"code_version":"0.1.0"}}'
    )


@pytest.mark.parametrize("value", [1.5, 2.0, 1e300, float("nan"), True, "3", None])
def test_a_number_that_is_no_integer_is_never_sealed(value: object) -> None:
    with pytest.raises(DecodeError, match="Expected `int`"):
        seal(_price(value), 1, GENESIS, NOW, 1)


@pytest.mark.parametrize("now", [1.0, True, "1"])
def test_nor_is_an_instant(now: Any) -> None:
    with pytest.raises(DecodeError, match="where an integer belongs"):
        seal(_price(1), 1, GENESIS, now, 1)


def test_a_float_deep_inside_is_found() -> None:
    flavor: Any = 0.5
    placement = Placement(SiteName("a"), FlavorName("b"), (0, flavor), NOW, NOW, 1, 1, 1, 1, ())
    from moyai.model.events import AttemptIssued
    from moyai.model.ids import AttemptId

    with pytest.raises(DecodeError, match=r"\$\.placement\.nodes"):
        seal(Draft(AttemptIssued(AttemptId("j.1"), placement, 1, None, 0), Origin.DECIDED), 1, GENESIS, NOW, 1)


def test_a_float_in_the_bytes_is_refused() -> None:
    data = seal(_price(15), 1, GENESIS, NOW, 1).data
    for wrong in (b'"value":1.5', b'"value":15.0', b'"value":15e0', b'"value":"15"'):
        with pytest.raises(CorruptRecord, match=r"event 1: .*Expected `int`"):
            open_record(data.replace(b'"value":15', wrong), 1, GENESIS)


def test_no_kind_of_event_has_a_field_for_floats() -> None:
    """Floats live in plan and facility; so do unordered sets nowhere in an event."""
    assert EVENTS
    for kind, (cls, _) in EVENTS.items():
        for path, leaf in _leaves(cls, kind):
            assert leaf in {int, str, bool, type(None)} or issubclass(leaf, str), f"{path}: {leaf}"


def _leaves(kind: Any, path: str) -> Iterator[tuple[str, Any]]:
    kind = getattr(kind, "__supertype__", kind)
    if dataclasses.is_dataclass(kind):
        for name, hint in get_type_hints(kind).items():
            yield from _leaves(hint, f"{path}.{name}")
    elif arguments := [a for a in get_args(kind) if a is not Ellipsis]:
        for argument in arguments:
            yield from _leaves(argument, path)
    else:
        yield path, kind


def test_cause_may_point_back_into_its_batch() -> None:
    draft = dataclasses.replace(_price(1), cause=-2)
    assert seal(draft, 10, GENESIS, NOW, 1).cause == 8
    assert seal(dataclasses.replace(draft, cause=3), 10, GENESIS, NOW, 1).cause == 3


@pytest.mark.parametrize("at", range(1, 8))
def test_a_break_is_told_at_its_event(at: int) -> None:
    lines = [record.data for record in _chain(8)]
    assert [r.data for r in _open_all(lines)] == lines
    changed = [*lines[: at - 1], lines[at - 1].replace(b"tokyo", b"kyoto"), *lines[at:]]
    lost = lines[: at - 1] + lines[at:]
    swapped = [*lines[: at - 1], lines[at], lines[at - 1], *lines[at + 1 :]]
    other = lines[at - 1].replace(b'"prev_hash":"', b'"prev_hash":"f')[: len(lines[at - 1]) + 1]
    for broken, seq in ((changed, at + 1), (lost, at), (swapped, at), ([*lines[: at - 1], other, *lines[at:]], at)):
        with pytest.raises(CorruptRecord) as caught:
            _open_all(broken)
        assert caught.value.seq == seq
        assert str(caught.value).startswith(f"event {seq}: ")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"\xff\xfe\x00", "malformed"),
        (b"[" * 100_000, "Envelope"),
        (b"{}", "missing required field"),
        (b"null", "Expected"),
    ],
)
def test_bytes_that_are_no_record(data: bytes, problem: str) -> None:
    with pytest.raises(CorruptRecord, match=problem) as caught:
        open_record(data, 5, GENESIS)
    assert caught.value.seq == 5


@given(st.binary(max_size=60), st.integers(0, 300))
def test_no_bytes_raise_anything_else(junk: bytes, at: int) -> None:
    data = seal(_price(15), 1, GENESIS, NOW, 1).data
    for spoiled in (junk, data[:at] + junk + data[at:], data[:at] + junk):
        try:
            record = open_record(spoiled, 1, GENESIS)
        except CorruptRecord:
            continue
        assert record.data == spoiled


def test_an_unknown_kind_says_who_is_too_old() -> None:
    data = seal(_price(1), 1, GENESIS, NOW, 1).data.replace(b"SignalChanged", b"MoonPhaseSeen")
    with pytest.raises(
        CorruptRecord, match="unknown kind 'MoonPhaseSeen'; this version of Moyai is older than the log"
    ):
        open_record(data, 1, GENESIS)


def test_a_newer_version_of_a_kind_says_so() -> None:
    newest = EVENTS["SignalChanged"][1]
    old = f'"version":{newest}'.encode()
    data = seal(_price(1), 1, GENESIS, NOW, 1).data.replace(old, f'"version":{newest + 4}'.encode())
    with pytest.raises(
        CorruptRecord, match=rf"version {newest + 4} is newer than this version of Moyai knows \({newest}\)"
    ):
        open_record(data, 1, GENESIS)


def test_a_record_says_its_kind() -> None:
    record = seal(_price(1), 1, GENESIS, NOW, 1)
    assert record.kind == "SignalChanged" == json.loads(record.data)["kind"]
