"""What every spec shares: it is read from a file, a text or plain data, and says all that is wrong with it at once."""

import difflib
import inspect
from pathlib import Path as FilePath
from typing import Any, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from moyai.model.specs.problems import BadValue, BadValues, Path, Problem, Source, SpecError, quoted
from moyai.model.specs.read import Document, Plain, read_data, read_file, read_text

_WANTED = {
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "mapping_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "list_type": "a list",
}
"""What pydantic wants where its error of that type stands."""
_NEAR_ENOUGH = 0.6
_EXAMPLE_WIDTH = 120


class Part(BaseModel):
    """A mapping inside a spec. Unknown keys are errors; what was read is never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Spec(Part):
    """A whole document. `from_file`, `from_text` and `from_data` give the same spec or the same problems."""

    _source: Source = PrivateAttr(default_factory=Source)

    @classmethod
    def from_file(cls, path: FilePath) -> Self:
        """Read a YAML file. Raises SpecError with all that is wrong, each with file and line."""
        return cls._from(read_file(path))

    @classmethod
    def from_text(cls, text: str | bytes, file: str = "") -> Self:
        """Read a YAML text; `file` names it in problems. Raises SpecError."""
        return cls._from(read_text(text, file))

    @classmethod
    def from_data(cls, data: object, file: str = "") -> Self:
        """Take plain data, as JSON gives it. Raises SpecError, without lines."""
        return cls._from(read_data(data, file))

    @classmethod
    def _from(cls, document: Document) -> Self:
        problems = list(document.problems)
        spec = None
        try:
            spec = cls.model_validate(document.data)
        except ValidationError as error:
            problems += _problems(cls, error, document)
        if problems or spec is None:
            raise SpecError(tuple(problems))
        spec._source = document.source
        return spec

    @property
    def source(self) -> Source:
        """Where it was read, so that what is found wrong later still has its line."""
        return self._source

    def to_data(self) -> dict[str, Any]:
        """The spec as plain data for JSON: what was written, in its canonical form. `from_data` reads it back."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def _problems(cls: type[BaseModel], error: ValidationError, document: Document) -> list[Problem]:
    """Pydantic's errors as ours, without those below a value that has a problem already."""
    found: list[Problem] = []
    for detail in error.errors(include_url=False):
        path: Path = detail["loc"]
        if path and path[-1] == "[key]":  # pydantic's word for the key itself
            path = path[:-1]
        if any(path[: len(bad)] == bad for bad in document.spoilt):
            continue
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, BadValues):
            found += [_bad(value, path, document) for value in cause.values]
        elif isinstance(cause, BadValue):
            found.append(_bad(cause, path, document))
        elif detail["type"] == "missing":
            found.append(document.source.problem(path, "is missing", _written_as(cls, path)))
        elif detail["type"] == "extra_forbidden":
            found.append(_unknown(_model_at(cls, path[:-1]), path, document.source))
        else:
            wanted = _WANTED.get(detail["type"])
            value = _words(_at(document.data, path))
            wrong = f"stands where {wanted} should" if wanted else f"can't be taken: {detail['msg']}"
            found.append(document.source.problem(path, wrong, _written_as(cls, path), value))
    return found


def _bad(value: BadValue, path: Path, document: Document) -> Problem:
    whole = (*path, *value.below)
    shown = _words(_at(document.data, whole)) if value.found is None else value.found
    return document.source.problem(whole, value.wrong, value.hint, shown)


def _unknown(model: type[BaseModel] | None, path: Path, source: Source) -> Problem:
    known = list(model.model_fields) if model else []
    key = str(path[-1])
    near = difflib.get_close_matches(key.lower()[:64], known, n=1, cutoff=_NEAR_ENOUGH)
    hint = f"did you mean {quoted(near[0])}?" if near else f"known here: {', '.join(known)}"
    return source.problem(path, "is no known key", hint)


def _model_at(cls: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model that validates the mapping at `path`, found through the types of the fields on the way."""
    model: type[BaseModel] | None = cls
    for part in path:
        if isinstance(part, int):
            continue
        info = model.model_fields.get(part) if model else None
        model = _model_in(info.annotation) if info else None
    return model


def _model_in(annotation: object) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    inside = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in inside if model), None)


def _written_as(cls: type[BaseModel], path: Path) -> str:
    """A hint with the first example of a key; "" where it has none or none that fits a line."""
    model = _model_at(cls, path[:-1])
    info = model.model_fields.get(str(path[-1])) if model and path else None
    example = _flow(info.examples[0]) if info and info.examples else ""
    return f"write for example '{path[-1]}: {example}'" if 0 < len(example) <= _EXAMPLE_WIDTH else ""


def _flow(value: object) -> str:
    """An example on one line, as YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        pairs = (f"{key}: {_flow(item)}" for key, item in cast(dict[str, object], value).items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, cast(list[object], value))) + "]"
    return str(value)


def _at(data: Plain, path: Path) -> Plain:
    """The value at `path`, None where the path leads nowhere."""
    here = data
    for part in path:
        if isinstance(here, list) and isinstance(part, int):
            here = here[part]
        elif isinstance(here, dict) and isinstance(part, str):
            here = here.get(part)
        else:
            return None
    return here


def _words(value: Plain) -> str:
    if isinstance(value, str):
        return quoted(value)
    return "" if value is None else "a list" if isinstance(value, list) else "a mapping"
