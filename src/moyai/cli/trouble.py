"""What a log says of itself, as an error for a person."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moyai.locale import t

if TYPE_CHECKING:
    from moyai.store.home import Place

Store = Annotated[str | None, typer.Option("--store", metavar="STORE", help=t("cli.option.store"), show_default=False)]
"""`--store`: a log elsewhere than in the directory."""


def chosen_place(store: str | None, home: Path | None) -> "Place":
    """The log that is meant: `store`, else the directory's, else $MOYAI_STORE where no directory was named.

    Raises LogError.
    """
    import os

    from moyai.client.local import directory
    from moyai.store.home import LOG_FILE, place_of

    said = store or (os.environ.get("MOYAI_STORE") if home is None else None)
    return place_of(said) if said else directory(home) / LOG_FILE


@contextmanager
def log_trouble() -> Generator[None]:
    """Makes what a log can say of itself an error for a person."""
    from moyai.client.errors import MoyaiError
    from moyai.model.envelope import CorruptRecord
    from moyai.store.errors import LogError

    try:
        yield
    except CorruptRecord as error:
        raise MoyaiError("corrupted-log", str(error), t("cli.log.export.hint", until=error.seq - 1)) from None
    except LogError as error:
        raise MoyaiError("log", str(error)) from None
    except ValueError as error:  # an event number past the log's end
        raise MoyaiError("bad-input", str(error), where="--until") from None
