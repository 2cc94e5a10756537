"""A quick dataclass is made faster, and is the same in all else."""

import inspect
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from moyai.model.codec import decode, encode
from moyai.model.quick import quick


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    count: int = 0
    nodes: tuple[int, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    count: int = 0
    nodes: tuple[int, ...] = ()


def test_it_is_made_with_names_places_and_defaults() -> None:
    assert Fact("a") == Fact(name="a", count=0, nodes=()) == Fact("a", 0, ())
    assert repr(Fact("a", 2)) == "Fact(name='a', count=2, nodes=())"
    assert hash(Fact("a")) == hash(Fact("a"))
    assert replace(Fact("a"), count=3) == Fact("a", 3)
    assert [f.name for f in fields(Fact)] == ["name", "count", "nodes"]
    plain, fast = inspect.signature(Plain), inspect.signature(Fact)
    assert list(plain.parameters) == list(fast.parameters)
    assert decode(encode(Fact("a", 1, (2,))), Fact) == Fact("a", 1, (2,))


def test_it_stays_frozen_and_says_what_is_missing() -> None:
    with pytest.raises(FrozenInstanceError):
        Fact("a").count = 1  # type: ignore[misc]
    with pytest.raises(TypeError, match="name"):
        Fact()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected"):
        Fact("a", size=1)  # type: ignore[call-arg]


def test_what_is_more_than_a_slot_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Made:
        parts: list[int] = field(default_factory=list[int])

    with pytest.raises(TypeError, match=r"Made\.parts"):
        quick(Made)
