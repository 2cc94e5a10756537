"""Output on disk: written within bounds, read from any offset, what is left out counted."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moyai.agent.output import NoOutput, read_output
from moyai.agent.places import Places
from moyai.agent.retention import Kept, Retention
from moyai.agent.supervisor.output import OutputFile
from moyai.model.ids import AttemptId


def read_all(place: Path, limit: int) -> tuple[list[tuple[int, bytes]], int, int]:
    pieces, offset = [], 0
    while True:
        piece = read_output(place, 0, offset, limit)
        if piece.data:
            pieces.append((piece.offset, piece.data))
        offset = piece.offset + len(piece.data)
        if piece.eof or not piece.data:
            return pieces, piece.total, piece.left_out


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 400), max_size=30),
    st.integers(0, 300),
    st.integers(30, 300),
    st.integers(1, 500),
)
def test_every_byte_that_is_kept_is_where_it_was(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], head: int, tail: int, limit: int
) -> None:
    place = tmp_path_factory.mktemp("o")
    output = OutputFile(str(place), 0, head, tail)
    printed = bytes(n % 251 for n in range(sum(sizes)))
    at = 0
    for size in sizes:
        output.write(printed[at : at + size])
        at += size
    output.close()
    (place / "exit.json").touch()
    pieces, total, left_out = read_all(place, limit)
    assert (total, left_out) == (len(printed), output.left_out)
    for offset, data in pieces:
        assert printed[offset : offset + len(data)] == data
    kept = sum(len(data) for _, data in pieces)
    assert kept == total - left_out <= head + 2 * max(tail // 2, 1)
    if total:
        assert pieces[-1][0] + len(pieces[-1][1]) == total
        assert pieces[0][0] == 0 or head == 0


def test_nothing_yet_and_nothing_any_more(tmp_path: Path) -> None:
    piece = read_output(tmp_path, 0, 0, 10)
    assert (piece.data, piece.total, piece.eof) == (b"", 0, False)
    (tmp_path / "exit.json").touch()
    assert read_output(tmp_path, 0, 5, 10).eof
    with pytest.raises(NoOutput):
        read_output(tmp_path / "gone", 0, 0, 10)


def test_ranks_with_like_numbers_are_not_mixed(tmp_path: Path) -> None:
    for rank in (1, 11):
        output = OutputFile(str(tmp_path), rank, 100, 100)
        output.write(b"%d" % rank)
        output.close()
    assert read_output(tmp_path, 1, 0, 10).data == b"1"
    assert read_output(tmp_path, 11, 0, 10).data == b"11"


def attempt(places: Places, name: str, size: int) -> None:
    place = places.attempts / name
    (place / "work/sub").mkdir(parents=True)
    (place / "work/sub/f").write_text("x")
    (place / "ckpt").mkdir()
    (place / "output.0").write_bytes(b"x" * size)


def test_code_goes_output_stays_and_the_oldest_goes_first(tmp_path: Path) -> None:
    places = Places(tmp_path)
    retention = Retention(places, Kept(attempts=3, size_bytes=1_000))
    for number in range(5):
        attempt(places, f"a.{number}", 10)
        retention.ended(AttemptId(f"a.{number}"))
        retention.ended(AttemptId(f"a.{number}"))
    assert sorted(p.name for p in places.attempts.iterdir()) == ["a.2", "a.3", "a.4"]
    assert [p.name for p in (places.attempts / "a.4").iterdir()] == ["output.0"]
    attempt(places, "big.1", 990)
    retention.ended(AttemptId("big.1"))
    assert sorted(p.name for p in places.attempts.iterdir()) == ["a.4", "big.1"]
    retention.ended(AttemptId("never-was.1"))


def test_after_a_restart_it_knows_what_is_there(tmp_path: Path) -> None:
    places = Places(tmp_path)
    for name in ("a.1", "b.1", "live.1"):
        attempt(places, name, 10)
    retention = Retention(places, Kept(attempts=1))
    left = retention.left({AttemptId("live.1")})
    attempt(places, "new.1", 10)
    for name in left:
        retention.ended(name)
    assert (places.attempts / "new.1/work/sub/f").exists()
    assert len(list(places.attempts.iterdir())) == 3
    assert (places.attempts / "live.1/work/sub/f").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\0"])
def test_no_attempt_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError):
        Places(tmp_path).attempt(AttemptId(name))
