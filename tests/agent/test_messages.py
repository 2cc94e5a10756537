"""What agent, supervisor and guard say survives the line, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moyai.agent.messages import (
    BadMessage,
    Claimed,
    Ended,
    Known,
    Lines,
    RankEnd,
    Renewed,
    Start,
    State,
    Stop,
    decode,
    encode,
)

NUMBERS = st.integers(-1, 2**62)
MESSAGES = st.one_of(
    st.builds(Stop, st.text(), NUMBERS, NUMBERS),
    st.builds(Claimed, st.text(), st.text(), st.booleans(), NUMBERS, NUMBERS, st.text()),
    st.builds(Renewed, NUMBERS, st.dictionaries(st.text(), NUMBERS), NUMBERS),
    st.builds(State, NUMBERS, st.text(), st.lists(st.builds(Known, st.text(), st.text(), st.text(), NUMBERS, NUMBERS))),
    st.builds(
        Ended,
        st.text(),
        st.text(),
        st.text(),
        st.text(),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        st.lists(st.builds(RankEnd, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans(), NUMBERS, NUMBERS)),
    ),
)


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 40), max_size=20))
def test_messages_come_out_as_they_went_in(messages: list, cuts: list[int]) -> None:
    data = b"".join(encode(m) for m in messages)
    lines, got = Lines(), []
    for cut in [*cuts, len(data)]:
        got += lines.feed(data[:cut])
        data = data[cut:]
    assert got + list(lines.feed(data)) == messages


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b'["Stop"]', b'["Stop","a",1,2,3]', b'["Exec","rm"]', b"[[]]", b"\xff", b'"Stop"']
)
def test_what_is_no_message_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(line)


def test_a_line_without_end_is_refused() -> None:
    lines = Lines()
    with pytest.raises(BadMessage):
        for _ in range(20):
            list(lines.feed(b"x" * (1 << 20)))


def test_a_start_keeps_its_environment() -> None:
    order = Start("a.1", 1, ["/bin/true"], {"A": "ü\n"}, "/", "/", 1, 15, 0, 0, 1, 1)
    assert decode(encode(order)) == order
