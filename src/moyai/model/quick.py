"""Frozen dataclasses that are made by the hundred thousand."""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """Give a frozen dataclass with slots a constructor twice as fast; it is the same in all else.

    The one that dataclasses write looks up `object.__setattr__` and then the slot, by name, for every field. This one
    has the slots at hand. Raises TypeError where a field is more than a slot: a factory, or one that isn't given.
    """
    names: dict[str, Any] = {}
    parameters: list[str] = []
    for field in fields(cls):  # pyright: ignore[reportArgumentType] - a dataclass, by intent
        if field.default_factory is not MISSING or not field.init or field.kw_only:
            raise TypeError(f"{cls.__name__}.{field.name} is more than a slot")
        names[f"_set_{field.name}"] = getattr(cls, field.name).__set__
        names[f"_default_{field.name}"] = field.default
        given = field.default is MISSING
        parameters.append(field.name if given else f"{field.name}=_default_{field.name}")
    body = "".join(f"\n    _set_{field.name}(self, {field.name})" for field in fields(cls))  # pyright: ignore[reportArgumentType]
    exec(f"def __init__(self, {', '.join(parameters)}):{body}", names)  # noqa: S102 - as dataclasses do
    made = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    made.__annotations__ = cls.__init__.__annotations__
    cls.__init__ = made
    return cls
