"""What goes to the screen: tables by Rich, one JSON document where `--json` was asked for, notes on stderr."""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console


def print_json(value: object) -> None:
    """One JSON document on stdout, from a model value (frozen dataclasses, tuples, dicts, plain types)."""
    from moyai.model.codec import encode

    document = json.loads(encode(value))
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def note(text: str) -> None:
    """A line for the person at the screen, on stderr so that a job's output stays alone on stdout."""
    typer.echo(text, err=True)


def console(err: bool = False) -> "Console":
    """The screen, or stderr. Colours only on a terminal and without NO_COLOR; a pipe has 120 columns or $COLUMNS."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else shutil.get_terminal_size((120, 25)).columns
    return Console(stderr=err, highlight=False, width=width)


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[int] = (),
    fold: Sequence[int] = (),
    styles: Sequence[str] | None = None,
    err: bool = False,
) -> None:
    """Print a table; without headings where none is given.

    right   the columns (from 0) of figures, set to the right
    fold    the columns that wrap where the screen is narrow; all others are cut with an ellipsis
    styles  a style for each row, "" for none
    err     print it on stderr
    """
    from rich.table import Table
    from rich.text import Text

    lines = [tuple(row) for row in rows]
    count = len(headings) or max(map(len, lines), default=0)
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=bool(headings), header_style="bold")
    for index in range(count):
        shown.add_column(
            headings[index] if headings else "",
            justify="right" if index in right else "left",
            no_wrap=index not in fold,
            overflow="fold" if index in fold else "ellipsis",
        )
    for number, line in enumerate(lines):
        style = styles[number] if styles else ""
        shown.add_row(*(Text(cell) for cell in line), style=style or None)
    console(err).print(shown)
