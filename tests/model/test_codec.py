"""Canonical bytes, and a strict reader of the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.model.codec import (
    COMMAND_KINDS,
    REPORT_KINDS,
    DecodeError,
    decode,
    decode_batch,
    decode_commands,
    decode_numbered,
    decode_report,
    encode,
)
from moyai.model.commands import Drop, Stop
from moyai.model.events import AttemptStarted, ReplicaDropped, SignalChanged
from moyai.model.exchange import Ask, AskKind, Batch, Commands, Hello, Numbered, Report
from moyai.model.ids import AttemptId, ManifestId, NodeName, SiteName
from moyai.model.reasons import Code, Reason
from moyai.model.units import Instant

REPORT = Report(4, Instant(9), "AttemptStarted", AttemptStarted(AttemptId("j.1"), Instant(8), (NodeName("n"),)))
DROPPED = Report(5, Instant(9), "ReplicaDropped", ReplicaDropped(ManifestId("m"), SiteName("tokyo")))
STOP = Numbered(17, "Stop", Stop(AttemptId("j.1"), Reason(Code.CANCELLED, "uid:1000")))
ASK = Ask("a1", AskKind.OUTPUT, "j.1", 0, 4096, 65536)


def test_what_is_written_is_read_again() -> None:
    batch = Batch("inc", 3, (REPORT, DROPPED))
    commands = Commands(2, 3, (STOP, Numbered(18, "Drop", Drop(ManifestId("m")), "text")), (ASK,))
    assert decode_report(encode(REPORT)) == REPORT
    assert decode_batch(encode(batch)) == batch
    assert decode_numbered(encode(STOP)) == STOP
    assert decode_commands(encode(commands)) == commands
    hello = Hello(SiteName("tokyo"), "inc", ("guard",), (AttemptId("j.1"),))
    assert decode(encode(hello), Hello) == hello


def test_mappings_are_sorted_and_nothing_is_spaced() -> None:
    assert encode({"b": 1, "a": (True, None, "é\n")}) == '{"a":[true,null,"é\\n"],"b":1}'.encode()


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()))
def test_the_order_of_a_mapping_does_not_matter(mapping: dict[str, int]) -> None:
    backwards = dict(reversed(mapping.items()))
    assert encode(mapping) == encode(backwards)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"site":"a","signal":"price","value":1.0}', r"SignalChanged: Expected `int`, got `float` - at `\$\.value`"),
        (b'{"site":"a","signal":"moon","value":1}', "Invalid enum value 'moon'"),
        (b'{"site":"a","value":1}', "missing required field `signal`"),
        (b'{"site":1,"signal":"price","value":1}', "Expected `str`, got `int`"),
        (b'{"site":"\xff","signal":"price","value":1}', "SignalChanged"),
        (b'{"x":' + b"[" * 100_000, "SignalChanged"),
        (b"", "truncated"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        decode(data, SignalChanged)


def test_unknown_kinds_are_refused_by_name() -> None:
    with pytest.raises(DecodeError, match="unknown report 'JobSubmitted'; known: AttemptEnded"):
        decode_report(encode(REPORT).replace(b"AttemptStarted", b"JobSubmitted"))
    with pytest.raises(DecodeError, match="unknown command 'Explode'; known: Adopt, Drop"):
        decode_commands(encode(Commands(1, 1, (STOP,))).replace(b'"Stop"', b'"Explode"'))


def test_a_site_may_report_only_what_it_can_know() -> None:
    assert "AttemptEnded" in REPORT_KINDS
    assert not {"JobSubmitted", "AttemptIssued", "SiteLost", "ControlStarted"} & REPORT_KINDS.keys()
    assert COMMAND_KINDS.keys() == {"Launch", "Stop", "Fetch", "Adopt", "Drop"}


@given(st.binary(max_size=80))
def test_junk_is_an_error_of_ours(junk: bytes) -> None:
    for reader in (decode_report, decode_batch, decode_numbered, decode_commands):
        with pytest.raises(DecodeError):
            reader(junk)
